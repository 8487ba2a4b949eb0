"""What a session returned → the parts of a report: the week with its one alarm, health, a plan and what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.errors import DregutilError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.inventory.health.storage import Finding, Flaw
from dregutil.inventory.tags import Inventory
from dregutil.journal.measures import Measure, Measures, earlier
from dregutil.journal.record import RunHeader, RunRecord, Settled
from dregutil.oci.manifest import OCI_MANIFEST, Kind, Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pages.health import Checked, findings
from dregutil.pages.limits import Limits
from dregutil.pages.make import Found, report_of
from dregutil.pages.plan import PlanFound, plan_part
from dregutil.pages.week import ListSeen, alarm
from dregutil.plan.model import Action, Kept, Plan, PolicySource, Step, StepKind
from dregutil.plan.outcome import Intent, Result
from dregutil.session.results import Overview

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
WEB, API = Repository("shop/web"), Repository("shop/api")


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def step(number: int, tag: str, *, frees: int = 10, name: Repository = WEB, because: str = "p: beyond last: 3") -> Step:
    return Step(number, Action.DELETE, name, digest(tag), (Tag(tag),), StepKind.IMAGE, because, frees=frees)


def plan(*steps: Step, kept: Sequence[Kept] = ()) -> Plan:
    source = PolicySource("/policy.yml", (("used.txt", 60.0),))
    return Plan("registry.example.com", NOW, "cleanup", steps, tuple(kept), policy=source)


def record(*steps: Step, failed: int = 0) -> RunRecord:
    outcomes = {one.number: Settled(Result.FAILED if one.number <= failed else Result.REMOVED) for one in steps}
    began = NOW - timedelta(days=1)
    return RunRecord("20261125T120000Z-1", Path("/x"), plan(*steps), began, outcomes=outcomes, finished=NOW)


def overview(**changes: object) -> Overview:
    with ContentDatabase.private() as database:
        space = DiskUsage(database, []).space()
    made = Overview(NOW, CrawlResult(Inventory({WEB: {Tag("1"): digest("1")}}), age=60.0), space, is_complete=True)
    return replace(made, **changes)  # type: ignore[arg-type]


def interrupted() -> tuple[tuple[RunHeader, str], ...]:
    header = RunHeader("20261125T120000Z-1", Path("/x"), "registry.example.com", NOW, "", is_unfinished=True)
    return ((header, f"apply --resume {header.run}"),)


def first(found: Overview, *, broken: int = 0, refused: str = "", lists: Sequence[ListSeen] = ()) -> str | None:
    made = alarm(found, broken, refused, lists, "dregutil {}".format)
    return None if made is None else f"{made.what} {made.command or ''}".strip()


def test_one_alarm_at_most_the_worst() -> None:
    old = [ListSeen("used.txt", 3 * 86400.0)]
    bad = overview(
        interrupted=interrupted(),
        last=record(step(1, "1"), failed=1),
        source=CrawlResult(Inventory(), failed={API: DregutilError("500")}),
    )
    assert first(bad, broken=2, refused="too much", lists=old) == (
        "The run 20261125T120000Z-1 did not end. dregutil apply --resume 20261125T120000Z-1"
    )
    bad = replace(bad, interrupted=())
    assert first(bad, broken=2, refused="x", lists=old) == "2 images cannot be pulled whole. dregutil doctor"
    assert first(bad, refused="too much", lists=old) == "A cleanup would be refused: too much"
    assert first(bad, lists=old) == "The list used.txt is 3 days old: make it again."
    assert first(bad) == "1 step of the last run failed. dregutil history 20261125T120000Z-1"
    bad = replace(bad, last=None)
    assert first(bad) == "The registry could not be read completely. dregutil doctor"
    assert first(overview()) is None


@pytest.mark.parametrize(
    ("age", "most", "is_stale"), [(86400, None, False), (86401, None, True), (86401, 2 * 86400, False), (61, 60, True)]
)
def test_a_list_is_out_of_date_after_its_max_age_or_a_day(age: float, most: float | None, *, is_stale: bool) -> None:
    found = first(overview(), lists=[ListSeen("used.txt", age, most)])
    assert (found is not None) == is_stale


def test_what_is_broken_comes_first_and_an_orphaned_signature_breaks_nothing() -> None:
    checked = Checked(
        "registry",
        (
            Finding(Flaw.ORPHANED_SIGNATURE, WEB, "sha256-0.sig: 0 is not there"),
            Finding(Flaw.MISSING_CHILD, WEB, "1.0 lacks a child"),
            Finding(Flaw.LEFT_BEHIND, WEB, "2.0"),
        ),
    )
    found = overview(left_behind=((WEB, Tag("2.0"), "20261125T120000Z-1"), (WEB, Tag("3.0"), "")))
    rows = findings(found, checked, "dregutil {}".format)
    assert [(one.check, one.broken, one.command) for one in rows] == [
        ("interrupted run", True, "dregutil apply --resume 20261125T120000Z-1"),
        ("interrupted run", True, "dregutil history"),
        ("missing child", True, "dregutil doctor"),
        ("orphaned signature", False, "dregutil doctor"),
    ]


def test_what_could_not_be_read_is_a_finding() -> None:
    failed = CrawlResult(Inventory({WEB: {Tag("1"): digest("1")}}), failed={API: DregutilError("500")})
    unreadable = {digest("1"): DregutilError("gone"), digest("2"): DregutilError("gone")}
    rows = findings(overview(source=failed, unreadable=unreadable), None, "dregutil {}".format)
    assert findings(overview(source=failed), Checked("registry", ()), str) == []  # the check says it
    assert {one.found for one in rows} == {
        "shop/api: 500",
        f"shop/web@{digest('1').short}: gone",
        f"{digest('2').short}: gone",
    }


def test_a_row_for_each_reason_by_policy_and_repository() -> None:
    made = plan(
        step(1, "1", frees=5),
        step(2, "2", frees=50),
        step(3, "3", because="p: older than 90d"),
        step(4, "4", name=API, because="q: beyond last: 3", frees=100),
        Step(5, Action.DELETE, API, digest("child"), (), StepKind.CHILD, "child", needs=(4,), frees=7),
        kept=[Kept(WEB, digest("5"), (Tag("5"),), "also 'latest'")],
    )
    found = plan_part(PlanFound("policy.yml", is_file=False, plan=made), Limits(images=2))
    assert [(group.policy, group.repository, group.removed, group.frees) for group in found.groups] == [
        ("q", "shop/api", 1, 107),
        ("p", "shop/web", 3, 65),
        (None, "shop/web", 0, 0),
    ]
    (row,) = found.groups[0].rows
    assert [(image.tags, image.frees, image.along) for image in row.images] == [(["4"], 107, 1)]
    rows = [(row.action, row.because, row.tags, row.frees, row.more) for row in found.groups[1].rows]
    assert rows == [("REMOVE", "beyond last: 3", 2, 55, 1), ("REMOVE", "older than 90d", 1, 10, 1)]
    assert found.groups[2].rows[0].because == "shared with tags that stay"
    assert plan_part(PlanFound("x", is_file=True, plan=made), Limits(groups=1)).groups_left_out == 2


def test_the_reason_of_a_plan_without_policies_is_whole() -> None:
    made = replace(plan(step(1, "1", because="refers to sha256:0: a signature")), policy=None)
    found = plan_part(PlanFound("plan.jsonl", is_file=True, plan=made), Limits())
    assert (found.groups[0].policy, found.groups[0].rows[0].because) == (None, "refers to sha256:0: a signature")


def test_what_was_planned_and_never_removed_is_compared() -> None:
    old = record(step(1, "1"), step(2, "2"), step(3, "3"))
    left = {WEB: [Intent(1, WEB, (Tag("1"),), Manifest(digest("1"), OCI_MANIFEST, b"{}", Kind.IMAGE))]}
    new = plan(step(1, "3"), step(2, "4", frees=1), step(3, "5", frees=99))
    found = plan_part(
        PlanFound("x", is_file=True, plan=new, compared=old, compared_left=left), Limits(changes=2)
    ).changes
    assert found is not None
    assert (found.new, found.moved, found.no_longer, found.left_out) == (2, 0, 1, 1)
    assert [(one.change, one.tag) for one in found.rows] == [("new to go", "5"), ("new to go", "4")]


def test_no_plan_says_why() -> None:
    found = plan_part(PlanFound("policy.yml", is_file=False, refused="the list is too old"), Limits())
    assert (found.kind, found.refused, found.sum, found.groups) == ("policy", "the list is too old", None, [])


def test_growth_is_since_the_newest_measure_of_that_time(tmp_path: Path) -> None:
    measures = Measures(tmp_path, "registry.example.com")
    assert earlier(measures.read(), NOW) is None
    for days in (30, 8, 3):
        measures.add(Measure(NOW - timedelta(days=days), 100 - days, days))
    measures.add(Measure(NOW - timedelta(days=3, minutes=-30), 1, 1))  # too soon after the one before
    assert [one.tags for one in measures.read()] == [30, 8, 3]
    assert earlier(measures.read(), NOW - timedelta(days=7)) == Measure(NOW - timedelta(days=8), 92, 8)
    assert earlier(measures.read(), NOW - timedelta(days=90)) == Measure(NOW - timedelta(days=30), 70, 30)
    measures.path.write_text("{")
    assert measures.read() == []
    measures.add(Measure(NOW, 5, 5))
    assert measures.read() == [Measure(NOW, 5, 5)]


def test_long_commands_stay_whole_and_hostile_ones_become_text() -> None:
    folder = "/srv/" + "x" * 400 + "\u202e\udcff"
    with ContentDatabase.private() as database:
        space = DiskUsage(database, []).space()
        made = Found(
            program="dregutil 3.0.0",
            registry="registry.example.com",
            command=f"dregutil report --state-dir {folder}",
            overview=overview(space=space, interrupted=interrupted(), unasked=DregutilError("no \x1b[31m route")),
            advised=lambda command: f"dregutil {command} --state-dir {folder}",
        )
        found = report_of(made, Limits())
    assert found.command.endswith("xxx\\u202e\\xff")
    assert found.week.alarm is not None
    assert (
        found.week.alarm.command
        == f"dregutil apply --resume 20261125T120000Z-1 --state-dir {'/srv/' + 'x' * 400}\\u202e\\xff"
    )
    assert found.notes == ["What only the referrers API lists is not counted: no \\x1b[31m route"]
    assert found.read == NOW - timedelta(seconds=60)
