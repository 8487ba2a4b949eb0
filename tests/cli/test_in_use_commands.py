"""Lists of images in use, with `cleanup`, `why` and `policy check`, on the real registry."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer

POLICY = """version: 1
defaults: {max_remove: 100%}
protect: {in_use: [{file: LIST}]}
policies:
  - {name: all, repositories: ["**"], keep: {last: 1}}
"""


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def shop(pusher: Pusher) -> Pusher:
    for age, version in enumerate(("4.0", "3.0", "2.0", "1.0")):
        pusher.push_image("shop/web", version, seed=version, config=created(10 + age))
    return pusher


def config_of(shop: Pusher, tag: str) -> str:
    """The image ID of a tag's image, as runtimes report it, in hexadecimal digits."""
    return str(json.loads(shop.raw("shop/web", tag))["config"]["digest"]).partition(":")[2]


def cleanup(program: Program, text: str | bytes, *more: str, file: str = "list") -> subprocess.CompletedProcess[str]:
    (program.folder / "policy.yml").write_text(POLICY.replace("LIST", file))
    (program.folder / "list").write_bytes(text if isinstance(text, bytes) else text.encode())
    return program.run("cleanup", "-f", "policy.yml", *(more or ("-y", "--yes-remove", "9")))


@pytest.mark.parametrize(
    "form", ["sha256:{id}\n", "{id}\n", "{short}\n", '{{"Image": "{short}", "Names": "web"}}', "docker://sha256:{id}\n"]
)
def test_an_image_id_protects_its_image(form: str, program: Program, shop: Pusher) -> None:
    value = config_of(shop, "2.0")
    done = cleanup(program, form.format(id=value, short=value[:12]))
    assert done.returncode == 0, done.stderr
    assert set(shop.tags("shop/web")) == {"4.0", "2.0"}
    assert shop.is_whole("shop/web", "2.0")


def test_a_child_that_a_list_names_by_digest_protects_its_index(program: Program, shop: Pusher) -> None:
    child = shop.push_image("shop/web", seed="child", config=created(20))
    shop.push_index("shop/web", "multi", children=[child])
    done = cleanup(program, f"{child['digest']}\n")
    assert done.returncode == 0, done.stderr
    assert {"multi", "4.0"} <= set(shop.tags("shop/web"))
    assert shop.is_whole("shop/web", "multi")


def test_standard_input_with_a_byte_order_mark(program: Program, shop: Pusher) -> None:
    (program.folder / "policy.yml").write_text(POLICY.replace("LIST", "'-'"))
    host = program.url.partition("://")[2]
    for raw in (f"{host}/shop/web:2.0\n".encode("utf-8-sig"), f"{host}/shop/web:2.0\n".encode("utf-16")):
        done = subprocess.run(
            program.command(("cleanup", "-f", "policy.yml", "--dry-run", "--details")),
            cwd=program.folder,
            env=program.environment(),
            input=raw,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"in use: standard input, 0s old: 1 of its 1 images are here" in done.stdout


def test_entries_that_are_not_found_are_shown(program: Program, shop: Pusher) -> None:
    host = program.url.partition("://")[2]
    tags = ("1.0", "2.0", "3.0", "4.0", "0.1", "0.2")
    text = "".join(f"{host}/shop/web:{tag}\n" for tag in tags) + f"{host}/shop/web:cut…\n"
    done = cleanup(program, text, "--dry-run")
    assert "s old: 4 of its 7 images are here" in done.stdout
    assert "  of this registry, but not there: 2: shop/web:0.1, shop/web:0.2\n" in done.stdout
    assert f"  not understood: 1: {host}/shop/web:cut…\n" in done.stdout
    done = cleanup(program, text, "--dry-run", "--format", "json")
    assert json.loads(done.stdout)[0]["policy"] == "all"
    assert "dregutil: of this registry, but not there: 2: shop/web:0.1, shop/web:0.2" in done.stderr


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("HOST/shop/web:1.0\nHOST/shop/web:0.1\nHOST/shop/web:0.2\n", "most of what the list list names"),
        ('[{"names": ["HOST/shop/web:1.0"], "sizeBytes": 1}]', "caches of nodes"),
        ("apiVersion: v1\nitems:\n- image: HOST/shop/web:1.0\n", "is truncated"),
    ],
)
def test_a_doubtful_list_refuses_the_run(text: str, why: str, program: Program, shop: Pusher) -> None:
    done = cleanup(program, text.replace("HOST", program.url.partition("://")[2]))
    assert (done.returncode, len(shop.tags("shop/web"))) == (5, 4)
    assert why in done.stderr
    checked = program.run("policy", "check", "policy.yml", "--against", program.url)
    assert (checked.returncode, why in checked.stdout) == (2, True)


def test_why_finds_an_image_by_its_id_and_does_not_refuse_because_of_unread_contents(
    program: Program, shop: Pusher
) -> None:
    shop.push_image("team/app", "1.0", seed="app", config=created(3))
    cleanup(program, f"{config_of(shop, '2.0')}\n", "--dry-run")
    assert "in use: list" in program.run("why", "shop/web:2.0", "-f", "policy.yml").stdout
    done = program.run("why", "team/app:1.0", "-f", "policy.yml", "-c", "None")
    assert (done.returncode, "in use" in done.stdout) == (0, False)


def test_a_check_says_what_it_has_not_asked(tmp_path: Path) -> None:
    program = Program("http://127.0.0.1:9", tmp_path)
    for entries, told in (
        ("{kubernetes: {contexts: [prod, stage]}}, {docker: true}", "kubernetes prod, kubernetes stage, docker"),
        ("{kubernetes: {}}, {file: LIST}", "kubernetes"),
        ("{file: LIST}", ""),
    ):
        text = POLICY.replace("{file: LIST}", entries).replace("LIST", "list")
        (tmp_path / "policy.yml").write_text(text)
        (tmp_path / "list").write_text("shop/web:1.0\n")
        done = program.run("policy", "check", "policy.yml")
        assert done.returncode == 0, done.stdout
        assert done.stderr == (f"not asked what is in use: {told}; each run asks\n" if told else "")
    (tmp_path / "policy.yml").write_text(POLICY.replace("LIST", "'-'"))
    done = program.run("policy", "check", "policy.yml")
    assert done.stderr == "the list on standard input was not read: each run reads it\n"
