"""The records of garbage collections: STATE/collections/<name>.json, and the collector's output beside it (.log).

A record is written before the collector runs, and again after it: one that did not end says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dregutil.errors import JournalError
from dregutil.files import make_private_folder, others_link, sync_folder, write_atomically
from dregutil.oci.names import registry_key

__all__ = ["CollectionRecord", "Collections", "Freed", "collected_by"]

_VERSION = 1
_ADVICE = "name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)"


class Freed(msgspec.Struct, frozen=True):
    """How many blobs, and their bytes."""

    blobs: int
    bytes: int


class CollectionRecord(msgspec.Struct, frozen=True):
    """One garbage collection. `predicted` has a figure for each collector that it might have been. `runs` can no longer
    be undone, or not wholly; until it `ended`, those that were predicted. `freed` is None where that is not known.
    `exit_code` is that of the collector. `differs`: it did not free exactly what was predicted."""

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
    """The collections that this machine recorded, on all registries."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "collections"

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
            write_atomically(self._folder / f"{record.name}.json", [msgspec.json.encode(record)])
            sync_folder(self._folder)
        except OSError as error:
            why = error.strerror or error
            raise JournalError(f"collections cannot be recorded in {self._folder}: {why}", advice=_ADVICE) from error

    def discard(self, name: str) -> None:
        """Remove the record of a collection that did not begin."""
        for path in (self._folder / f"{name}.json", self.output(name)):
            with suppress(OSError):
                path.unlink()

    def read(self, registry: str | None = None) -> tuple[list[CollectionRecord], list[str]]:
        """The collections, oldest first, and what of them cannot be read. `registry`: only those on one, by its
        identity."""
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


def collected_by(records: Sequence[CollectionRecord]) -> Mapping[str, datetime]:
    """When the first collection began that took what a run removed, by the run's name."""
    found: dict[str, datetime] = {}
    for record in records:
        for run in record.runs:
            started = record.started.astimezone(UTC)
            found[run] = min(started, found.get(run, started))
    return found
