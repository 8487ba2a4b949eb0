"""Lists of names, expiry labels and other keys of policies, end to end on the real registry."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer

BRANCHES = """version: 1
defaults: {max_remove: 100%}
policies:
  - name: branches
    repositories: ["**"]
    select: {regex: '(?P<branch>.+)-[0-9a-f]{7}'}
    keep: {named_in: {file: alive.txt, max_age: 24h}, by: branch}
"""


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def test_a_list_of_branches_that_lost_most_of_them_refuses_the_next_cleanup(program: Program, pusher: Pusher) -> None:
    for number in range(6):
        pusher.push_image("app", f"b{number}-0000001", seed=str(number), config=created(30 + number))
    (program.folder / "policy.yml").write_text(BRANCHES)
    (program.folder / "alive.txt").write_text("b0\nb1\nb2\nb3\nb4\n")
    assert program.run("policy", "check", "policy.yml").returncode == 0
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert (done.returncode, set(pusher.tags("app"))) == (0, {f"b{number}-0000001" for number in range(5)})
    (program.folder / "alive.txt").write_text("b0\nb1\n")
    for more in (["-y"], ["--dry-run"]):
        done = program.run("cleanup", "-f", "policy.yml", *more)
        assert (done.returncode, "alive.txt of names has 2 names, and had 5" in done.stderr) == (5, True), done.stderr
    assert len(pusher.tags("app")) == 5
    (program.folder / "policy.yml").write_text(BRANCHES.replace("24h}", "24h, max_shrink: 100%}"))
    told = program.run("why", "app:b3-0000001", "-f", "policy.yml")
    assert "b3 is not in the list" in told.stdout
    assert program.run("cleanup", "-f", "policy.yml", "-y").returncode == 0
    assert set(pusher.tags("app")) == {"b0-0000001", "b1-0000001"}
    (program.folder / "alive.txt").unlink()
    done = program.run("policy", "check", "policy.yml")
    assert (done.returncode, "policy.yml:7:29: the list alive.txt of names cannot be read" in done.stdout) == (2, True)


def test_what_a_scanner_lists_by_digest_goes_and_a_tag_that_moved_stays(program: Program, pusher: Pusher) -> None:
    ages = {"bad": 30, "good": 31, "moved": 32}
    found = {name: pusher.push_image("app", name, seed=name, config=created(days)) for name, days in ages.items()}
    pusher.push_image("app", "moved", seed="mended", config=created(29))
    (program.folder / "policy.yml").write_text(
        "version: 1\ndefaults: {max_remove: 100%}\n"
        "policies: [{name: p, repositories: ['**'], doomed: [{file: bad.txt, max_age: 24h}]}]\n"
    )
    (program.folder / "bad.txt").write_text(f"app@{found['bad']['digest']}\napp:moved@{found['moved']['digest']}\n")
    told = program.run("why", "app:bad", "-f", "policy.yml")
    assert "it is in bad.txt" in told.stdout, told.stderr
    assert program.run("cleanup", "-f", "policy.yml", "-y").returncode == 0
    assert set(pusher.tags("app")) == {"good", "moved"}
    (program.folder / "bad.txt").write_text("app:good\n")
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert (done.returncode, "line 1: 'app:good' has no repository with a digest" in done.stderr) == (5, True)
    done = program.run("policy", "check", "policy.yml")
    assert (done.returncode, "policy.yml:3:60: the list bad.txt, line 1" in done.stdout) == (2, True), done.stdout


def test_a_folder_of_policies_is_applied_under_its_floor(program: Program, pusher: Pusher) -> None:
    for team, age in itertools.product(("web", "api"), range(20, 25)):
        pusher.push_image(f"{team}/app", f"t{age}", seed=f"{team} {age}", config=created(age))
    folder = program.folder / "policies.d"
    folder.mkdir()
    (folder / "floor.yaml").write_text("version: 1\nfloor: {keep: {last: 2}, protect: {tags: [t24]}}\n")
    for team in ("web", "api"):
        rules = "keep: {named_in: names.txt, by: n}, select: {regex: 't(?P<n>.+)'}, max_remove: 100%"
        text = f"version: 1\npolicies:\n  - {{name: {team}, repositories: ['{team}/**'], {rules}}}\n"
        (folder / f"{team}.yaml").write_text(text)
    (folder / "names.txt").write_text("22\n")
    assert program.run("policy", "check", "policies.d").returncode == 0
    done = program.run("cleanup", "-f", "policies.d", "-y")
    assert done.returncode == 0, done.stderr
    for team in ("web", "api"):
        assert set(pusher.tags(f"{team}/app")) == {"t20", "t21", "t22", "t24"}
    (folder / "other.yaml").write_text("version: 1\npolicies: [{name: x, repositories: ['*/app'], keep: {last: 1}}]\n")
    done = program.run("cleanup", "-f", "policies.d", "-y")
    assert (done.returncode, "both apply to repositories such as 'web/app'" in done.stderr) == (2, True), done.stderr


def test_a_label_that_the_policy_protects_since_the_plan_keeps_its_image(program: Program, pusher: Pusher) -> None:
    labelled = {**created(30), "config": {"Labels": {"keep": "true"}}}
    pusher.push_image("app", "a", seed="a", config=labelled)
    pusher.push_image("app", "b", seed="b", config=created(31))
    pusher.push_image("app", "c", seed="c", config=created(32))
    text = "version: 1\npolicies: [{name: p, repositories: ['**'], select: {tags: '[ab]'}, keep: {none: true}}]\n"
    (program.folder / "policy.yml").write_text(text)
    assert program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.json").returncode == 0
    (program.folder / "policy.yml").write_text(text + "protect: {labels: {keep: 'true'}}\n")
    program.run("apply", "plan.json", "-y")
    assert set(pusher.tags("app")) == {"a", "c"}
