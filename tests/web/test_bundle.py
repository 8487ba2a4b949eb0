"""The bundles in the package are what web/ builds, small, and fit for their pages; their own checks pass."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from chromium import WEB, require_modules
from dregutil.pages.bundle_files import bundle
from dregutil.pages.style import STYLE

PACKAGE = Path(__file__).parents[2] / "src" / "dregutil"
SERVED = PACKAGE / "serve" / "bundle"
BUDGET = 100_000  # bytes, gzipped


def npm(script: str, **environment: str) -> None:
    require_modules()
    done = subprocess.run(
        ["npm", "run", "--silent", script],
        cwd=WEB,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_build_has_the_bytes_of_the_committed_bundles(tmp_path: Path) -> None:
    npm("build", WEB_OUT=str(tmp_path))
    for room in ("pages", "serve"):
        built = {one.name: one.read_bytes() for one in (tmp_path / room / "bundle").iterdir()}
        assert built == {one.name: one.read_bytes() for one in (PACKAGE / room / "bundle").iterdir()}


@pytest.mark.parametrize("script", ["check", "test"])
def test_the_types_and_the_tests_of_the_pure_functions(script: str) -> None:
    npm(script)


def test_the_bundle_is_within_its_budget() -> None:
    script, style = bundle()
    assert script
    assert style
    assert len(gzip.compress((script + style).encode(), mtime=0)) <= BUDGET


def test_the_bundle_ends_no_element_and_asks_for_nothing() -> None:
    script, style = bundle()
    assert not re.search(r"</script|<!--", script, re.IGNORECASE)
    assert not re.search(r"</style|@import|url\((?!#)", style, re.IGNORECASE)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|eval|import)\b\(", script)
    assert script.isascii()


def test_the_bundle_of_serve_is_within_its_budget_and_asks_only_its_server() -> None:
    script, style = ((SERVED / name).read_text() for name in ("serve.js", "serve.css"))
    assert len(gzip.compress((script + style).encode(), mtime=0)) <= BUDGET
    assert not re.search(r"\b(XMLHttpRequest|WebSocket|sendBeacon|eval|import|Function)\(", script)
    assert {*re.findall(r"https?://[\w./]+", script)} <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1998/Math/MathML",
        "http://www.w3.org/2000/xmlns/",
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/XML/1998/namespace",
    }
    assert not re.search(r"@import|url\((?!#)", style, re.IGNORECASE)
    assert script.isascii()


def test_the_style_of_serve_begins_with_that_of_a_report() -> None:
    assert (WEB / "src" / "serve" / "base.css").read_text().split("\n", 1)[1] == f"{STYLE}\n"


def test_the_wheel_has_the_bundles() -> None:
    """Hatch takes all of the package but what is excluded or ignored."""
    root = WEB.parent
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["src/dregutil"]
    assert not {"exclude", "only-include"} & wheel.keys()
    ignored = [one.strip("/") for one in (root / ".gitignore").read_text().split()]
    for file in (*SERVED.iterdir(), *(PACKAGE / "pages" / "bundle").iterdir()):
        parts = file.relative_to(root).parts
        assert not [one for one in ignored if any(fnmatch(part, one) for part in parts)], file


def test_the_modules_are_small() -> None:
    for one in WEB.glob("src/**/*.ts*"):
        assert len(one.read_text().splitlines()) <= 300, one.name


def test_the_sources_write_no_markup() -> None:
    for one in filter(Path.is_file, WEB.glob("src/**/*")):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|dangerously", one.read_text())


def test_the_lock_file_names_every_module_by_its_hash() -> None:
    lock = (WEB / "package-lock.json").read_text()
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
    assert '"resolved"' not in lock
