"""Saved plans on the command line: shown, compared, and checked again against the registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for place, tag in enumerate(("1.0", "1.1", "1.2", "2.0")):
        pusher.push_image("shop/web", tag, seed=tag, config=created(400 - 100 * place))
    program = Program(registry_server.url, tmp_path)
    for name, tags in (("monday.jsonl", ("1.0", "1.1")), ("tuesday.jsonl", ("1.1", "1.2"))):
        made = program.run("remove-tags", "-r", "shop/web", "-t", *tags, "--plan-out", name)
        assert made.returncode == 0, made.stderr
    return program


def test_a_saved_plan_is_shown_without_the_registry(program: Program, registry_server: DistributionServer) -> None:
    registry_server.stop()
    done = program.run("plan", "show", "monday.jsonl")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("REMOVE")]
    assert [row[2] for row in rows] == ["1.0", "1.1"]
    assert [len(row[4]) for row in rows] == [10, 10]  # the date of the image
    assert "2 tags to go, 0 held back" in done.stdout
    steps = json.loads(program.run("plan", "show", "monday.jsonl", "--format", "json").stdout)
    assert [step["created"][:2] for step in steps] == ["20", "20"]


def test_two_plans_are_compared(program: Program) -> None:
    done = program.run("plan", "diff", "monday.jsonl", "tuesday.jsonl", "--format", "json")
    assert [(one["change"], one["tag"]) for one in json.loads(done.stdout)] == [
        ("new to go", "1.2"),
        ("no longer to go", "1.0"),
    ]
    assert "both plans remove the same" in program.run("plan", "diff", "monday.jsonl", "monday.jsonl").stdout


def test_plans_of_different_registries_are_not_compared(program: Program) -> None:
    other = (program.folder / "monday.jsonl").read_text()
    assert program.run("plan", "diff", "monday.jsonl").returncode == 2
    (program.folder / "odd.jsonl").write_text(other.replace("1.1", "1.3"))
    assert program.run("plan", "diff", "monday.jsonl", "odd.jsonl").returncode == 5  # altered


def test_a_dry_run_of_a_plan_checks_each_step_again(program: Program, pusher: Pusher) -> None:
    pusher.push_image("shop/web", "1.0", seed="pushed since")
    before = pusher.tags("shop/web")
    done = program.run("apply", "monday.jsonl", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line.split()[2] for line in done.stdout.splitlines() if line.startswith("REMOVE")] == ["1.1"]
    (kept,) = [line for line in done.stdout.splitlines() if line.startswith("KEEP")]
    assert "'1.0' has moved to" in kept
    assert "1 tag to go, 1 held back" in done.stdout
    assert pusher.tags("shop/web") == before
    assert program.runs == []
    assert program.run("apply", "monday.jsonl", "--dry-run", "--strict").returncode == 3


def test_a_dry_run_says_what_the_run_then_does(program: Program, pusher: Pusher) -> None:
    pusher.push_image("shop/web", "1.1", seed="pushed since")
    shown = json.loads(program.run("apply", "tuesday.jsonl", "--dry-run", "--format", "json").stdout)
    going = [tag for step in shown if step["action"] == "delete" for tag in step["tags"]]
    held = {tag: step["because"] for step in shown if step["action"] == "keep" for tag in step["tags"]}
    done = program.run("apply", "tuesday.jsonl", "-y")
    assert done.returncode == 0, done.stderr
    assert going == ["1.2"]
    assert set(pusher.tags("shop/web")) == {"1.0", "1.1", "2.0"}
    assert held["1.1"] in done.stderr


def test_a_plan_of_which_nothing_holds_is_refused(program: Program, pusher: Pusher) -> None:
    for tag in ("1.0", "1.1"):
        pusher.push_image("shop/web", tag, seed=f"new {tag}")
    done = program.run("apply", "monday.jsonl", "--dry-run")
    assert done.returncode == 5
    assert "none of the plan's steps applies any more" in done.stderr
