"""What happened to a tag, a digest or a layer: one list of events, from what records say. Pure.

A crawl sees a registry at one moment: what came between two of them came between `when` and `until`. What no record
says is not an event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dregutil.inventory.tag_history import Missing, Sighting
from dregutil.journal.collections import Collected
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import put_back_by, removed_by, without
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent
from dregutil.pulls.pull import Pull, SourceKind
from dregutil.retention.holds import Hold
from dregutil.serve.model import EventKind

__all__ = [
    "Event",
    "Meant",
    "Undoable",
    "collected_event",
    "gone_event",
    "held_event",
    "moved_event",
    "pulled_event",
    "run_events",
    "seen_events",
    "sorted_events",
    "untagged_event",
]

_ORDER = ("seen", "moved", "pulled", "held", "removed", "gone", "undone", "collected")
_SOURCES = {
    SourceKind.EVENTS: "the registry's notifications",
    SourceKind.LOG: "an access log",
    SourceKind.SERVER: "the registry's service",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event. It was at `when`, or at some moment between `when` and `until`; a hold is from `when` until `until`.
    `image` is `repository:tag` or `repository@digest`; `by` is who did it."""

    when: datetime
    what: EventKind
    text: str
    until: datetime | None = None
    image: str | None = None
    digest: Digest | None = None
    run: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Meant:
    """What is asked about: a tag of a repository; or a digest, with all its tags; or, with `part`, what is in an
    image."""

    repository: Repository | None = None
    tag: Tag | None = None
    digest: Digest | None = None
    part: Digest | None = None

    def tags_of(self, repository: Repository, intent: Intent) -> tuple[Tag, ...] | None:
        """The tags of a removal that are meant; None if it is not of what is asked about."""
        if self.tag is not None:
            return (self.tag,) if repository == self.repository and self.tag in intent.tags else None
        manifest = intent.manifest
        if self.part is not None:
            below = (one.digest for one in (*manifest.blobs, *manifest.children))
            return intent.tags if self.part in below else None
        is_there = self.repository in (None, repository)
        return intent.tags if is_there and manifest.digest == self.digest else None


@dataclass(frozen=True, slots=True)
class Undoable:
    """What a run removed and no undo has put back."""

    run: str
    image: str


def seen_events(repository: Repository, tag: Tag, digest: Digest, sighting: Sighting) -> Iterator[Event]:
    """Since when crawls know a tag on its digest."""
    image, since, unseen = f"{repository}:{tag}", sighting.known_since, sighting.unseen
    if sighting.former is not None:
        known, seen, before = sighting.former
        text = "it was on this digest before it was missing for a while"
        yield Event(before or seen or known, "seen", text, seen if before else None, image, digest)
    if not sighting.came:
        yield Event(since, "seen", "it was there when the records of crawls began", None, image, digest)
    elif unseen is None:
        yield Event(since, "seen", "a crawl found it on this digest; the one before is not known", None, image, digest)
    elif unseen == since:
        yield Event(since, "seen", "a crawl found it on an image that was known before", None, image, digest)
    else:
        text = "it came to this digest between two crawls"
        yield Event(unseen, "seen", text, since, image, digest)


def moved_event(
    repository: Repository, tag: Tag, digest: Digest, recorded: datetime | None, read: datetime | None
) -> Event | None:
    """A tag that was read on another digest than the last recorded crawl found it on."""
    if read is None:
        return None
    when, until = (read, None) if recorded is None or recorded > read else (recorded, read)
    return Event(
        when, "moved", "it came to this digest after the last recorded crawl", until, f"{repository}:{tag}", digest
    )


def gone_event(repository: Repository, tag: Tag, missing: Missing) -> Event:
    """A tag that crawls no longer find."""
    text = "a crawl no longer found it"
    return Event(missing.since, "gone", text, None, f"{repository}:{tag}", missing.digest)


def untagged_event(repository: Repository, digest: Digest, since: datetime) -> Event:
    """A digest that has no tag in a repository any more."""
    text = f"a crawl found no tag on it any more in {repository}"
    return Event(since, "gone", text, None, f"{repository}@{digest}", digest)


