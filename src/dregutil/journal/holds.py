"""The holds on a registry: those that people made, in a file, and those of what undos put back, from their records.

STATE/holds/<sum of the registry's key>.json   the holds, and the put-back images whose hold was ended early
STATE/holds/<sum of the registry's key>.lock   locked while that file is changed

The file is replaced as a whole, and has a checksum. What cannot be read is an error: a removal that does not know what
is held removes nothing. With a shared store the holds are there, for all machines, and the file is a copy of them.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dregutil.errors import DamagedRecordError, JournalError, NotFoundError, UsageError
from dregutil.files import (
    file_of,
    lock_file,
    make_private_folder,
    others_link,
    read_bytes,
    sync_folder,
    write_atomically,
)
from dregutil.inventory.shared import SharedDocument
from dregutil.journal.put_back import put_back_holds
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository, Tag, registry_key
from dregutil.retention.holds import HELD_FOR, Hold, Holds

__all__ = ["HoldFile", "RegistryHolds"]

_VERSION = 1
_SEEN_WITHIN = 0.25  # seconds: a run that is at work elsewhere asks for the version of the holds more often
_MOST = 256 << 20  # bytes
_MARKS = 500  # changes that are known by their marks

_log = logging.getLogger("dregutil.journal")


class _HoldEntry(msgspec.Struct, omit_defaults=True):
    repository: str
    since: datetime
    tag: str = ""
    digest: str = ""
    until: datetime | None = None
    by: str = ""
    because: str = ""


class _EndedEntry(msgspec.Struct):
    """A put-back image whose hold was ended: undos that began later hold it again."""

    repository: str
    digest: str
    when: datetime


class _File(msgspec.Struct):
    version: int
    registry: str
    holds: list[_HoldEntry] = []
    ended: list[_EndedEntry] = []
    marks: list[str] | msgspec.UnsetType = msgspec.UNSET


class _Version(msgspec.Struct):
    version: int


@dataclass(frozen=True)
class _Content:
    holds: tuple[Hold, ...] = ()
    ended: Mapping[tuple[Repository, Digest], datetime] = field(default_factory=dict)
    marks: tuple[str, ...] = ()  # of the last changes of what machines share


class HoldFile:
    """The file of the holds that people made on one registry; with `shared`, what all machines have in its place."""

    def __init__(self, state: Path, registry: str, shared: SharedDocument | None = None) -> None:
        """`registry` is its identity."""
        self.registry = registry
        self.path = file_of(state / "holds", [registry_key(registry)], ".json")
        self._shared = shared
        self._name = f"in {self.path}" if shared is None else f"of {registry} in the store"

    @property
    def stamp(self) -> object:
        """Changes with the file; None if there is none. Raises JournalError."""
        if self._shared is not None:
            return self._shared.version()
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failed("read", error) from error
        return found.st_mtime_ns, found.st_ino, found.st_size

    def read(self) -> _Content:
        """Raises DamagedRecordError if the file is damaged, JournalError if it cannot be read."""
        if self._shared is not None:
            return self._read_shared(self._shared)
        try:
            return self._decoded(read_bytes(self.path, _MOST))
        except (FileNotFoundError, NotADirectoryError):
            return _Content()
        except OSError as error:
            raise self._failed("read", error) from error

    def change(self, how: Callable[[_Content], _Content]) -> None:
        """Replace the content, while no other process does. Raises JournalError; then the old one is still there.

        When it returns, every run sees the new one before its next step.
        """
        if self._shared is not None:
            self._change_shared(self._shared, how)
            return
        link = others_link(self.path.parent)
        if link is not None:
            raise JournalError(f"holds are not kept in {self.path.parent}: {link} is a link of another user")
        try:
            make_private_folder(self.path.parent)
            with lock_file(self.path.with_suffix(".lock"), wait=True):
                write_atomically(self.path, [self._encoded(how(self.read()))])
                sync_folder(self.path.parent)
        except OSError as error:
            raise self._failed("written", error) from error

    def _change_shared(self, shared: SharedDocument, how: Callable[[_Content], _Content]) -> _Content:
        known = self._known()

        def changed(raw: bytes | None) -> bytes:
            former = self._decoded(raw)
            new = how(_with(former, _lost(known, former)))
            return self._encoded(replace(new, marks=(*former.marks, secrets.token_hex(8))[-_MARKS:]))

        raw = shared.change(changed)
        time.sleep(_SEEN_WITHIN)
        return self._copied(raw, self._decoded(raw))

    def _read_shared(self, shared: SharedDocument) -> _Content:
        """What the store has. What it no longer knows, and the copy has, is held again: without the right to write
        that, in this process alone."""
        known = self._known()  # before the store is asked: it then has all that is in the copy
        raw = shared.read()
        found = self._decoded(raw)
        lost = _lost(known, found)
        if not lost:
            return self._copied(raw, found)
        names = ", ".join(f"{one.repository}{f':{one.tag}' if one.tag else f'@{one.digest}'}" for one in lost)
        _log.warning("the store no longer knew these holds, which this machine knows: they are held again: %s", names)
        try:
            return self._change_shared(shared, lambda content: content)
        except JournalError as error:
            _log.warning("other machines do not know of them: %s", error.message)
            return _with(found, lost)

    def _known(self) -> _Content:
        """What the copy has; nothing if it cannot be read."""
        with suppress(OSError, JournalError):
            return self._decoded(read_bytes(self.path, _MOST))
        return _Content()

    def _copied(self, raw: bytes | None, found: _Content) -> _Content:
        self._copy(raw)
        return found

    def _encoded(self, content: _Content) -> bytes:
        payload = msgspec.json.encode(_file(self.registry, content))
        return b"%s %s\n" % (_sum(payload), payload)

    def _decoded(self, raw: bytes | None) -> _Content:
        if raw is None:
            return _Content()
        sum_, _, payload = raw.rstrip(b"\n").partition(b" ")
        try:
            if sum_ != _sum(payload):
                raise self._damaged()
            version = msgspec.json.decode(payload, type=_Version).version
            if version != _VERSION:
                raise JournalError(
                    f"the holds {self._name} are of version {version}, this program reads {_VERSION}",
                    advice="use the dregutil that wrote them, or a newer one",
                )
            return _content(msgspec.json.decode(payload, type=_File))
        except (msgspec.MsgspecError, UsageError, ValueError) as error:
            raise self._damaged() from error

    def _copy(self, raw: bytes | None) -> None:
        """Keep what is shared where those look that only show it."""
        with suppress(OSError):
            if raw is not None and others_link(self.path.parent) is None:
                make_private_folder(self.path.parent)
                write_atomically(self.path, [raw], durable=False)

    def _failed(self, what: str, error: OSError) -> JournalError:
        return JournalError(
            f"the holds in {self.path} cannot be {what}: {error.strerror or error}",
            advice="make that file readable and its folder writable; until then nothing is removed",
        )

    def _damaged(self) -> DamagedRecordError:
        return DamagedRecordError(
            f"the holds {self._name} are damaged, so nothing is removed",
            advice="restore that file; or move it away, and hold again with `dregutil hold` what is to stay"
            if self._shared is None
            else "restore the store from a copy",
        )


class RegistryHolds:
    """All holds on one registry: those in the file, and those of what undos put back in the last 14 days."""

    def __init__(self, store: RunStore, registry: str, shared: SharedDocument | None = None) -> None:
        """`registry` is its identity; `shared` is where all machines have the holds that people made."""
        self.file = HoldFile(store.folder, registry, shared)
        self._store = store
        self._registry = registry

    def now(self, now: datetime) -> Holds:
        """Those that have not ended. Raises JournalError."""
        return self._active(self.file.read(), self._put_back(now), now)

    def watched(self, now: datetime) -> Callable[[], Holds]:
        """A function that returns the holds, and reads the file again where it has changed. It raises JournalError.

        What undos put back is read once: none begins while a run is at work.
        """
        stamp, put_back = self.file.stamp, self._put_back(now)
        known = self._active(self.file.read(), put_back, now)

        def current() -> Holds:
            nonlocal stamp, known
            changed = self.file.stamp
            if changed != stamp:
                known = self._active(self.file.read(), put_back, now)
                stamp = changed
            return known

        return current

    def add(self, hold: Hold) -> None:
        """Hold an image; a hold of the same name is replaced. Raises JournalError."""

        def added(content: _Content) -> _Content:
            others = (one for one in content.holds if _name(one) != _name(hold) and one.is_active(hold.since))
            return _Content((*others, hold), content.ended)

        self.file.change(added)

    def adopt(self, others: _Content) -> None:
        """Add holds that were kept elsewhere, but for those of the same name. Raises JournalError."""

        def added(content: _Content) -> _Content:
            names = set(map(_name, content.holds))
            holds = (one for one in others.holds if _name(one) not in names)
            return _Content((*content.holds, *holds), {**others.ended, **content.ended})

        if others.holds or others.ended:
            self.file.change(added)

    def end(self, meant: Mapping[str, Callable[[Hold], bool]], now: datetime) -> tuple[Hold, ...]:
        """End the holds that are `meant`, by the names of images, and return them: all or none. Raises JournalError,
        and NotFoundError if there is none for a name."""
        put_back = self._put_back(now)
        ended: list[Hold] = []

        def is_meant(hold: Hold) -> bool:
            return any(is_one(hold) for is_one in meant.values())

        def without(content: _Content) -> _Content:
            active = self._active(content, put_back, now).all
            for name, is_one in meant.items():
                if not any(map(is_one, active)):
                    raise NotFoundError(f"{name} is not held", advice="`dregutil hold --list` shows what is held")
            ended.extend(hold for hold in active if is_meant(hold))
            early = {(hold.repository, hold.digest): now for hold in ended if hold.run and hold.digest is not None}
            recent = {key: when for key, when in content.ended.items() if now - when < HELD_FOR}
            holds = (hold for hold in content.holds if hold.is_active(now) and not is_meant(hold))
            return _Content(tuple(holds), {**recent, **early})

        self.file.change(without)
        return tuple(ended)

    def _put_back(self, now: datetime) -> tuple[Hold, ...]:
        return tuple(put_back_holds(self._store, self._registry, now))

    def _active(self, content: _Content, put_back: Iterable[Hold], now: datetime) -> Holds:
        def is_ended(hold: Hold) -> bool:
            ended = None if hold.digest is None else content.ended.get((hold.repository, hold.digest))
            return ended is not None and hold.since <= ended

        return Holds.active((*content.holds, *(hold for hold in put_back if not is_ended(hold))), now)


def _lost(known: _Content, found: _Content) -> tuple[Hold, ...]:
    """The holds that a copy has and the store does not, which does not know the last change of the copy either."""
    if not known.marks or known.marks[-1] in found.marks:
        return ()
    if len(found.marks) == _MARKS and not set(known.marks) & set(found.marks):
        return ()  # it is from long ago
    names, now = set(map(_name, found.holds)), datetime.now(UTC)
    return tuple(one for one in known.holds if _name(one) not in names and one.is_active(now))


def _with(content: _Content, lost: tuple[Hold, ...]) -> _Content:
    return replace(content, holds=(*content.holds, *lost))


def _name(hold: Hold) -> tuple[Repository, Tag | None, Digest | None]:
    return hold.repository, hold.tag, hold.digest


def _content(file: _File) -> _Content:
    return _Content(
        tuple(_holds(file.holds)),
        {(Repository.parse(one.repository), Digest.parse(one.digest)): one.when for one in file.ended},
        () if file.marks is msgspec.UNSET else tuple(file.marks),
    )


def _holds(entries: Iterable[_HoldEntry]) -> Iterator[Hold]:
    for entry in entries:
        if bool(entry.tag) == bool(entry.digest):
            raise ValueError("a hold is of a tag or of a digest")
        yield Hold(
            Repository.parse(entry.repository),
            entry.since,
            Tag.parse(entry.tag) if entry.tag else None,
            Digest.parse(entry.digest) if entry.digest else None,
            entry.until,
            entry.by,
            entry.because,
        )


def _file(registry: str, content: _Content) -> _File:
    return _File(
        _VERSION,
        registry,
        [
            _HoldEntry(
                str(hold.repository),
                hold.since,
                str(hold.tag or ""),
                str(hold.digest or ""),
                hold.until,
                hold.by,
                hold.because,
            )
            for hold in content.holds
        ],
        [_EndedEntry(str(name), str(digest), when) for (name, digest), when in content.ended.items()],
        list(content.marks) if content.marks else msgspec.UNSET,
    )


def _sum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest().encode()
