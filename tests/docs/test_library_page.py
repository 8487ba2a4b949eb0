"""The programs of docs/library.md: each one runs as printed, on a small registry, and mypy --strict accepts it."""

from __future__ import annotations

import ast
import csv
import inspect
import io
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dregutil
from documents import HOST, ROOT, blocks
from dregutil.registry import ConnectOptions
from images import Pusher, created
from servers import DistributionServer
from servers.memory import MemoryServer

PAGE = "docs/library.md"
TEXT = (ROOT / PAGE).read_text()
PROGRAMS = [
    (heading, program)
    for heading, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    for program in re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
]
BASE = random.Random("base").randbytes(3000)
AGES = {"1.0": 200, "1.1": 150, "1.3": 100, "2.0": 10}
NOTEBOOK = """
import ast, asyncio, pathlib, sys
cell = compile(pathlib.Path(sys.argv[1]).read_text(), "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
asyncio.run(eval(cell, {"__name__": "__main__"}))
"""  # as IPython runs a cell


@pytest.fixture
def shop(pusher: Pusher) -> Pusher:
    """Four versions of an image, the last one also `latest`, and another image on the same base."""
    for version, days in AGES.items():
        more = ("latest",) if version == "2.0" else ()
        layers = [BASE, version.encode()]
        pusher.push_image("shop/web", version, *more, seed=version, layers=layers, config=created(days))
    pusher.push_image("shop/api", "1.0", seed="api", layers=[BASE], config=created(5))
    pusher.push_image("tools/lint", "1.0", seed="lint", config=created(5))
    return pusher