def pulled_event(pull: Pull) -> Event:
    """The last pull that is recorded."""
    is_digest = isinstance(pull.reference, Digest)
    image = f"{pull.repository}{'@' if is_digest else ':'}{pull.reference}"
    text = f"the last pull that is recorded, by {_SOURCES[pull.source]}"
    digest = pull.reference if isinstance(pull.reference, Digest) else None
    return Event(pull.at, "pulled", text, None, image, digest, by=pull.agent or None)


def held_event(hold: Hold) -> Event:
    """A hold, which has not ended."""
    text = hold.text
    return Event(hold.since, "held", text, hold.until, hold.image, hold.digest, hold.run or None, hold.by or None)


def collected_event(run: str, found: Collected) -> Event:
    """A garbage collection that took what a run had removed, or some of it."""
    if found.maybe:
        text = "a garbage collection began, and may have taken what this run removed: its end is not recorded"
    else:
        text = "a garbage collection took what this run removed, or some of it"
    return Event(found.since, "collected", text, run=run)


def run_events(record: RunRecord, undos: Sequence[RunRecord], meant: Meant) -> tuple[list[Event], list[Undoable]]:
    """What a removal and its undos did to what is meant; and what of it can still be put back, as records say."""
    removed = removed_by(record)
    left = removed
    found: list[Event] = []
    reasons = {(step.repository, step.digest): step.because for step in record.plan.steps}
    for repository, intents in removed.items():
        for intent in intents:
            tags = meant.tags_of(repository, intent)
            if tags is not None:
                digest = intent.manifest.digest
                because = reasons.get((repository, digest), "")
                text = f"removed{f', because {because}' if because else ''}"
                event = Event(record.started, "removed", text, record.finished, None, digest, record.run, _by(record))
                found += _of_tags(event, repository, digest, tags)
    for undo in undos:
        back = put_back_by(undo, removed)
        left = without(left, back)
        found += _undone(undo, removed, back, meant)
    return found, [*_undoable(record.run, left, meant)]


def _undone(
    undo: RunRecord,
    removed: Mapping[Repository, Sequence[Intent]],
    back: Mapping[tuple[Repository, Digest], Collection[Tag]],
    meant: Meant,
) -> Iterator[Event]:
    for repository, intents in removed.items():
        for intent in intents:
            digest = intent.manifest.digest
            tags, put = meant.tags_of(repository, intent), back.get((repository, digest))
            if tags is None or put is None or (meant.tag is not None and meant.tag not in put):
                continue
            text = f"put back by an undo of {undo.undoes}"
            event = Event(undo.started, "undone", text, undo.finished, None, digest, undo.run, _by(undo))
            yield from _of_tags(event, repository, digest, [tag for tag in tags if tag in put])


def _of_tags(event: Event, repository: Repository, digest: Digest, tags: Collection[Tag]) -> Iterator[Event]:
    if not tags:
        yield replace(event, image=f"{repository}@{digest}")
    for tag in tags:
        yield replace(event, image=f"{repository}:{tag}")


def _undoable(run: str, left: Mapping[Repository, Sequence[Intent]], meant: Meant) -> Iterator[Undoable]:
    for repository, intents in left.items():
        for intent in intents:
            tags = meant.tags_of(repository, intent)
            if tags is not None:
                for tag in tags:
                    yield Undoable(run, f"{repository}:{tag}")
                if not tags:
                    yield Undoable(run, f"{repository}@{intent.manifest.digest}")


def _by(record: RunRecord) -> str | None:
    return f"{record.user}@{record.host}" if record.user and record.host else record.user or None


def sorted_events(events: Iterable[Event]) -> list[Event]:
    """In the order of time, each once; what was in the same second in the order in which it can have happened: crawls
    are recorded in whole seconds."""
    return sorted(
        dict.fromkeys(events),
        key=lambda one: (
            one.when.replace(microsecond=0),
            _ORDER.index(one.what),
            one.when,
            one.image or "",
            one.digest or "",
        ),
    )
