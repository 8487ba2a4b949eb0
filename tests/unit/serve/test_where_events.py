"""What happened to an image, from what records say: only that, in the order of time, with what is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.errors import JournalError
from dregutil.inventory.tag_history import Missing, Sighting, TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.collections import Collected
from dregutil.journal.record import RunRecord, Settled
from dregutil.oci.manifest import parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.plan.outcome import Intent, Result
from dregutil.pulls.pull import Pull, SourceKind
from dregutil.retention.holds import Hold
from dregutil.serve.where import events
from dregutil.serve.where.events import Event, Meant, run_events, sorted_events
from dregutil.serve.where.records import Asked, Place, Recorded, Records, decoded, encoded

WEB, API = Repository("shop/web"), Repository("shop/api")
ONE, TWO = Tag("1.0"), Tag("2.0")
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LAYER = Digest.of(b"layer")
RAW = b'{"schemaVersion": 2, "layers": [{"mediaType": "a", "digest": "%s", "size": 5}]}' % LAYER.encode()
MANIFEST = parse_manifest(RAW, "application/vnd.oci.image.manifest.v1+json", Digest.of(RAW))
IMAGE = MANIFEST.digest


def run(*tags: Tag, result: Result = Result.REMOVED, name: str = "run") -> RunRecord:
    step = Step(1, Action.DELETE, WEB, IMAGE, tags, StepKind.IMAGE, "old: beyond last: 3")
    plan = Plan("registry.example.com", NOON, "cleanup", (step,))
    intents = (Intent(1, WEB, tags, MANIFEST),)
    outcomes = {1: Settled(result)}
    finished = NOON + HOUR
    return RunRecord(name, Path(), plan, NOON, "", intents, outcomes, finished=finished, user="ann", host="box")


def undo(*tags: Tag, of: str = "run", why: str = "") -> RunRecord:
    started = NOON + 2 * HOUR
    back = ((WEB, IMAGE, tags, why),)
    plan = Plan("registry.example.com", started, "undo", ())
    return RunRecord("undo", Path(), plan, started, of, restored=back, finished=None, user="sue")


def told(found: list[Event]) -> list[tuple[str, str | None, str | None]]:
    return [(one.what, one.image, one.by) for one in found]


def test_a_tag_came_between_two_crawls() -> None:
    (event,) = events.seen_events(WEB, ONE, IMAGE, Sighting(NOON, came=True, unseen=NOON - HOUR))
    assert (event.what, event.when, event.until, event.image) == ("seen", NOON - HOUR, NOON, "shop/web:1.0")


@pytest.mark.parametrize(
    ("sighting", "text"),
    [
        (Sighting(NOON, came=False), "it was there when the records of crawls began"),
        (Sighting(NOON, came=True), "a crawl found it on this digest; the one before is not known"),
        (Sighting(NOON, came=True, unseen=NOON), "a crawl found it on an image that was known before"),
    ],
)
def test_where_it_is_not_known_when_a_tag_came_no_span_is_said(sighting: Sighting, text: str) -> None:
    (event,) = events.seen_events(WEB, ONE, IMAGE, sighting)
    assert (event.when, event.until, event.text) == (NOON, None, text)


def test_a_tag_that_came_back_was_there_before() -> None:
    sighting = Sighting(
        NOON, came=True, unseen=NOON - HOUR, former=(NOON - 9 * HOUR, NOON - 9 * HOUR, NOON - 10 * HOUR)
    )
    first, then = events.seen_events(WEB, ONE, IMAGE, sighting)
    assert (first.when, first.until) == (NOON - 10 * HOUR, NOON - 9 * HOUR)
    assert (then.when, then.until) == (NOON - HOUR, NOON)


def test_a_removal_and_its_undo_are_told_of_the_tag_that_is_meant() -> None:
    found, left = run_events(run(ONE, TWO), [undo(ONE)], Meant(WEB, ONE))
    assert told(found) == [("removed", "shop/web:1.0", "ann@box"), ("undone", "shop/web:1.0", "sue")]
    assert (found[0].text, found[0].until) == ("removed, because old: beyond last: 3", NOON + HOUR)
    assert left == []
    found, left = run_events(run(ONE, TWO), [undo(ONE)], Meant(WEB, TWO))
    assert told(found) == [("removed", "shop/web:2.0", "ann@box")]
    assert [one.image for one in left] == ["shop/web:2.0"]
    assert run_events(run(ONE), [], Meant(API, ONE)) == ([], [])


def test_a_removal_is_told_of_its_digest_and_of_what_is_in_it() -> None:
    for meant in (Meant(digest=IMAGE), Meant(part=LAYER), Meant(WEB, digest=IMAGE)):
        found, left = run_events(run(ONE, TWO), [undo(ONE, TWO)], meant)
        assert [one.what for one in found] == ["removed", "removed", "undone", "undone"]
        assert left == []
    assert run_events(run(ONE), [], Meant(digest=LAYER)) == ([], [])
    assert run_events(run(ONE), [], Meant(part=IMAGE)) == ([], [])
    (event,), (left_one,) = run_events(run(), [], Meant(digest=IMAGE))
    assert event.image == left_one.image == f"shop/web@{IMAGE}"


def test_what_was_not_removed_or_not_put_back_is_not_told() -> None:
    assert run_events(run(ONE, result=Result.GONE), [], Meant(WEB, ONE)) == ([], [])
    found, left = run_events(run(ONE), [undo(ONE, why="its layer is lost")], Meant(WEB, ONE))
    assert [one.what for one in found] == ["removed"]
    assert len(left) == 1


def test_events_are_in_the_order_of_time_each_once() -> None:
    held = Hold(WEB, NOON, ONE, by="ann", because="a release", until=NOON + HOUR)
    pull = Pull(WEB, IMAGE, NOON - HOUR, "containerd/2.1", SourceKind.EVENTS)
    removed, _ = run_events(run(ONE), [undo(ONE)], Meant(WEB, ONE))
    found = sorted_events(
        [
            *removed,
            events.collected_event("run", Collected(NOON + 3 * HOUR)),
            events.gone_event(WEB, ONE, Missing(IMAGE, NOON + HOUR)),
            events.held_event(held),
            events.held_event(held),
            events.pulled_event(pull),
        ]
    )
    assert [one.what for one in found] == ["pulled", "held", "removed", "gone", "undone", "collected"]
    assert (found[0].by, found[1].until) == ("containerd/2.1", NOON + HOUR)
    assert "may have" in events.collected_event("run", Collected(NOON, maybe=True)).text


def test_a_crawl_is_recorded_to_the_second_and_comes_after_the_removal_that_it_saw() -> None:
    whole, later = NOON.replace(microsecond=0), NOON.replace(microsecond=480_000)
    gone = events.gone_event(WEB, ONE, Missing(IMAGE, whole))
    removed = Event(later, "removed", "removed", None, f"{WEB}:{ONE}", IMAGE, "run")
    pulled = Event(NOON.replace(microsecond=900_000), "pulled", "", None, f"{WEB}:{ONE}")
    assert sorted_events([gone, removed, pulled]) == [pulled, removed, gone]
    again = replace(removed, when=NOON.replace(microsecond=100_000), run="before")
    assert sorted_events([removed, again]) == [again, removed]


def test_a_tag_that_moved_after_the_last_recorded_crawl() -> None:
    moved = events.moved_event(WEB, ONE, IMAGE, NOON, NOON + HOUR)
    assert moved is not None
    assert (moved.when, moved.until) == (NOON, NOON + HOUR)
    later = events.moved_event(WEB, ONE, IMAGE, NOON + 2 * HOUR, NOON + HOUR)
    assert later is not None
    assert (later.when, later.until) == (NOON + HOUR, None), "the clock was set back: no span is said"
    assert events.moved_event(WEB, ONE, IMAGE, NOON, None) is None


def test_records_say_what_they_do_not_have(tmp_path: Path) -> None:
    records = Records(tmp_path, "registry.example.com")
    found = records.of(Asked(Meant(WEB, ONE), (Place(WEB, ONE, IMAGE),), NOON))
    assert found.events == []
    assert found.notes == [
        "no crawl of the whole registry was recorded: when tags came is not known",
        "no pulls are recorded",
    ]


def test_crawls_that_found_a_tag_come_move_and_go(tmp_path: Path) -> None:
    history, other = TagHistory(tmp_path, "registry.example.com"), Digest.of(b"other")
    for hour, tags in enumerate(({TWO: other}, {TWO: other, ONE: IMAGE}, {TWO: other, ONE: other}, {TWO: other})):
        history.record(Inventory({WEB: tags}), now=NOON + hour * HOUR)
    records = Records(tmp_path, "registry.example.com")
    gone = records.of(Asked(Meant(WEB, ONE), (), NOON + 9 * HOUR)).events
    assert [(one.what, one.when, one.digest) for one in gone] == [("gone", NOON + 3 * HOUR, other)]
    digest = records.of(Asked(Meant(WEB, digest=IMAGE), (), NOON + 9 * HOUR)).events
    assert [(one.what, one.when) for one in digest] == [("gone", NOON + 2 * HOUR)]
    moved = records.of(Asked(Meant(WEB, TWO), (Place(WEB, TWO, IMAGE),), NOON + 9 * HOUR)).events
    assert [(one.what, one.when, one.until) for one in moved] == [("moved", NOON + 3 * HOUR, NOON + 9 * HOUR)]


def test_records_that_cannot_be_read_are_a_note(tmp_path: Path) -> None:
    history = TagHistory(tmp_path, "registry.example.com")
    history.record(Inventory({WEB: {ONE: IMAGE}}), now=NOON)
    history.path.write_bytes(b"no database, and not empty")
    with pytest.raises(JournalError):
        history.last_crawl()
    found = Records(tmp_path, "registry.example.com").of(Asked(Meant(WEB, ONE), (Place(WEB, ONE, IMAGE),), NOON))
    assert found.notes[0].startswith("the records of crawls cannot be read: ")


def test_what_is_asked_and_found_passes_to_another_process_and_back() -> None:
    place = Place(WEB, ONE, IMAGE, (LAYER,))
    for asked in (Asked(Meant(WEB, ONE), (place,), NOON), Asked(Meant(part=LAYER)), Asked(Meant(WEB, digest=IMAGE))):
        again = decoded(encoded(asked), Asked)
        assert again == asked
        assert [type(one.digest) for one in again.places] == [Digest] * len(asked.places)
    removed, left = run_events(run(ONE), [], Meant(WEB, ONE))
    hold = Hold(WEB, NOON, None, IMAGE, NOON + HOUR, run="undo", tags=(ONE,), company=(LAYER,))
    found = Recorded(removed, [hold], left, ["a note"])
    assert decoded(encoded(found), Recorded) == found
