"""`remove-tags --images`: images of several repositories in one plan, as a file lists them; `--reasons-out`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for repository in ("shop/web", "shop/api"):
        for tag in ("1.0", "1.1", "2.0"):
            pusher.push_image(repository, tag, seed=f"{repository} {tag}", config=created(40))
    for tag in ("kept", "also"):
        pusher.push_image("shop/web", tag, seed="shared")
    return Program(registry_server.url, tmp_path)


def reasons(program: Program, name: str = "reasons.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((program.folder / name).read_text())
    return found


def test_images_of_several_repositories_go_in_one_plan(program: Program, pusher: Pusher) -> None:
    (program.folder / "images.txt").write_text("# old\nshop/web:1.0\nshop/api:1.1 # too\n\nshop/web:also\n")
    done = program.run(
        "remove-tags", "--images", "images.txt", "--plan-out", "plan.jsonl", "--reasons-out", "reasons.json"
    )
    assert done.returncode == 0, done.stderr
    shown = {
        (group["repository"], row["action"], row["because"], *row["images"][0]["tags"])
        for group in reasons(program)["groups"]
        for row in group["rows"]
    }
    assert shown == {
        ("shop/web", "REMOVE", "selected", "1.0"),
        ("shop/api", "REMOVE", "selected", "1.1"),
        ("shop/web", "KEEP", "shared with tags that stay", "also"),
    }
    assert program.run("apply", "plan.jsonl", "--expect", reasons(program)["sum"], "-y").returncode == 0
    assert set(pusher.tags("shop/web")) == {"1.1", "2.0", "kept", "also"}
    assert set(pusher.tags("shop/api")) == {"1.0", "2.0"}
    (run,) = json.loads(program.run("history", "--format", "json").stdout)
    assert run["plan"] == reasons(program)["sum"]


def test_images_come_from_standard_input_and_absent_ones_are_named(program: Program) -> None:
    done = program.run("remove-tags", "--images", "-", "--dry-run", piped="shop/web:1.0\nshop/web:9\nother:1\n")
    assert done.returncode == 3
    assert "not in the registry: shop/web:9, other:1\n" in done.stderr
    assert "1 tag to go" in done.stdout
    done = program.run("remove-tags", "--images", "-", "--dry-run", piped="shop/web:9\n")
    assert done.returncode == 1
    assert "not in the registry: shop/web:9" in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("-r", "shop/web"), "--images and --repo were both given"),
        (("--older-than", "30d"), "--images and --older-than were both given"),
        (("--full-match",), "--images and --full-match were both given"),
        (("--reasons-out", "reasons.json"), "--reasons-out belongs to --plan-out"),
    ],
)
def test_a_list_names_every_image(program: Program, given: tuple[str, ...], said: str) -> None:
    done = program.run("remove-tags", "--images", "-", *given, piped="shop/web:1.0\n")
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("line", ["--yes", "shop/web", "shop/web@sha256:" + "0" * 64, "shop/web:1.0 shop/web:1.1", ""])
def test_what_is_not_an_image_is_refused(program: Program, pusher: Pusher, line: str) -> None:
    before = pusher.tags("shop/web")
    done = program.run("remove-tags", "--images", "-", "-y", piped=f"{line}\n")
    assert done.returncode == 2, done.stderr
    assert pusher.tags("shop/web") == before


def test_nothing_is_removed_without_a_repository_or_a_list(program: Program) -> None:
    done = program.run("remove-tags", "-t", "1.0", "-y")
    assert done.returncode == 2
    assert "the following arguments are required: --repo/-r" in done.stderr


def test_the_reasons_of_a_policy_have_what_stays_and_what_changed(program: Program) -> None:
    (program.folder / "policy.yml").write_text(
        "version: 1\ndefaults: {max_remove: 90%, min_age: 0d}\n"
        "policies: [{name: api, repositories: [shop/api], keep: {last: 1}, order: version}]\n"
    )
    made = ("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl", "--reasons-out", "reasons.json")
    assert program.run(*made).returncode == 0, program.run(*made).stderr
    rows = [row for group in reasons(program)["groups"] for row in group["rows"]]
    assert {row["action"] for row in rows} == {"REMOVE", "KEEP"}
    assert reasons(program)["changes"] is None
    assert program.run("apply", "plan.jsonl", "-y").returncode == 0
    assert program.run(*made).returncode == 0
    assert reasons(program)["changes"]["new"] == 0


def test_a_wrong_number_stops_a_reviewed_plan_that_removes_most(program: Program, pusher: Pusher) -> None:
    for number in range(60):
        pusher.push_image("many", f"{number}", seed="many" if number else "other")
    listed = "".join(f"many:{number}\n" for number in range(1, 60))
    made = program.run("remove-tags", "--images", "-", "--plan-out", "p.jsonl", "--reasons-out", "r.json", piped=listed)
    assert made.returncode == 0, made.stderr
    found = reasons(program, "r.json")
    assert (found["most_of"], found["confirm_tags"]) == (["many"], 59)
    reviewed = ("apply", "p.jsonl", "--expect", found["sum"], "-y")
    refused = program.run(*reviewed, "--yes-remove", "0")
    assert (refused.returncode, len(pusher.tags("many"))) == (5, 60), refused.stderr
    assert "59" in refused.stderr
    assert program.run(*reviewed, "--yes-remove", "59").returncode == 0
    assert [*pusher.tags("many")] == ["0"]
