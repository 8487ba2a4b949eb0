"""What removes or puts back asks on a terminal. Elsewhere it needs `-y`, but for the older tool's two removals."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images import Pusher
from program import Program, on_terminal
from servers import DistributionServer

REMOVE = ("remove-tags", "-r", "shop/web", "-t", "1.0")
REFUSED = "dregutil: not a terminal, so confirmation cannot be asked for\n  "


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def before(pusher: Pusher) -> dict[str, str]:
    for tag in ("1.0", "1.1"):
        pusher.push_image("shop/web", tag, seed=tag)
    return pusher.tags("shop/web")


@pytest.mark.parametrize(
    "line",
    [
        ("apply", "plan"),
        ("apply", "--resume", "RUN"),
        ("undo",),
        ("undo", "RUN"),
        ("apply", "plan", "--yes-remove", "1"),
    ],
)
def test_in_a_script_nothing_is_done_without_consent(
    line: tuple[str, ...], program: Program, pusher: Pusher, before: dict[str, str]
) -> None:
    assert program.run(*REMOVE).returncode == 0
    left = pusher.tags("shop/web")
    run = program.runs[-1].name
    if line[0] == "apply":
        assert program.run("remove-tags", "-r", "shop/web", "-t", "1.1", "--plan-out", "plan").returncode == 0
    found = program.run(*(run if word == "RUN" else word for word in line))
    assert found.returncode == 2
    assert found.stderr.startswith(REFUSED)
    assert "-y " in found.stderr
    assert found.stdout == ""
    assert pusher.tags("shop/web") == left
    assert [one.name for one in program.runs] == [run]
    assert program.run("undo", "-y").returncode == 0, "nothing was recorded as done"
    assert pusher.tags("shop/web") == before


def test_a_dry_run_of_an_undo_needs_no_consent(program: Program, before: dict[str, str]) -> None:
    assert program.run(*REMOVE).returncode == 0
    shown = program.run("undo", "--dry-run")
    assert (shown.returncode, len(shown.stdout.splitlines())) == (0, 1)


def test_the_older_removals_act_in_a_script(program: Program, pusher: Pusher, before: dict[str, str]) -> None:
    assert program.run(*REMOVE).returncode == 0
    assert set(pusher.tags("shop/web")) == {"1.1"}
    assert program.run("remove-repos", "-r", "shop/web").returncode == 0
    assert pusher.tags("shop/web") == {}


@pytest.mark.parametrize("how", ["option", "environment"])
@pytest.mark.parametrize("line", [REMOVE, ("remove-repos", "-r", "shop/web")])
def test_confirm_always_asks_for_consent_in_a_script(
    line: tuple[str, ...],
    how: str,
    program: Program,
    pusher: Pusher,
    before: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = program.environment() | ({"DREGUTIL_CONFIRM": "1"} if how == "environment" else {})
    options = ("--confirm", "always") if how == "option" else ()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            program.command(arguments),
            cwd=program.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    found = run(*line, *options)
    assert (found.returncode, found.stderr.startswith(REFUSED)) == (2, True)
    assert pusher.tags("shop/web") == before
    assert run(*line, *options, "--dry-run").returncode == 0
    assert run(*line, *options, "-y").returncode == 0
    assert "1.0" not in pusher.tags("shop/web")


@pytest.mark.parametrize(("value", "option", "code"), [("0", (), 0), ("1", ("--confirm", "auto"), 0), ("yes", (), 2)])
def test_the_option_overrides_the_environment(
    value: str, option: tuple[str, ...], code: int, program: Program, before: dict[str, str]
) -> None:
    done = subprocess.run(
        program.command((*REMOVE, *option)),
        cwd=program.folder,
        env=program.environment() | {"DREGUTIL_CONFIRM": value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == code


def test_on_a_terminal_apply_and_undo_ask(program: Program, pusher: Pusher, before: dict[str, str]) -> None:
    assert program.run(*REMOVE, "--plan-out", "plan").returncode == 0
    code, shown = on_terminal(program, "n", "apply", "plan")
    assert (code, "Remove 1 tag (1 manifest) of shop/web" in shown, "nothing was removed" in shown) == (0, True, True)
    assert pusher.tags("shop/web") == before
    assert on_terminal(program, "y", "apply", "plan")[0] == 0
    left = pusher.tags("shop/web")
    code, shown = on_terminal(program, "n", "undo")
    assert (code, "Put back 1 tag (1 manifest)" in shown, "nothing was put back" in shown) == (0, True, True)
    assert pusher.tags("shop/web") == left
    assert on_terminal(program, "y", "undo")[0] == 0
    assert pusher.tags("shop/web") == before