class Here:
    """Runs the programs against a server, all in one folder, as one user."""

    def __init__(self, server: DistributionServer, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def run(self, heading: str, number: int = 0, *arguments: str, code: int = 0, mirror: str = "") -> str:
        """What a program below `heading` prints."""
        program = [text for title, text in PROGRAMS if title == heading][number]
        file = self.folder / "program.py"
        file.write_text(program.replace(HOST, self.server.url).replace("mirror.example.com", mirror))
        start = ["-c", NOTEBOOK] if heading == "In Jupyter" else []
        command = [sys.executable, "-W", "error", *start, str(file), *arguments]
        environment = {**os.environ, "HOME": str(self.folder)}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout


@pytest.fixture
def here(registry_server: DistributionServer, tmp_path: Path) -> Here:
    (tmp_path / "work").mkdir()
    return Here(registry_server, tmp_path / "work")


def test_old_tags_with_sizes(shop: Pusher, here: Here) -> None:
    (head, *rows) = csv.reader(io.StringIO(here.run("Tags older than 90 days, with sizes, as CSV")))
    assert head == ["image", "created", "bytes"]
    assert [row[0] for row in rows] == ["shop/web:1.0", "shop/web:1.1", "shop/web:1.3"]
    manifest = shop.raw("shop/web", "1.0")
    body = json.loads(manifest)
    size = len(manifest) + body["config"]["size"] + sum(layer["size"] for layer in body["layers"])
    assert int(rows[0][2]) == size
    assert all(re.match(r"\d{4}-\d\d-\d\d ", row[1]) for row in rows)


def test_which_tags_have_a_layer(shop: Pusher, here: Here) -> None:
    assert shop.digest_of(BASE).startswith("sha256:967b7a435b17")
    found = here.run("Which tags have a layer")
    assert {line.split()[0] for line in found.splitlines()} == {
        "shop/api:1.0",
        *(f"shop/web:{tag}" for tag in (*AGES, "latest")),
    }


def test_what_each_repository_weighs(shop: Pusher, here: Here) -> None:
    *rows, total = here.run("What each repository weighs").splitlines()
    sizes = {row.partition(":")[0]: row for row in rows}
    assert sizes.keys() == {"shop/web", "shop/api", "tools/lint"}
    for row in rows:
        size, own = (int(number.replace(",", "")) for number in re.findall(r"[\d,]+(?= bytes|,? of| of)", row))
        assert 0 < own <= size
    assert re.fullmatch(r"together [\d,]+ bytes", total)


def test_a_plan_as_a_spreadsheet(shop: Pusher, here: Here) -> None:
    built = created(300)
    shop.push_image("shop/api", "old", seed="shared", config=built)
    shop.push_image("tools/lint", "old", seed="shared", config=built)
    before = shop.tags("shop/web")
    here.run("A plan as a spreadsheet")
    (head, *rows) = csv.reader((here.folder / "plan.csv").read_text().splitlines())
    assert head[:3] == ["action", "repository", "tags"]
    assert [row[:3] for row in rows] == [
        ["delete", "shop/web", "1.0"],
        ["delete", "shop/web", "1.1"],
        ["delete", "shop/web", "1.3"],
        ["keep", "shop/api", "old"],
    ]
    assert all(row[5] for row in rows)
    assert shop.tags("shop/web") == before


def test_a_cleanup_by_a_policy(shop: Pusher, here: Here) -> None:
    first, removed = here.run("A cleanup by a policy").splitlines()
    assert first == "releases: removes 2 of 5 tags"
    assert sorted(ast.literal_eval(removed)) == [("1.0",), ("1.1",)]
    assert set(shop.tags("shop/web")) == {"1.3", "2.0", "latest"}


def test_a_cleanup_that_would_take_too_much_is_refused(shop: Pusher, here: Here) -> None:
    for number in range(10):
        shop.push_image("shop/web", f"1.0.{number}", seed=f"1.0.{number}", config=created(300 + number))
    before = shop.tags("shop/web")
    first, refused = here.run("A cleanup by a policy").splitlines()
    assert first == "releases: removes 12 of 15 tags"
    assert "more than max_remove" in refused
    assert shop.tags("shop/web") == before


def test_why_a_tag_stays(shop: Pusher, here: Here) -> None:
    (policy,) = (block for block in blocks("README.md", "yaml") if "policies:" in block)
    (here.folder / "policy.yml").write_text(policy)
    first, *factors = here.run("Why a tag stays").splitlines()
    assert first.startswith("shop/web:1.3: keep, ")
    assert factors[0].startswith("keeps last: 3 ")
    assert "does not keep within: 90d it is 100d old" in factors


def test_progress_and_a_stop(shop: Pusher, here: Here) -> None:
    assert here.run("Progress, and a stop") == "removed 3 of 3\n"
    assert set(shop.tags("shop/web")) == {"2.0", "latest"}


def test_several_registries_at_once(shop: Pusher, here: Here) -> None:
    with MemoryServer() as mirror, Pusher(mirror.url) as pusher:
        pusher.push_image("shop/web", "1.0", seed="one")
        lines = here.run("Several registries at once", mirror=mirror.url).splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["7 tags", "1 tags"]
    lines = here.run("Several registries at once", mirror="127.0.0.1:1").splitlines()
    assert lines[0].endswith(": 7 tags")
    assert "127.0.0.1:1" in lines[1]


def test_a_notebook(shop: Pusher, here: Here) -> None:
    planned, applied = here.run("In Jupyter").splitlines()
    assert re.fullmatch(r"3 tags, \d+ bytes", planned)
    assert applied.endswith(" True")
    assert set(shop.tags("shop/web")) == {"2.0", "latest"}


def test_a_plan_is_saved_reviewed_applied_and_undone(shop: Pusher, here: Here) -> None:
    heading = "Plan, review, apply later, undo"
    before = shop.tags("shop/web")
    *steps, checksum = here.run(heading, 0).splitlines()
    assert steps == ["delete shop/web 1.0", "delete shop/web 1.1", "delete shop/web 1.3"]
    assert here.run(heading, 1, "sha256:" + "0" * 64, code=1) == ""
    assert shop.tags("shop/web") == before
    shop.push_manifest("shop/web", "stable", shop.raw("shop/web", "1.3"), "application/vnd.oci.image.manifest.v1+json")
    run = here.run(heading, 1, checksum).strip()
    assert set(shop.tags("shop/web")) == {"1.3", "stable", "2.0", "latest"}
    undone = here.run(heading, 2, run).splitlines()
    assert [" ".join(line.split()) for line in undone] == ["restored shop/web 1.0", "restored shop/web 1.1"]
    assert before.items() <= shop.tags("shop/web").items()


def test_broken_images(shop: Pusher, here: Here) -> None:
    assert here.run("Broken images") == ""
    child = shop.push_image("shop/web", seed="child")
    shop.push_index("shop/web", "3.0", children=[child])
    assert shop.request("DELETE", f"/v2/shop/web/manifests/{child['digest']}")[0] == 202
    (line,) = here.run("Broken images", code=1).splitlines()
    assert line.startswith("shop/web: missing child: ")


def test_every_program_has_a_test() -> None:
    """Each heading with a program is named by a test, and there is none without a heading but the first."""
    mine = Path(__file__).read_text()
    headings = dict.fromkeys(heading for heading, _ in PROGRAMS)
    assert [heading for heading in headings if f'"{heading}"' not in mine] == []
    assert len(blocks(PAGE, "python")) == len(PROGRAMS) + 1


def test_mypy_accepts_every_program(tmp_path: Path) -> None:
    """In strict mode; a notebook may await outside of a function."""
    files = []
    for number, program in enumerate(blocks(PAGE, "python")):
        files.append(tmp_path / f"program_{number}.py")
        files[-1].write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--disable-error-code=top-level-await"]
    done = subprocess.run(
        [*command, f"--cache-dir={tmp_path / 'cache'}", *map(str, files)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_option_and_every_selector_has_a_description() -> None:
    """In help(); the page describes those that most programs need."""
    named = set(re.findall(r"^\| (`.*?`) \|", TEXT, re.MULTILINE))
    on_page = {name for row in named for name in re.findall(r"`(\w+)`", row)}
    assert on_page <= dregutil.Options.__annotations__.keys()
    assert f"seconds without an answer, {ConnectOptions().timeout:g} by default" in TEXT
    assert f"the most requests in flight, {ConnectOptions().concurrency} by default" in TEXT
    selectors = inspect.getdoc(dregutil.Selectors) or ""
    assert [name for name in dregutil.Selectors.__annotations__ if f"`{name}`" not in selectors] == []


@pytest.mark.parametrize("face", [dregutil.Session, dregutil.AsyncSession])
def test_help_describes_every_method(face: type) -> None:
    methods = {name: found for name, found in inspect.getmembers(face, callable) if not name.startswith("_")}
    assert [name for name, found in methods.items() if not found.__doc__] == []
