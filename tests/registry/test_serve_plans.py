"""Plans over HTTP on a real registry: selected, planned, approved, carried out by a process of its own, undone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from images import Pusher, created
from listening import until
from program import Program
from servers import DistributionServer
from serving import Answered, Serving

POLICY = """version: 1
defaults: {max_remove: 90%, min_age: 0s}
policies: [{name: web, repositories: [shop/web], keep: {last: 2}, order: version}]
"""
PROXY = ("--user-header", "X-User", "--trusted-proxy", "127.0.0.1", "--viewer", "*", "--planner", "ann")
PEOPLE = (*PROXY, "--approver", "ann", "--approver", "bob", "--approver", "cy", "--approvals", "2")
WEB = ("1.0", "1.1", "1.2", "2.0")


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for place, tag in enumerate(WEB):
        pusher.push_image("shop/web", tag, seed=tag, config=created(400 - 100 * place))
        pusher.push_image("shop/api", tag, seed=f"api {tag}", config=created(400 - 100 * place))
    for tag in ("shared", "stays"):
        pusher.push_image("shop/web", tag, seed="shared", config=created(10))
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def serving(program: Program) -> Iterator[Serving]:
    with Serving(program, ("--refresh-every", "0")) as found:
        found.report()
        yield found


def made(serving: Serving, *images: str, **who: str) -> dict[str, Any]:
    """The detail of a plan that removes images."""
    job = ended(serving, serving.post("plans", {"images": list(images)}, **who), **who)
    assert job["state"] == "done", job
    return detail(serving, job["result"]["plan"], **who)


def detail(serving: Serving, sum_: str, **who: str) -> dict[str, Any]:
    answered = serving.get(f"plans/{sum_}", **who)
    assert answered.status == 200, answered
    found: dict[str, Any] = answered.json
    return found


def ended(serving: Serving, answered: Answered, **who: str) -> dict[str, Any]:
    """The job of an answer, once it has ended."""
    assert answered.status == 202, answered
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(serving.get(f"jobs/{answered.json['id']}", **who).json)
        return found["state"] in ("done", "failed")

    until(has_ended)
    return found


def why(answered: Answered) -> tuple[int, str]:
    return answered.status, answered.json["error"]


def test_a_selection_is_planned_approved_carried_out_and_undone(serving: Serving, pusher: Pusher) -> None:
    before = {name: pusher.tags(name) for name in ("shop/web", "shop/api")}
    plan = made(serving, "shop/web:1.0", "shop/api:1.1", "shop/web:shared")
    assert (plan["summary"]["tags"], plan["summary"]["state"], plan["may_apply"]) == (2, "waiting", False)
    kept = [row for group in plan["plan"]["groups"] for row in group["rows"] if row["action"] == "KEEP"]
    assert [(row["because"], row["images"][0]["tags"]) for row in kept] == [("shared with tags that stay", ["shared"])]
    sum_ = plan["summary"]["sum"]
    steps = serving.get(f"plans/{sum_}/steps").json
    assert {(one["repository"], *one["tags"]) for one in steps["rows"]} == {("shop/web", "1.0"), ("shop/api", "1.1")}
    assert [one["tags"] for one in serving.get(f"plans/{sum_}/steps?q=API:1").json["rows"]] == [["1.1"]]
    assert why(serving.post(f"plans/{sum_}/apply")) == (409, "1 approval is missing")
    approved = serving.post(f"plans/{sum_}/approve")
    assert (approved.status, approved.json["summary"]["state"], approved.json["may_apply"]) == (200, "approved", True)
    job = serving.job(serving.post(f"plans/{sum_}/apply"))
    assert job["state"] == "done", job
    run = job["result"]["run"]
    assert set(pusher.tags("shop/web")) == set(before["shop/web"]) - {"1.0"}
    assert set(pusher.tags("shop/api")) == set(before["shop/api"]) - {"1.1"}
    assert all(pusher.is_whole("shop/web", tag) for tag in pusher.tags("shop/web"))
    after = detail(serving, sum_)
    assert (after["summary"]["state"], after["summary"]["run"], after["may_apply"]) == ("done", run, False)
    assert why(serving.post(f"plans/{sum_}/apply")) == (409, "it was carried out already")

    shown = serving.get(f"runs/{run}").json
    owner = serving.get("session").json["user"]
    assert (shown["run"]["plan"], shown["run"]["approved_by"], shown["run"]["planned_by"]) == (sum_, [owner], owner)
    assert (shown["total"], shown["can_undo"], shown["can_resume"]) == (2, True, False)
    assert {step["result"] for step in shown["steps"]} == {"removed"}
    assert [one["image"] for one in serving.get("removed?q=api").json["rows"]] == ["shop/api:1.1"]

    one = serving.job(serving.post(f"runs/{run}/undo", {"images": ["shop/api:1.1"]}))
    assert one["state"] == "done", one
    assert pusher.tags("shop/api") == before["shop/api"]
    assert set(pusher.tags("shop/web")) == set(before["shop/web"]) - {"1.0"}
    assert serving.job(serving.post(f"runs/{run}/undo"))["state"] == "done"
    assert {name: pusher.tags(name) for name in before} == before
    assert serving.get(f"runs/{run}").json["can_undo"] is False
    assert serving.get("runs").json["total"] == 3
    assert why(serving.post(f"plans/{sum_}/apply")) == (409, "it was carried out already"), "an approval is of one run"


def test_a_tag_that_moved_after_the_approval_stays(serving: Serving, pusher: Pusher) -> None:
    sum_ = made(serving, "shop/web:1.0", "shop/web:1.1")["summary"]["sum"]
    assert serving.post(f"plans/{sum_}/approve").status == 200
    moved = pusher.push_image("shop/web", "1.1", seed="pushed since")
    assert serving.job(serving.post(f"plans/{sum_}/apply"))["state"] == "done"
    assert pusher.tags("shop/web")["1.1"] == moved["digest"]
    assert "1.0" not in pusher.tags("shop/web")


def test_a_plan_that_is_made_again_has_the_new_reasons_until_somebody_approves_it(
    program: Program, pusher: Pusher
) -> None:
    def planned(serving: Serving) -> tuple[str, set[str]]:
        sum_ = serving.job(serving.post("plans", {"policy": True}))["result"]["plan"]
        groups = detail(serving, sum_)["plan"]["groups"]
        return sum_, {row["because"] for group in groups for row in group["rows"] if row["action"] == "KEEP"}

    with Serving(program, ("--refresh-every", "0", "-f", "policy.yml")) as serving:
        serving.report()
        first, reasons = planned(serving)
        groups = detail(serving, first)["plan"]["groups"]
        kept, *_ = [
            f"{group['repository']}:{row['images'][0]['tags'][0]}"
            for group in groups
            for row in group["rows"]
            if row["action"] == "KEEP"
        ]
        assert "on hold" not in reasons
        hold = {"image": kept, "days": 30, "because": "the audit"}
        assert serving.job(serving.post("holds", hold))["state"] == "done"
        assert (again := planned(serving))[0] == first
        assert "on hold" in again[1]
        assert serving.post(f"plans/{first}/approve").status == 200
        assert serving.job(serving.post("holds/end", {"image": kept}))["state"] == "done"
        assert planned(serving) == again, "what was approved stays as it was seen"


def test_the_plan_of_the_policy_has_its_reasons_and_the_next_takes_its_place(program: Program, pusher: Pusher) -> None:
    with Serving(program, ("--refresh-every", "0", "-f", "policy.yml")) as serving:
        serving.report()
        until(lambda: serving.get("plans").json["plans"])
        (by_itself,) = serving.get("plans").json["plans"]
        assert (by_itself["by"], by_itself["tonight"]) == ("dregutil serve", True)
        first = serving.job(serving.post("plans", {"policy": True}))["result"]["plan"]
        assert first == by_itself["sum"]
        again = serving.job(serving.post("plans", {"policy": True}))["result"]["plan"]
        assert again == first, "a plan that removes the same is not made twice"
        shown = detail(serving, first)
        rows = {(row["action"], row["because"]) for group in shown["plan"]["groups"] for row in group["rows"]}
        assert rows >= {("REMOVE", "beyond last: 2"), ("KEEP", "last: 2")}, rows
        assert shown["summary"]["tonight"] is True
        pusher.push_image("shop/web", "3.0", seed="3.0", config=created(1))
        assert serving.job(serving.post("refresh"))["state"] == "done"
        later = serving.job(serving.post("plans", {"policy": True}))["result"]["plan"]
        assert later != first
        states = {one["sum"]: (one["state"], one["tonight"]) for one in serving.get("plans").json["plans"]}
        assert states[first] == ("superseded", False)
        assert states[later] == ("waiting", True)
        assert why(serving.post(f"plans/{first}/approve")) == (409, "a newer plan by the policy takes its place")


def test_two_people_approve_and_who_planned_is_none_of_them(program: Program, pusher: Pusher) -> None:
    with Serving(program, ("--refresh-every", "0", *PEOPLE)) as serving:
        sum_ = made(serving, "shop/web:1.0", X_User="ann")["summary"]["sum"]

        def said(what: str, name: str) -> tuple[int, str]:
            answered = serving.post(f"plans/{sum_}/{what}", X_User=name)
            return (answered.status, answered.json.get("error", ""))

        assert said("approve", "ann") == (403, "ann made this plan, and 2 others must approve it")
        assert said("approve", "eve")[0] == 403
        assert said("apply", "bob") == (409, "2 approvals are missing")
        assert said("approve", "bob")[0] == 200
        assert said("approve", "bob") == (409, "bob has approved it already")
        assert said("apply", "bob") == (409, "1 approval is missing")
        assert said("approve", "cy")[0] == 200
        assert said("withdraw", "cy")[0] == 200
        assert said("apply", "bob") == (409, "1 approval is missing")
        assert said("approve", "cy")[0] == 200
        assert said("apply", "eve")[0] == 403
        assert "1.0" in pusher.tags("shop/web")
        job = ended(serving, serving.post(f"plans/{sum_}/apply", X_User="ann"), X_User="bob")
        assert job["state"] == "done", job
        run = job["result"]["run"]
        assert "1.0" not in pusher.tags("shop/web")
        shown = serving.get(f"runs/{run}", X_User="eve").json["run"]
        assert (shown["by"], shown["planned_by"], shown["approved_by"]) == ("ann", "ann", ["bob", "cy"])


def test_an_expired_approval_and_a_changed_file_are_refused(program: Program, pusher: Pusher) -> None:
    options = ("--refresh-every", "0")
    with Serving(program, options) as serving:
        sum_ = made(serving, "shop/web:1.0")["summary"]["sum"]
        other = made(serving, "shop/web:1.1")["summary"]["sum"]
        for one in (sum_, other):
            assert serving.post(f"plans/{one}/approve").status == 200
    (state,) = program.state.glob(f"serve/*/plans/{sum_.partition(':')[2]}.json")
    kept = json.loads(state.read_text())
    kept["approvals"][0]["when"] = "2026-01-01T00:00:00Z"
    state.write_text(json.dumps(kept))
    file = state.with_name(f"{other.partition(':')[2]}.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"1.1"', b'"2.0"'))
    with Serving(program, options) as serving:
        assert detail(serving, sum_)["summary"]["state"] == "expired"
        assert why(serving.post(f"plans/{sum_}/apply")) == (409, "an approval has expired: 1 approval is missing")
        assert detail(serving, other)["summary"]["state"] == "approved"
        changed = (409, "the file of the plan was altered: its checksum does not match")
        assert why(serving.post(f"plans/{other}/apply")) == changed
        assert set(pusher.tags("shop/web")) == {*WEB, "shared", "stays"}
        assert serving.post(f"plans/{sum_}/approve").status == 200
        assert serving.job(serving.post(f"plans/{sum_}/apply"))["state"] == "done"
    assert set(pusher.tags("shop/web")) == {*WEB, "shared", "stays"} - {"1.0"}


@pytest.fixture
def killed(program: Program) -> Iterator[Serving]:
    """A server that the test kills."""
    found = Serving(program, ("--refresh-every", "0", "--concurrency", "1"))
    found.start()
    try:
        found.report()
        yield found
    finally:
        assert found.process is not None
        found.process.kill()
        found.process.wait(20)


def test_a_killed_server_and_a_killed_run_are_continued(program: Program, killed: Serving, pusher: Pusher) -> None:
    tags = [f"0.{number}" for number in range(150)]
    for tag in tags:
        pusher.push_image("many", tag, seed=tag)
    pusher.push_image("many", "stays", seed="stays")
    serving = killed
    plan = made(serving, *(f"many:{tag}" for tag in tags))
    sum_ = plan["summary"]["sum"]
    assert (plan["plan"]["most_of"], plan["plan"]["confirm_tags"]) == (["many"], 150)
    assert serving.post(f"plans/{sum_}/approve").status == 200
    for typed in (None, 149):
        refused = serving.post(f"plans/{sum_}/apply", {"confirm_tags": typed})
        assert refused.status == 409
        assert "more than half of what many has" in refused.json["error"]
    assert program.runs == []
    assert serving.post(f"plans/{sum_}/apply", {"confirm_tags": 150}).status == 202
    until(lambda: has_begun(program))
    (apply,) = children(serving)
    assert serving.end(signal.SIGKILL) == -signal.SIGKILL
    os.kill(apply, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{apply}").exists())
    left = pusher.tags("many")
    assert len(left) > 1, "it was killed too late"

    with Serving(program, ("--refresh-every", "0")) as again:
        shown = detail(again, sum_)
        assert (shown["summary"]["state"], shown["may_apply"], shown["may_approve"]) == ("failed", False, False)
        run = shown["summary"]["run"]
        assert why(again.post(f"plans/{sum_}/apply", {"confirm_tags": 150}))[0] == 409
        of_run = again.get(f"runs/{run}").json
        assert (of_run["can_resume"], of_run["can_undo"], of_run["progress"]) == (True, True, None)
        assert "apply --resume" in of_run["command"]
        assert ended(again, again.post(f"runs/{run}/resume"))["state"] == "done"
        assert [*pusher.tags("many")] == ["stays"]
        until(lambda: detail(again, sum_)["summary"]["state"] == "done")
        assert why(again.post(f"runs/{run}/resume"))[0] == 409
        assert ended(again, again.post(f"runs/{run}/undo"))["state"] == "done"
        assert set(pusher.tags("many")) == {*tags, "stays"}


def test_a_run_goes_on_without_its_server_and_the_next_one_shows_it(
    program: Program, killed: Serving, pusher: Pusher
) -> None:
    serving = killed
    sum_ = made(serving, "shop/web:1.0", "shop/api:1.0")["summary"]["sum"]
    assert serving.post(f"plans/{sum_}/approve").status == 200
    assert serving.post(f"plans/{sum_}/apply").status == 202
    until(lambda: children(serving))
    assert serving.end(signal.SIGKILL) == -signal.SIGKILL
    with Serving(program, ("--refresh-every", "0")) as again:
        until(lambda: detail(again, sum_)["summary"]["state"] == "done")
        assert why(again.post(f"plans/{sum_}/apply"))[0] == 409
    assert "1.0" not in {*pusher.tags("shop/web"), *pusher.tags("shop/api")}


def test_holds_are_made_and_ended_and_a_plan_keeps_what_is_held(serving: Serving, pusher: Pusher) -> None:
    wanted = {"image": "shop/web:1.0", "days": 30, "because": "--yes\nfor the auditors"}
    assert ended(serving, serving.post("holds", wanted))["state"] == "done"
    (hold,) = serving.get("holds").json["holds"]
    assert (hold["image"], hold["by"].partition("@")[0]) == ("shop/web:1.0", serving.get("session").json["user"])
    assert "for the auditors" in hold["because"]
    plan = made(serving, "shop/web:1.0", "shop/web:1.1")
    assert plan["summary"]["tags"] == 1
    assert ended(serving, serving.post("holds/end", {"image": "shop/web:1.0"}))["state"] == "done"
    assert serving.get("holds").json["holds"] == []
    assert made(serving, "shop/web:1.0", "shop/web:1.1")["summary"]["tags"] == 2
    assert "1.0" in pusher.tags("shop/web")


def has_begun(program: Program) -> bool:
    """Whether a run of the program has begun to delete."""
    for run in program.runs:
        with suppress(OSError):
            if b'"type":"intent"' in (run / "journal.jsonl").read_bytes():
                return True
    return False


def children(serving: Serving) -> list[int]:
    """The processes of the server that carry out a plan."""
    assert serving.process is not None
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == serving.process.pid and b"apply" in path.with_name("cmdline").read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found
