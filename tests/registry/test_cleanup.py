"""`cleanup`, `why` and `policy check` end to end, on the real registry; dates come from real configs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.report.cleanup import going_lines
from dregutil.retention.judge import judge
from dregutil.retention.policyfile import read_policy
from dregutil.retention.verdict import TagFacts
from histories import NOW
from images import Pusher, created
from program import Program, on_terminal
from servers import DistributionServer

pytestmark = pytest.mark.every_server

DAY = timedelta(days=1)
POLICY = """version: 1
defaults: {max_remove: 80%}
policies:
  - name: releases
    repositories: ["shop/**"]
    select: {version: ">=1.0"}
    group_by: minor
    keep: {last: 1}
    order: version
  - name: branches
    repositories: ["**"]
    select: {regex: '(?P<branch>.+)-[0-9a-f]{7,40}'}
    group_by: branch
    keep: {last: 2}
"""


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def shop(pusher: Pusher) -> Pusher:
    for age, version in enumerate(("2.0.0", "1.1.1", "1.1.0", "1.0.1", "1.0.0")):
        pusher.push_image("shop/web", version, seed=version, config=created(10 + age))
    pusher.push_image("shop/web", "latest", seed="latest", config=created(5))
    for number in range(4):
        pusher.push_image("team/app", f"main-{number:07x}", seed=f"main {number}", config=created(30 - number))
    return pusher


def test_only_what_no_rule_keeps_is_removed(program: Program, shop: Pusher) -> None:
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    assert set(shop.tags("shop/web")) == {"1.0.1", "1.1.1", "2.0.0", "latest"}
    assert set(shop.tags("team/app")) == {"main-0000002", "main-0000003"}
    assert all(shop.is_whole("shop/web", tag) for tag in shop.tags("shop/web"))
    again = program.run("cleanup", "-f", "policy.yml", "-y")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to remove" in again.stderr
    assert "-2 tags, -2 to remove" in again.stderr


def test_what_was_removed_can_be_restored(program: Program, shop: Pusher) -> None:
    before = {name: shop.tags(name) for name in ("shop/web", "team/app")}
    program.run("cleanup", "-f", "policy.yml", "-y")
    assert program.run("undo", "-y").returncode == 0
    assert {name: shop.tags(name) for name in before} == before


def test_a_dry_run_removes_nothing_and_gives_the_reason_for_each_tag(program: Program, shop: Pusher) -> None:
    before = shop.tags("shop/web")
    done = program.run("cleanup", "-f", "policy.yml", "--dry-run", "--details")
    rows = {tuple(line.split()[:2]): line for line in done.stdout.splitlines()}
    assert rows["REMOVE", "shop/web:1.0.0"].endswith("releases  beyond last: 1")
    assert rows["KEEP", "shop/web:latest"].endswith("no policy selects it")
    assert "4 tags to go, 0 held back" in done.stdout
    assert shop.tags("shop/web") == before
    assert program.runs == []


def test_a_dry_run_shows_what_the_brake_will_require(program: Program, pusher: Pusher, tmp_path: Path) -> None:
    for number in range(53):
        pusher.push_image("shop/web", f"1.0.{number}", seed=f"{number}", config=created(10 + number))
    (tmp_path / "policy.yml").write_text(POLICY.replace("80%", "100%"))
    done = program.run("cleanup", "-f", "policy.yml", "--dry-run")
    assert "\nneeds --yes-remove 52: it takes most of shop/web\n" in done.stdout
    written = program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan")
    assert f"`dregutil apply plan{program.named}` carries it out" in written.stderr


def test_without_a_terminal_it_needs_y(program: Program, shop: Pusher) -> None:
    done = program.run("cleanup", "-f", "policy.yml")
    assert (done.returncode, len(shop.tags("shop/web"))) == (2, 6)
    assert "-y removes without asking" in done.stderr


def test_on_a_terminal_it_shows_the_plan_and_asks(program: Program, shop: Pusher) -> None:
    code, shown = on_terminal(program, "n", "cleanup", "-f", "policy.yml")
    assert (code, len(shop.tags("shop/web"))) == (0, 6)
    assert shown.count("4 tags to go") == 1
    rows = [line.split()[1] for line in shown.splitlines() if "REMOVE" in line.split("  ")[0]]
    assert rows == ["1.0.0", "1.1.0", "main-0000000", "main-0000001"]
    assert [line for line in shown.splitlines() if line in ("shop/web", "team/app")] == ["shop/web", "team/app"]
    assert "KEEP" not in shown.replace("TAGS  KEEP", "")
    code, _ = on_terminal(program, "y", "cleanup", "-f", "policy.yml")
    assert (code, len(shop.tags("shop/web"))) == (0, 4)


def test_more_than_max_remove_is_refused_unless_it_was_reviewed(program: Program, shop: Pusher, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text(POLICY.replace("80%", "40%"))
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert (done.returncode, len(shop.tags("team/app"))) == (5, 4)
    assert "more than max_remove would go: branches (2 of 4 tags); nothing was removed" in done.stderr
    dry = program.run("cleanup", "-f", "policy.yml", "--dry-run")
    assert dry.returncode == 5
    assert dry.stdout.splitlines()[-1].startswith("REFUSED: nothing would go, because of branches; ")
    assert dry.stdout.endswith("without max_remove it would be 4 tags\n")
    assert "undo" not in dry.stdout
    shown = program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    assert shown.returncode == 0
    said = (
        "MORE THAN max_remove: branches takes 2 of 4 tags, and max_remove is 40%: review the plan before you apply it"
    )
    assert said in shown.stdout
    assert "REFUSED" not in shown.stdout
    store = f"sqlite://{tmp_path}/store.sqlite"
    waits = program.run("cleanup", "-f", "policy.yml", "--approve", "--store", store)
    assert waits.returncode == 0
    assert said.replace("apply", "approve") in waits.stderr
    assert "REFUSED" not in waits.stderr
    waiting = program.run("plans", "show", waits.stdout.strip(), "--store", store).stdout
    assert "more than max_remove would go: branches (2 of 4 tags): review the plan before you approve it" in waiting
    assert program.run("apply", "plan.jsonl", "-y").returncode == 0
    assert set(shop.tags("team/app")) == {"main-0000002", "main-0000003"}


def test_a_tag_pushed_to_a_doomed_digest_after_the_plan_keeps_it(program: Program, shop: Pusher) -> None:
    program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    shop.push_image("shop/web", "lts", seed="1.0.0", config=json.loads(_config(shop, "1.0.0")))
    assert shop.tags("shop/web")["lts"] == shop.tags("shop/web")["1.0.0"]
    done = program.run("apply", "plan.jsonl", "-y")
    assert done.returncode == 0
    assert "also 'lts'" in done.stderr
    assert set(shop.tags("shop/web")) == {"1.0.0", "1.0.1", "1.1.1", "2.0.0", "latest", "lts"}


def test_images_in_use_stay_with_any_kind_of_list(program: Program, shop: Pusher, tmp_path: Path) -> None:
    host = program.url.partition("://")[2]
    (tmp_path / "policy.yml").write_text(POLICY + "protect:\n  in_use: [{file: '-'}, {file: pods.json, max_age: 1h}]\n")
    items = [{"spec": {"containers": [{"image": f"{host}/shop/web:1.0.0"}]}}]
    (tmp_path / "pods.json").write_text(json.dumps({"kind": "List", "items": items}))
    done = subprocess.run(
        program.command(("cleanup", "-f", "policy.yml", "-y")),
        cwd=tmp_path,
        env=program.environment(),
        input="team/app:main-0000000\nteam/app:gone\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"1.0.0", "1.1.1"} <= set(shop.tags("shop/web"))
    assert set(shop.tags("team/app")) == {"main-0000000", "main-0000002", "main-0000003"}
    assert "in use: standard input, 0s old: 1 of its 2 images are here" in done.stderr


def test_the_policy_is_checked_before_the_question(program: Program, tmp_path: Path) -> None:
    done = program.run("cleanup", "-f", "nothere.yml")
    assert done.returncode == 2
    assert "the policy nothere.yml cannot be read: No such file" in done.stderr
    (tmp_path / "policy.yml").write_text(POLICY.replace("last: 1", "lst: 1"))
    done = program.run("cleanup", "-f", "policy.yml")
    assert done.returncode == 2
    assert "policy.yml:8:12: unknown key 'lst'" in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "names no image"),
        ("kind: Pod\nspec: {containers: [{image: '$IMAGE'}]}\n", "$IMAGE"),
    ],
)
def test_policy_check_reads_the_lists_of_images_in_use(
    text: str | None, told: str, program: Program, tmp_path: Path
) -> None:
    more = "protect:\n  in_use:\n    - {max_age: 24h, file: images.txt}\n    - file: '-'\n"
    (tmp_path / "policy.yml").write_text(POLICY + more)
    if text is not None:
        (tmp_path / "images.txt").write_text(text)
    done = program.run("policy", "check", "policy.yml")
    first, last = done.stdout.splitlines()
    assert first.startswith("policy.yml:17:28: ")
    assert told in first
    assert (done.returncode, last) == (2, "policy.yml: 2 policies, 1 mistake, 0 warnings")


def test_policy_check_against_a_registry_requires_an_image_of_it_in_each_list(
    program: Program, shop: Pusher, tmp_path: Path
) -> None:
    (tmp_path / "policy.yml").write_text(POLICY + "protect: {in_use: [{file: ours.txt}, {file: theirs.txt}]}\n")
    (tmp_path / "ours.txt").write_text("shop/web:1.0.0\n")
    (tmp_path / "theirs.txt").write_text("quay.io/x/y:1\n")
    assert program.run("policy", "check", "policy.yml").returncode == 0
    done = program.run("policy", "check", "policy.yml", "--against", program.url)
    host = program.url.partition("://")[2]
    assert done.stdout.splitlines() == [
        f"policy.yml:15:45: the list theirs.txt names nothing that is in {host} (of 1 images)",
        f"policy.yml: 2 policies, 1 mistake, 0 warnings against {host}",
    ]
    assert done.returncode == 2


@pytest.mark.parametrize("trouble", ["missing", "empty", "old", "other"])
def test_a_list_that_protects_nothing_refuses_the_run(
    trouble: str, program: Program, shop: Pusher, tmp_path: Path
) -> None:
    (tmp_path / "policy.yml").write_text(POLICY + "protect: {in_use: [{file: images.txt, max_age: 1h}]}\n")
    if trouble != "missing":
        text = {"empty": "", "other": "quay.io/x/y:1\n"}.get(trouble, "shop/web:1.0.0\n")
        (tmp_path / "images.txt").write_text(text)
    if trouble == "old":
        long_ago = datetime.now(UTC).timestamp() - 7200
        os.utime(tmp_path / "images.txt", (long_ago, long_ago))
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert (done.returncode, len(shop.tags("shop/web"))) == (5, 6)
    assert "images.txt" in done.stderr


def test_a_promotion_by_retag_is_new_from_the_second_crawl(program: Program, shop: Pusher, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text(POLICY.replace("keep: {last: 2}", "keep: {within: 5d}"))
    program.run("refresh")
    config = json.loads(_config(shop, "main-0000000", "team/app"))
    shop.push_image("team/app", "prod-0000000", seed="main 0", config=config)
    shown = program.run("cleanup", "-f", "policy.yml", "--dry-run", "--details", "--format", "json")
    found = {one["tag"]: one for one in json.loads(shown.stdout) if one["repository"] == "team/app"}
    assert found["main-0000001"]["decision"] == "remove"
    assert found["prod-0000000"]["reasons"] == ["within: 5d", "younger than min_age: 1d"]
    assert found["main-0000000"]["reasons"][0] == "its digest is also 'prod-0000000', which stays"


def test_builds_found_by_one_crawl_keep_their_order_and_a_promotion_displaces_none(
    program: Program, shop: Pusher, tmp_path: Path
) -> None:
    (tmp_path / "policy.yml").write_text(POLICY.replace("max_remove: 80%", "max_remove: 80%, min_age: 0s"))
    program.run("refresh")
    for number in range(6):
        config = {"created": datetime.now(UTC).isoformat(timespec="microseconds")}
        shop.push_image("team/app", f"feat-{number:07x}", seed=f"feat {number}", config=config)
        if number == 0:
            shop.push_image(
                "team/app", "prod-0000000", seed="main 0", config=json.loads(_config(shop, "main-0000000", "team/app"))
            )
            shop.push_image("team/app", "prod-0000001", seed="prod 1", config=config)
            config = {"created": datetime.now(UTC).isoformat(timespec="microseconds")}
            shop.push_image("team/app", "prod-0000002", seed="prod 2", config=config)
    pushed = int(time.time())
    while int(time.time()) == pushed:  # the records count in whole seconds
        pass
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    found = set(shop.tags("team/app"))
    assert {tag for tag in found if tag.startswith("feat")} == {"feat-0000004", "feat-0000005"}
    assert {tag for tag in found if tag.startswith("prod")} == {"prod-0000000", "prod-0000001", "prod-0000002"}
    why = {tag: program.run("why", f"team/app:{tag}", "-f", "policy.yml").stdout for tag in found}
    assert "which counts: built since the crawl of" in why["feat-0000004"]
    assert "which saw it appear, counts: created" in why["prod-0000000"]
    assert "its image was known before" in why["prod-0000000"]


def test_the_first_fifty_are_listed_and_the_others_counted() -> None:
    app = Repository("app")
    facts = [TagFacts(Tag(f"t{number:02}"), Digest.of(b"%d" % number), NOW - number * DAY) for number in range(60)]
    policies = read_policy("version: 1\npolicies: [{name: p, repositories: [app], keep: {last: 5}}]")
    going = [one for one in facts if one.tag not in {f"t{number:02}" for number in range(5)}]
    steps = tuple(
        Step(number, Action.DELETE, app, one.digest, (one.tag,), StepKind.IMAGE, "p")
        for number, one in enumerate(going[:53])
        if one.tag is not None
    )
    found = list(going_lines(judge(policies, {app: facts}, now=NOW), Plan("r", NOW, "cleanup", steps)))
    assert len(found) == 1 + 50 + 1
    assert [line.split()[1] for line in found[1:-1]] == [f"app:t{number:02}" for number in range(5, 55)]
    assert found[-1] == "… and 3 more: --details"


def test_signatures_and_children_of_removed_images_go_and_are_not_counted(program: Program, pusher: Pusher) -> None:
    for number, version in enumerate(("1.0.0", "1.0.1")):
        children = [
            {
                **pusher.push_image("shop/web", seed=f"{version} {name}", config=created(30 - number)),
                "platform": {"os": "linux", "architecture": name},
            }
            for name in ("amd64", "arm64")
        ]
        index = pusher.push_index("shop/web", version, children=children)
        pusher.push_image("shop/web", f"sha256-{index['digest'][7:]}.sig", seed=f"sig {version}")
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    assert "1 tag and 1 signature tag to go" in done.stderr
    left = pusher.tags("shop/web")
    assert set(left) == {"1.0.1", f"sha256-{left['1.0.1'][7:]}.sig"}
    assert pusher.is_whole("shop/web", "1.0.1")


def test_limit_takes_the_oldest_first(program: Program, shop: Pusher) -> None:
    assert program.run("cleanup", "-f", "policy.yml", "-y", "--limit", "1").returncode == 0
    assert "main-0000000" not in shop.tags("team/app")
    assert len(shop.tags("team/app")) + len(shop.tags("shop/web")) == 9
    program.run("cleanup", "-f", "policy.yml", "-y", "--limit", "1")
    assert set(shop.tags("team/app")) == {"main-0000002", "main-0000003"}


def test_after_max_time_the_rest_is_left_for_the_next_run(program: Program, shop: Pusher) -> None:
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--max-time", "0s")
    assert (done.returncode, len(shop.tags("shop/web"))) == (0, 6)
    assert "--max-time was over before anything was removed" in done.stderr


def test_untag_removes_only_the_tag(program: Program, shop: Pusher, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text(POLICY.replace("max_remove: 80%", "max_remove: 80%, untag: true"))
    shop.push_image("shop/web", "stable", seed="1.0.0", config=json.loads(_config(shop, "1.0.0")))
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    assert set(shop.tags("shop/web")) == {"1.0.1", "1.1.1", "2.0.0", "latest", "stable"}
    assert shop.is_whole("shop/web", "stable")


def test_why_lists_every_rule_that_applies(program: Program, shop: Pusher) -> None:
    done = program.run("why", "shop/web:1.0.0", "-f", "policy.yml")
    assert done.returncode == 0, done.stderr
    first, second, *rows = done.stdout.splitlines()
    assert first == "REMOVE  shop/web:1.0.0  beyond last: 1"
    assert second.endswith("policy releases, group 1.0")
    assert " ".join(rows[0].split()) == "does not last: 1 by version, 1 newer of 2 images in its group"
    shown: list[dict[str, Any]] = json.loads(
        program.run("why", "shop/web:latest", "-f", "policy.yml", "--format", "json").stdout
    )
    assert [(one["what"], one["keeps"]) for one in shown] == [("not selected", True)]
    assert program.run("why", "shop/web:9", "-f", "policy.yml").returncode == 1


def test_policy_check_reports_mistakes_with_line_and_column(program: Program, tmp_path: Path) -> None:
    (tmp_path / "policy.yml").write_text(POLICY.replace("last: 1", "lst: 1"))
    done = program.run("policy", "check", "policy.yml")
    assert done.returncode == 2
    assert done.stdout.startswith("policy.yml:8:12: unknown key 'lst' in 'keep': did you mean 'last'?")
    assert program.run("cleanup", "-f", "policy.yml", "-y").returncode == 2


def test_policy_check_against_a_registry_reports_what_matches_nothing_and_what_overlaps(
    program: Program, shop: Pusher, tmp_path: Path
) -> None:
    more = "  - {name: none, repositories: ['prod/**'], keep: {last: 1}}\n"
    more += "  - {name: glob, repositories: ['**'], select: {tags: 'main-.*'}, keep: {last: 1}}\n"
    more += "  - {name: all, repositories: ['shop/**'], keep: {last: 1}}\n"
    (tmp_path / "policy.yml").write_text(POLICY + more)
    done = program.run("policy", "check", "policy.yml", "--against", program.url)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "policy.yml:15:5: 'none' selects nothing: none of its globs names a repository (warning)",
        "policy.yml:16:5: 'glob' selects nothing: no tag in its repositories matches (warning)",
        "policy.yml:17:5: 'all' overlaps 'releases' on 5 tags, which 'releases' owns (warning)",
        f"policy.yml: 5 policies, no mistakes, 3 warnings against {program.url.partition('://')[2]}",
    ]


def test_the_record_of_a_cleanup_names_the_rule(program: Program, shop: Pusher) -> None:
    program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    lines = [json.loads(line) for line in (program.folder / "plan.jsonl").read_text().splitlines()]
    assert {line["because"] for line in lines[1:-1]} == {"releases: beyond last: 1", "branches: beyond last: 2"}


def _config(pusher: Pusher, tag: str, repository: str = "shop/web") -> bytes:
    digest = json.loads(pusher.raw(repository, tag))["config"]["digest"]
    return pusher.request("GET", f"/v2/{repository}/blobs/{digest}")[2]


def test_a_policy_that_selects_nothing_is_reported(program: Program, shop: Pusher, tmp_path: Path) -> None:
    more = """  - {name: strays, repositories: ["**"], select: {untagged: true}, keep: {none: true}}
  - {name: typo, repositories: ["**"], select: {tags: "relaese-*"}, keep: {last: 1}}
"""
    (tmp_path / "policy.yml").write_text(POLICY.rstrip() + "\n" + more)
    done = program.run("cleanup", "-f", "policy.yml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "'strays' selects nothing: no untagged manifest is known here" in done.stderr
    assert "'typo' selects nothing: no tag in its repositories matches" in done.stderr
