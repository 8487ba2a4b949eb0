"""Reads what records of this machine say about a tag, a digest or a layer."""

from __future__ import annotations

import mmap
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from dregutil.errors import DregutilError, JournalError
from dregutil.inventory.shared import SharedRecords
from dregutil.inventory.tag_history import TagHistory
from dregutil.journal.collections import Collected, Collections, collected_by
from dregutil.journal.history import RunHistory
from dregutil.journal.holds import RegistryHolds
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.record import RunHeader, RunRecord
from dregutil.journal.removed import collected_runs
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.evidence import last_pull
from dregutil.pulls.store import PullStore
from dregutil.retention.holds import Hold, Holds
from dregutil.serve.where.events import (
    Event,
    Meant,
    Undoable,
    collected_event,
    gone_event,
    held_event,
    moved_event,
    pulled_event,
    run_events,
    seen_events,
    untagged_event,
)

__all__ = ["Asked", "Place", "Recorded", "Records", "decoded", "encoded"]

_MOST_RUNS = 200  # whose records are looked at, the newest
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Place:
    """A tag that is there; `below` are the children of its digest."""

    repository: Repository
    tag: Tag
    digest: Digest
    below: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What is `meant`. `places` are tags that lead to it now, as they were `read`."""

    meant: Meant
    places: tuple[Place, ...] = ()
    read: datetime | None = None


@dataclass(slots=True)
class Recorded:
    """What was found. `notes` say what is not known; `undoable` has the newest run first."""

    events: list[Event] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    undoable: list[Undoable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Records:
    """The records of one registry. What cannot be read is a note, not an error."""

    def __init__(
        self, state: Path, registry: str, runs: RunStore | None = None, shared: SharedRecords | None = None
    ) -> None:
        """`state` is the state folder, or the mirror of a shared store, whose `runs` these are, and which has `shared`
        besides. `registry` is the registry's identity."""
        store = RunStore(state) if runs is None else runs
        self._tags = TagHistory(state, registry, shared)
        self._runs = RunHistory(store, registry)
        self._pulls = PullStore(state, registry, shared=shared)
        self._holds = RegistryHolds(store, registry, None if shared is None else shared.document("holds"))
        self._collections = Collections(state, shared)
        self._registry = registry

    def bytes_to_read(self, meant: Meant) -> int:
        """The size of the records of runs that name what is meant: in memory they take several times as much."""
        try:
            headers = self._runs.headers()
        except JournalError:
            return 0
        named = {header.run for header in headers if not header.undoes and _may_name(header, meant)}
        return sum(_size(header) for header in headers if header.run in named or header.undoes in named)

    def of(self, asked: Asked) -> Recorded:
        """What happened to what is meant."""
        meant, places, read = asked.meant, asked.places, asked.read
        found = Recorded()
        for name, add in (
            ("the records of crawls", self._add_seen),
            ("the records of pulls", self._add_pulls),
            ("the holds", self._add_holds),
        ):
            try:
                add(found, meant, places, read)
            except JournalError as error:
                found.notes.append(f"{name} cannot be read: {error.message}")
        try:
            self._add_runs(found, meant)
        except JournalError as error:
            found.notes.append(f"the records of runs cannot be read: {error.message}")
        return found

    def _add_seen(self, found: Recorded, meant: Meant, places: Sequence[Place], read: datetime | None) -> None:
        if not self._tags.has_begun():
            found.notes.append("no crawl of the whole registry was recorded: when tags came is not known")
            return
        last = self._tags.last_crawl()
        for repository, here in _by_repository(places).items():
            seen = self._tags.of(repository, {one.tag: one.digest for one in here})
            named = self._tags.named(repository)
            for one in here if meant.part is None else ():
                if one.tag in seen:
                    found.events += seen_events(repository, one.tag, one.digest, seen[one.tag])
                elif one.tag in named or last is not None:
                    moved = moved_event(repository, one.tag, one.digest, last, read)
                    found.events += [] if moved is None else [moved]
            if meant.digest is not None:
                lost = self._tags.untagged(repository).get(meant.digest)
                found.events += [] if lost is None else [untagged_event(repository, meant.digest, lost)]
        if meant.repository is not None:
            self._add_missing(found, meant, meant.repository)
        lost_since = self._tags.lost_since()
        if lost_since is not None:
            found.notes.append(f"earlier records of crawls were lost: these begin on {lost_since:%Y-%m-%d %H:%M} UTC")

    def _add_missing(self, found: Recorded, meant: Meant, repository: Repository) -> None:
        missing = self._tags.missing(repository)
        for tag, one in missing.items():
            if tag == meant.tag or (meant.tag is None and one.digest == meant.digest):
                found.events.append(gone_event(repository, tag, one))
        if meant.digest is not None:
            lost = self._tags.untagged(repository).get(meant.digest)
            found.events += [] if lost is None else [untagged_event(repository, meant.digest, lost)]

    def _add_pulls(self, found: Recorded, meant: Meant, places: Sequence[Place], _: datetime | None) -> None:
        if not self._pulls.sources():
            found.notes.append("no pulls are recorded")
            return
        if meant.part is not None:
            return
        for repository, here in _by_repository(places).items():
            pulls = self._pulls.pulls(repository)
            for one in here:
                pull = last_pull(pulls, one.tag, one.digest, one.below)
                found.events += [] if pull is None else [pulled_event(pull)]
        if meant.digest is not None and meant.repository is not None:
            pull = last_pull(self._pulls.pulls(meant.repository), None, meant.digest)
            found.events += [] if pull is None else [pulled_event(pull)]

    def _add_holds(self, found: Recorded, meant: Meant, places: Sequence[Place], _: datetime | None) -> None:
        holds: Holds = self._holds.now(datetime.now(UTC))
        on = [holds.on(one.repository, one.tag, one.digest) for one in places if meant.part is None]
        named = [hold for hold in holds.all if _is_meant(hold, meant)]
        found.holds = [*dict.fromkeys(hold for hold in (*named, *on) if hold is not None)]
        found.events += map(held_event, found.holds)

    def _add_runs(self, found: Recorded, meant: Meant) -> None:
        headers = [header for header in self._runs.headers() if not header.is_damaged]
        removals = [header for header in headers if not header.undoes]
        if len(removals) > _MOST_RUNS:
            found.notes.append(f"of {len(removals):,} runs the newest {_MOST_RUNS} were looked at")
        undos = defaultdict[str, list[RunHeader]](list)
        for header in headers:
            undos[header.undoes].append(header)
        collected, unread = self._collections.read(self._registry)
        taken = dict(collected_by(collected))
        found.notes += unread
        for header in reversed(removals[-_MOST_RUNS:]):
            if _may_name(header, meant):
                record = self._read(header, found)
                if record is not None:
                    self._add_run(found, meant, record, [*self._undos(undos[header.run], found)], taken)

    def _add_run(
        self, found: Recorded, meant: Meant, record: RunRecord, undos: list[RunRecord], taken: dict[str, Collected]
    ) -> None:
        events, undoable = run_events(record, undos, meant)
        if not events:
            return
        if record.damaged or record.missing_steps:
            found.notes.append(f"the record of {record.run} is damaged: some of it is not shown")
        found.events += events
        since = collected_runs(undos).get(record.run)
        gone = taken.get(record.run) or (None if since is None else Collected(since))
        if gone is not None:
            found.events.append(collected_event(record.run, gone))
        if gone is None or gone.maybe:
            found.undoable += undoable

    def _undos(self, headers: Iterable[RunHeader], found: Recorded) -> Iterator[RunRecord]:
        for header in headers:
            record = self._read(header, found)
            if record is not None:
                yield record

    def _read(self, header: RunHeader, found: Recorded) -> RunRecord | None:
        try:
            return self._runs.store.get(header.run)
        except DregutilError as error:
            found.notes.append(error.message)
            return None


