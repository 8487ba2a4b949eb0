"""The records of garbage collections: STATE/collections/<name>.json, and the collector's output beside it (.log).

A record is written before the collector runs, and again after it. If dregutil was killed in between, the record has no
end: what the collector took is not known until the next collection reads the storage. The collector may go on without
dregutil; it holds the lock of its output file as long as it runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from dregutil.errors import JournalError
from dregutil.files import is_locked, make_private_folder, others_link, sync_folder, write_atomically
from dregutil.inventory.shared import SharedDocuments
from dregutil.oci.names import registry_key

__all__ = ["Collected", "CollectionRecord", "Collections", "Freed", "collected_by"]

_VERSION = 1
_LONGEST = timedelta(hours=24)  # for which a collector of another machine may run
_SHARED = "collections/"  # how the names of shared records begin
_ADVICE = "name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)"


class Freed(msgspec.Struct, frozen=True):
    """How many blobs, and their bytes."""

    blobs: int
    bytes: int


class CollectionRecord(msgspec.Struct, frozen=True):
    """One garbage collection. `predicted` has a figure for each collector that it might have been. `runs` can no longer
    be undone, or not wholly; until it `ended`, those that were predicted. `freed` is None where that is not known.
    `exit_code` is that of the collector; None in an ended record if dregutil was killed, and a later collection found
    out which runs it took. `differs`: it did not free exactly what was predicted."""

    name: str
    registry: str
    started: datetime
    command: list[str]
    predicted: Mapping[str, Freed]
    runs: list[str]
    ended: datetime | None = None
    freed: Freed | None = None
    exit_code: int | None = None
    differs: bool | None = None
    version: int = _VERSION


class Collections:
    """The collections that this machine recorded, on all registries; with `shared`, those that all machines recorded on
    one registry, of which the folder gets a copy."""

    def __init__(self, state: Path, shared: SharedDocuments | None = None) -> None:
        self._folder = state / "collections"
        self._shared = shared

    def bring(self) -> None:
        """Copy what other machines recorded. Raises JournalError if the store cannot be asked."""
        if self._shared is None:
            return
        for name in self._shared.names(_SHARED):
            path = self._folder / f"{name.removeprefix(_SHARED)}.json"
            with suppress(OSError, ValueError, msgspec.MsgspecError):
                if _decoded(path.read_bytes()).ended is not None:
                    continue
            raw = self._shared.document(name).read()
            with suppress(OSError):
                make_private_folder(self._folder)
                if raw:
                    write_atomically(path, [raw], durable=False)
                else:
                    path.unlink(missing_ok=True)  # it did not begin

    def new_name(self, now: datetime) -> str:
        return f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond // 1000:03d}{secrets.token_hex(1)}"  # sorts by time

    def output(self, name: str) -> Path:
        """The file of a collector's output."""
        return self._folder / f"{name}.log"

    def write(self, record: CollectionRecord) -> None:
        """Write a record, or replace it. Raises JournalError."""
        try:
            link = others_link(self._folder.parent)
            if link is not None:
                raise JournalError(f"{link} is a link of another user, so nothing is recorded there", advice=_ADVICE)
            make_private_folder(self._folder)
            raw = msgspec.json.encode(record)
            if self._shared is not None:
                self._shared.document(f"{_SHARED}{record.name}").write(raw)
            write_atomically(self._folder / f"{record.name}.json", [raw])
            sync_folder(self._folder)
        except OSError as error:
            why = error.strerror or error
            raise JournalError(f"collections cannot be recorded in {self._folder}: {why}", advice=_ADVICE) from error

    def running(self, registry: str) -> CollectionRecord | None:
        """The collection of a registry that did not end and whose collector still runs, as far as records can be read.
        Raises JournalError."""
        try:
            unended = (record for record in self.read(registry)[0] if record.ended is None)
            return next((record for record in unended if is_locked(self.output(record.name))), None)
        except OSError as error:
            why = error.strerror or error
            raise JournalError(f"it is not known whether a collector runs: {self._folder}: {why}") from error

    def running_elsewhere(self, registry: str, now: datetime) -> CollectionRecord | None:
        """A collection of another machine that began in the last 24 hours and did not end, of a registry: it is not
        known here whether its collector still runs. Raises JournalError."""
        if self._shared is None:
            return None
        unended = (record for record in self.read(registry)[0] if record.ended is None)
        return next(
            (one for one in unended if now - one.started < _LONGEST and not self.output(one.name).exists()), None
        )

    def discard(self, name: str) -> None:
        """Remove the record of a collection that did not begin."""
        if self._shared is not None:
            with suppress(JournalError):
                self._shared.document(f"{_SHARED}{name}").write(b"")
        for path in (self._folder / f"{name}.json", self.output(name)):
            with suppress(OSError):
                path.unlink()

    def read(self, registry: str | None = None) -> tuple[list[CollectionRecord], list[str]]:
        """The collections, oldest first, and what of them cannot be read. `registry`: only those on one, by its
        identity. Raises JournalError if a store cannot be asked."""
        self.bring()
        found: list[CollectionRecord] = []
        unread: list[str] = []
        key = None if registry is None else registry_key(registry)
        try:
            paths = sorted(self._folder.glob("*.json"))
        except OSError as error:
            return [], [f"{self._folder} cannot be read: {error.strerror or error}"]
        for path in paths:
            try:
                record = _decoded(path.read_bytes())
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                unread.append(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")
                continue
            if key is None or registry_key(record.registry) == key:
                found.append(record)
        return found, unread


def _decoded(raw: bytes) -> CollectionRecord:
    """Raises ValueError for what is not a record, or is of another version."""
    version = msgspec.json.decode(raw, type=_Version).version
    if version != _VERSION:
        raise ValueError(f"it is of version {version}, this program reads {_VERSION}")
    return msgspec.json.decode(raw, type=CollectionRecord)


class _Version(msgspec.Struct):
    version: int


class Collected(msgspec.Struct, frozen=True):
    """When the first collection began that took some of what a run removed; `maybe`, if it did not end, and none that
    ended took something of that run."""

    since: datetime
    maybe: bool = False


def collected_by(records: Iterable[CollectionRecord]) -> Mapping[str, Collected]:
    """What collections took of runs, by the run's name."""
    found: dict[str, Collected] = {}
    for record in sorted(records, key=lambda record: (record.ended is None, record.started)):
        for run in record.runs:
            found.setdefault(run, Collected(record.started, record.ended is None))
    return found
