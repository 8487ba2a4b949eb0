"""A saved plan of a policy: its run reads again what the policy protects, and leaves what has come into use since."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

import dregutil
from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request

POLICY = """version: 1
defaults: {max_remove: 100%, min_age: 1d}
protect: {in_use: [FILE]PROTECT}
policies:
  - {name: all, repositories: ["**"], keep: {last: 1}}
"""
GOING = {"1.0", "2.0", "3.0", "multi"}


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    """A saved plan that removes `GOING`, made while only 4.0 was in use."""
    for age, version in enumerate(("4.0", "3.0", "2.0", "1.0")):
        pusher.push_image("shop/web", version, seed=version, config=created(10 + age))
    child = pusher.push_image("shop/web", seed="child", config=created(30))
    pusher.push_index("shop/web", "multi", children=[child])
    program = Program(registry_server.url, tmp_path)
    write_policy(program)
    running(program, "shop/web:4.0")
    ok(program, "cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    return program


def write_policy(program: Program, protect: str = "", file: str = "{file: running.txt, max_age: 1d}") -> None:
    (program.folder / "policy.yml").write_text(POLICY.replace("FILE", file).replace("PROTECT", protect))


def running(program: Program, *images: str) -> None:
    (program.folder / "running.txt").write_text("".join(f"{image}\n" for image in images))


def ok(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = program.run(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def apply(program: Program, *more: str) -> subprocess.CompletedProcess[str]:
    return program.run("apply", "plan.jsonl", "-y", "--yes-remove", "4", *more)


def test_without_news_the_plan_is_carried_out(program: Program, pusher: Pusher) -> None:
    assert apply(program).returncode == 0
    assert set(pusher.tags("shop/web")) == {"4.0"}


def test_what_has_come_into_use_stays_with_the_reason(program: Program, pusher: Pusher) -> None:
    running(program, "shop/web:4.0", "shop/web:2.0")
    shown = ok(program, "apply", "plan.jsonl", "--dry-run").stdout
    (kept,) = (line for line in shown.splitlines() if line.startswith("KEEP"))
    assert "2.0" in kept
    done = apply(program)
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {"4.0", "2.0"}
    assert "in use by now: running.txt" in done.stderr
    assert pusher.is_whole("shop/web", "2.0")


def test_an_image_id_and_a_digest_are_found(program: Program, pusher: Pusher) -> None:
    image_id = json.loads(pusher.raw("shop/web", "1.0"))["config"]["digest"]
    child = json.loads(pusher.raw("shop/web", "multi"))["manifests"][0]["digest"]
    running(program, "shop/web:4.0", image_id, f"shop/web@{child}")
    assert apply(program).returncode == 0
    assert set(pusher.tags("shop/web")) == {"4.0", "1.0", "multi"}
    assert pusher.is_whole("shop/web", "multi")


@pytest.mark.parametrize(
    ("protect", "stays", "why"),
    [
        (', tags: ["3.*"]', {"3.0"}, "protected by now: 3.*"),
        (', repositories: ["shop/*"]', GOING, "its repository is protected by now"),
    ],
)
def test_what_the_policy_protects_since_stays(
    program: Program, pusher: Pusher, protect: str, stays: set[str], why: str
) -> None:
    write_policy(program, protect)
    assert why in apply(program).stderr
    assert set(pusher.tags("shop/web")) == {"4.0", *stays}


@pytest.mark.parametrize("what", ["the list is gone", "the list is old", "the list is empty", "the policy is gone"])
def test_a_list_that_cannot_be_read_refuses(program: Program, pusher: Pusher, what: str) -> None:
    before = pusher.tags("shop/web")
    file = program.folder / ("policy.yml" if "policy" in what else "running.txt")
    if "gone" in what:
        file.unlink()
    elif "old" in what:
        os.utime(file, (1_700_000_000, 1_700_000_000))
    else:
        file.write_text("")
    for more in ((), ("--dry-run",)):
        done = program.run("apply", "plan.jsonl", *(more or ("-y", "--yes-remove", "4")))
        assert done.returncode == 5, (what, done.stderr)
        assert file.name in done.stderr
    assert pusher.tags("shop/web") == before


def test_a_resumed_run_reads_them_too(
    registry_server: DistributionServer, program: Program, pusher: Pusher, tmp_path: Path
) -> None:
    with Proxy(registry_server.port) as proxy:
        through = Program(proxy.url, tmp_path / "through")
        through.folder.mkdir()
        for name in ("policy.yml", "running.txt"):
            (through.folder / name).write_text((program.folder / name).read_text())
        started: list[subprocess.Popen[str]] = []
        written = iter(range(9))

        def killed(request: Request) -> Answer | None:
            if request.method == "DELETE" and next(written) == 1:  # after the probe
                started[0].kill()
                return LOST
            return None

        proxy.before = killed
        started.append(through.start("cleanup", "-f", "policy.yml", "-y", "--yes-remove", "4"))
        started[0].communicate()
        running(through, *(f"shop/web:{tag}" for tag in ("4.0", *sorted(GOING))))
        proxy.before = lambda _: None
        (run,) = through.runs
        resumed = through.run("apply", "--resume", run.name, "-y")
        assert "in use by now: running.txt" in resumed.stderr
        assert {"4.0", *GOING} == set(pusher.tags("shop/web"))


async def test_the_library_reads_them(program: Program, pusher: Pusher) -> None:
    plan = dregutil.load_plan(program.folder / "plan.jsonl")
    running(program, "shop/web:4.0", "shop/web:3.0")
    async with dregutil.connect(program.url, state_dir=program.state) as registry:
        result = await registry.apply(plan, confirm_tags=plan.removed_tags)
    assert set(pusher.tags("shop/web")) == {"4.0", "3.0"}
    assert any(outcome.why.startswith("in use by now") for outcome in result.outcomes)


def test_a_list_on_standard_input_is_piped_into_the_run(program: Program, pusher: Pusher) -> None:
    write_policy(program, file="{file: '-'}")
    made = program.run("cleanup", "-f", "policy.yml", "--plan-out", "piped.jsonl", piped="shop/web:4.0\n")
    assert made.returncode == 0, made.stderr
    refused = program.run("apply", "piped.jsonl", "-y", "--yes-remove", "4", piped="")
    assert refused.returncode == 5, refused.stderr
    done = program.run("apply", "piped.jsonl", "-y", "--yes-remove", "4", piped="shop/web:4.0\nshop/web:1.0\n")
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {"4.0", "1.0"}


def test_a_cleanup_reads_a_piped_list_once(program: Program, pusher: Pusher) -> None:
    write_policy(program, file="{file: '-'}")
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--yes-remove", "4", piped="shop/web:4.0\nshop/web:1.0\n")
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {"4.0", "1.0"}


def test_plan_show_says_how_old_they_are(program: Program, registry_server: DistributionServer) -> None:
    registry_server.stop()
    shown = ok(program, "plan", "show", "plan.jsonl").stdout
    assert f"made from {program.folder / 'policy.yml'}, read " in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("in use, by "))
    assert line.startswith(f"in use, by running.txt: as of {datetime.now(UTC):%Y-%m-%d}")
