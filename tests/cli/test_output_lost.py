"""Output that cannot be written: one line, and the exit code of the work that was done."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer

AND_ITS_CODE = "| true; exit ${PIPESTATUS[0]}"


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for tag in ("1.0", "1.1", "2.0"):
        pusher.push_image("shop/web", tag, seed=tag)
    return Program(registry_server.url, tmp_path)


def shell(program: Program, redirected: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.join(program.command(arguments))} {redirected}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=program.folder,
        env={**program.environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("redirected", [">&-", ">/dev/full", "<&-", "2>&-", "2>/dev/full", ">&- 2>&- <&-", "| true"])
def test_a_finished_removal_keeps_its_exit_code(program: Program, pusher: Pusher, redirected: str) -> None:
    found = shell(program, f"{redirected}; exit ${{PIPESTATUS[0]}}", "remove-tags", "-r", "shop/web", "-t", "1.0", "-y")
    assert found.returncode == 0, found.stderr
    assert set(pusher.tags("shop/web")) == {"1.1", "2.0"}
    assert "Traceback" not in found.stderr
    assert "defect" not in found.stderr
    told = found.stderr.count("the results could not be written")
    assert told == (redirected in (">&-", ">/dev/full"))
    assert program.runs


def test_a_failed_removal_keeps_its_exit_code(program: Program) -> None:
    found = shell(program, ">/dev/full", "remove-tags", "-r", "shop/web", "nowhere", "-t", "1.0", "-y")
    assert found.returncode == 3
    found = shell(
        program, "| true; exit ${PIPESTATUS[0]}", "remove-tags", "-r", "shop/web", "nowhere", "-t", "1.1", "-y"
    )
    assert found.returncode == 3


@pytest.mark.parametrize("form", ["text", "table", "json", "jsonl", "csv"])
@pytest.mark.parametrize(("redirected", "code"), [(">&-", 0), (">/dev/full", 1), (AND_ITS_CODE, 0)])
def test_a_listing_that_cannot_be_written(program: Program, form: str, redirected: str, code: int) -> None:
    found = shell(program, redirected, "list-tag-names", "--format", form)
    assert found.returncode == code, found.stderr
    assert "Traceback" not in found.stderr
    lines = [line for line in found.stderr.splitlines() if "written" in line]
    assert len(lines) == (not redirected.startswith("|"))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("completion", "bash"), ("list-tag-names", "-h")])
@pytest.mark.parametrize("redirected", [">&-", ">/dev/full"])
def test_help_that_cannot_be_written(program: Program, arguments: tuple[str, ...], redirected: str) -> None:
    found = shell(program, redirected, *arguments)
    assert found.returncode in (0, 1)
    assert "Traceback" not in found.stderr
    assert "Exception" not in found.stderr


@pytest.mark.parametrize("form", ["text", "table", "json", "jsonl", "csv"])
def test_a_terminal_with_ascii_only(program: Program, pusher: Pusher, form: str) -> None:
    config = {"config": {"Labels": {"städt": "Köln · 漢字 \U0001f600"}}}
    pusher.push_image("shop/web", "3.0", seed="three", config=config)
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    found = shell(program, "", "inspect", "shop/web:3.0", "--format", form, **ascii_only)
    assert found.returncode == 0, found.stderr
    assert found.stdout.isascii()
    if form in ("json", "jsonl"):
        whole = shell(program, "", "inspect", "shop/web:3.0", "--format", form)
        assert json.loads(found.stdout) == json.loads(whole.stdout)
    found = shell(
        program, "", "remove-tags", "-r", "shop/web", "-t", "1.0", "--dry-run", "--format", form, **ascii_only
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_a_plain_locale(program: Program, locale: str) -> None:
    found = shell(
        program, "", "remove-tags", "-r", "shop/web", "-t", "1.0", "-y", LC_ALL=locale, PYTHONCOERCECLOCALE="0"
    )
    assert found.returncode == 0, found.stderr


def test_a_working_folder_that_was_deleted(program: Program, pusher: Pusher) -> None:
    """Without a given cache file: the default one is in the working folder."""
    command = shlex.join([argument for argument in program.command(()) if argument not in ("-c", "None")])
    for arguments, code in (
        ("list-tag-names", 0),
        ("query-tags -r shop/web -t 1.0", 0),
        ("remove-tags -r shop/web -t 1.0 -y --plan-out plan", 2),
        ("remove-tags -r shop/web -t 1.0 -y", 0),
        ("history", 0),
        ("undo -y", 0),
        ("refresh", 0),
        ("du", 0),
        ("cleanup -f policy.yml --dry-run", 2),
        ("why shop/web:1.0 -f policy.yml", 2),
        ("policy check policy.yml", 2),
        ("apply plan -y", 2),
        ("find shop/web:1.0", 0),
        ("inspect shop/web:1.0", 0),
        ("doctor", 0),
        ("list-tag-names --state-dir there", 0),
        ("remove-tags -r shop/web -t 1.1 -y --state-dir there", 1),
        ("list-tag-names -c cache.json", 0),
        ("list-tag-names --repositories-from names", 2),
        ("list-tag-names --authfile auth.json", 4),
        ("remove-tags -r shop/web -t 1.0 --dry-run --storage there", 3),
    ):
        line = f"mkdir gone; cd gone; rmdir ../gone; {command} {arguments}"
        found = subprocess.run(
            ["bash", "-c", line],
            cwd=program.folder,
            env=program.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "defect" not in found.stderr, (arguments, found.stderr)
        assert "Traceback" not in found.stderr, (arguments, found.stderr)
        assert found.returncode == code, (arguments, found.stderr)
    assert set(pusher.tags("shop/web")) == {"1.0", "1.1", "2.0"}


NOT_UTF8 = b"x\xff\xfe"
OPTIONS = """-reg -u -p --authfile -cert -key -v --repositories-from -c -l --state-dir -r -t -re -x -xre --older-than
    --larger-than --label --platform --media-type --based-on --plan-out --storage --yes-remove --color --format
    --timeout --concurrency"""


@pytest.mark.parametrize("option", OPTIONS.split())
def test_an_option_that_is_not_utf8(program: Program, option: str) -> None:
    command: list[str | bytes] = ["remove-tags", "-r", "shop/web", "-t", "1.0", "--dry-run", option, NOT_UTF8]
    found = _run(program, command)
    assert b"defect" not in found.stderr, found.stderr
    assert b"Traceback" not in found.stderr, found.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["apply", NOT_UTF8, "-y"],
        ["apply", "--resume", NOT_UTF8, "-y"],
        ["undo", NOT_UTF8, "-y"],
        ["history", NOT_UTF8],
        ["history", "--prune", NOT_UTF8],
        ["find", NOT_UTF8],
        ["inspect", NOT_UTF8],
        ["inspect", b"shop/web:" + NOT_UTF8],
        ["du", NOT_UTF8],
        ["list-tag-names", NOT_UTF8],
        ["list-tag-names", NOT_UTF8 + b"*"],
        ["refresh", NOT_UTF8],
        ["cleanup", "-f", NOT_UTF8, "-y"],
        ["why", NOT_UTF8, "-f", NOT_UTF8],
        ["policy", "check", NOT_UTF8],
        ["completion", NOT_UTF8],
        [NOT_UTF8],
    ],
    ids=repr,
)
def test_an_argument_that_is_not_utf8(program: Program, command: list[str | bytes]) -> None:
    found = _run(program, command)
    assert b"defect" not in found.stderr, found.stderr
    assert b"Traceback" not in found.stderr, found.stderr
    assert found.returncode != 0


def test_a_removal_with_an_argument_that_is_not_utf8_is_done_and_recorded(program: Program, pusher: Pusher) -> None:
    selected: list[str | bytes] = ["remove-tags", "-r", "shop/web", "-t"]
    done = _run(program, [*selected, "1.0", "-xre", NOT_UTF8, "-y"])
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {"1.1", "2.0"}
    assert r"x\xff\xfe" in program.history()[0]["command"]
    done = _run(program, [*selected, "1.1", "--plan-out", NOT_UTF8])
    assert done.returncode == 0, done.stderr
    done = _run(program, ["apply", NOT_UTF8, "-y"])
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {"2.0"}


def _run(program: Program, arguments: Sequence[str | bytes]) -> subprocess.CompletedProcess[bytes]:
    command = [os.fsencode(argument) for argument in (*program.command(()), *arguments)]
    return subprocess.run(
        command,
        cwd=program.folder,
        env=program.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("path", [".", "..", "/", "folder", "nowhere/plan", ""])
def test_a_plan_that_cannot_be_written(program: Program, path: str) -> None:
    (program.folder / "folder").mkdir()
    found = program.run("remove-tags", "-r", "shop/web", "-t", "1.0", "--plan-out", path)
    assert "defect" not in found.stderr
    assert found.returncode == 2, found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("remove-tags", "-r", "shop/web", "-t", "1.0", "-y", "--plan-out", ""),
        ("remove-tags", "-r", "shop/web", "-t", "1.0", "-y", "--state-dir", ""),
        ("remove-tags", "-r", "shop/web", "-t", "1.0", "-y", "--storage", ""),
        ("cleanup", "-f", "", "-y"),
        ("undo", "", "-y"),
        ("apply", "", "-y"),
        ("apply", "--resume", "", "-y"),
    ],
)
def test_an_empty_argument_is_not_a_name(program: Program, pusher: Pusher, arguments: tuple[str, ...]) -> None:
    """`--plan-out "$PLAN"` removes nothing, and `undo "$RUN"` does not take the only run, if the variable is empty."""
    program.run("remove-tags", "-r", "shop/web", "-t", "2.0", "-y")
    before = pusher.tags("shop/web")
    found = program.run(*arguments)
    assert found.returncode == 2
    assert "an empty name" in found.stderr
    assert pusher.tags("shop/web") == before


def test_an_empty_argument_does_not_switch_verification_off(program: Program) -> None:
    found = program.run("-v", "", "list-repo-names")
    assert found.returncode == 0
    assert "verif" not in found.stderr