def _by_repository(places: Sequence[Place]) -> dict[Repository, list[Place]]:
    found = defaultdict[Repository, list[Place]](list)
    for one in places:
        found[one.repository].append(one)
    return found


def _is_meant(hold: Hold, meant: Meant) -> bool:
    if meant.tag is not None:
        return hold.repository == meant.repository and (hold.tag == meant.tag or meant.tag in hold.tags)
    return meant.digest is not None and (hold.digest == meant.digest or meant.digest in hold.company)


def encoded(value: Asked | Recorded) -> bytes:
    """As JSON, for another process."""
    return msgspec.json.encode(value, enc_hook=str)  # names are subclasses of str


def decoded(raw: bytes, kind: type[_Value]) -> _Value:
    """The reverse of `encoded`. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(raw, type=kind, dec_hook=lambda kind, text: kind(text))


def _size(header: RunHeader) -> int:
    try:
        return (header.folder / FILE_NAME).stat().st_size
    except OSError:
        return 0


def _may_name(header: RunHeader, meant: Meant) -> bool:
    """Whether the record of a run has the name that is asked for: most have not, and need not be read. What is in an
    image is not written out in it."""
    if meant.part is not None:
        return True
    wanted = (meant.digest or meant.tag or "").encode()
    with suppress(OSError, ValueError), (header.folder / FILE_NAME).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).find(wanted) >= 0
    return True
