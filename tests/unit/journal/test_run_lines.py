"""The table of `history`: which columns it has, and what fits into a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dregutil.journal.record import RunRecord
from dregutil.plan.model import Plan
from dregutil.report.runs import run_lines

NOW = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)


def run(
    name: str, *, registry: str = "a.example.com", host: str = "one", user: str = "ann", undoes: str = ""
) -> RunRecord:
    plan = Plan(registry, NOW, "remove-tags -r shop/web -t 1.0", ())
    return RunRecord(name, Path(name), plan, NOW, undoes, finished=NOW, user=user, host=host)


def test_the_registry_and_the_machine_are_named_only_if_there_are_several() -> None:
    one, other = run("20260301T020000Z-00001"), run("20260301T020000Z-00002", registry="b.example.com", host="two")
    alone = "\n".join(run_lines([one], {}))
    assert "REGISTRY" not in alone
    assert " ann  " in alone
    both = "\n".join(run_lines([one, other], {}))
    assert all(name in both for name in ("a.example.com", "b.example.com", "ann@one", "ann@two"))


def test_a_record_without_a_user_has_a_dash_and_no_run_is_no_line() -> None:
    assert "  -   " in "\n".join(run_lines([run("20260301T020000Z-00001", host="", user="")], {}))
    assert list(run_lines([], {})) == []


def test_every_line_fits_into_a_terminal_and_the_command_is_there_if_there_is_room() -> None:
    undone = run("20260301T020000Z-00001", user="a-user-with-a-long-name")
    runs = [undone, run("20260301T020000Z-00002", undoes=undone.run)]
    for width in (80, 100, 120):
        lines = list(run_lines(runs, {undone.run: False}, width=width))
        assert all(len(line) <= width for line in lines), lines
        assert ("COMMAND" in lines[0]) == (width >= 100)
        assert "undo of …00001" in lines[2]
    assert f"undo of {undone.run}  " in "\n".join(run_lines(runs, {undone.run: True}))
