"""The state folder: one folder for each run, kept until `history --prune`; one lock for each registry.

STATE/runs/20261124T093012Z-0714f/journal.jsonl   the record, the only truth
STATE/runs/20261124T093012Z-0714f/layout/         the removed manifests as an OCI image layout, derived from it
STATE/locks/<sum of the registry's key>          held during a run
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dregutil.errors import JournalError, NotFoundError, RefusedError
from dregutil.files import is_locked, lock_file, make_private_folder, others_link, sync_folder
from dregutil.journal.claims import Claims, OnlyProcess
from dregutil.journal.collections import Collections
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.mounts import why_short_lived
from dregutil.journal.oci_layout import laid_out, laid_out_names
from dregutil.journal.reader import ENDED, read_header, read_journal
from dregutil.journal.record import RunHeader, RunRecord
from dregutil.journal.recording import LineWriter
from dregutil.journal.writer import Journal, write_advice
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST
from dregutil.oci.names import Reference, registry_key, registry_spellings
from dregutil.plan.model import Plan, StepKind
from dregutil.plan.outcome import Intent

__all__ = ["RunStore"]

_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_TRIES = 100  # to find a name that no other run of the same millisecond has
_ADVICE = "name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)"


class RunStore:
    """All runs under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / "runs"

    @property
    def where(self) -> str:
        """Where the runs are recorded, for people."""
        return str(self.folder)

    def now(self) -> datetime:
        """The time, in UTC, by which holds end and records are forgotten. Raises JournalError."""
        return datetime.now(UTC)

    def new(self, now: datetime) -> Journal:
        """Begin the record of a run, the newest of all. Raises JournalError if the folder cannot be written."""
        is_first = not self._runs.exists()
        self._check_links()
        try:
            make_private_folder(self._runs)
            name = self._new_folder(now)
            sync_folder(self._runs)  # else a power cut may lose the folder
            for folder in (self.folder, self.folder.parent) if is_first else ():
                with contextlib.suppress(PermissionError):  # a folder above may belong to another user
                    sync_folder(folder)
        except OSError as error:
            raise self._not_recorded(error) from error
        number = 1 + max((header.number for header in self.headers()), default=0)
        return Journal(self._runs / name, number=number)

    def _new_folder(self, now: datetime) -> str:
        """The name of a new run, which sorts by time. Raises OSError."""
        for _ in range(_TRIES):
            name = f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond // 1000:03d}{secrets.token_hex(1)}"
            with contextlib.suppress(FileExistsError):  # another run began in the same millisecond
                (self._runs / name).mkdir(mode=0o700)
                return name
        raise FileExistsError(errno.EEXIST, "too many runs begin at once")

    def begin(self, plan: Plan, now: datetime, *, undoes: str = "", images: Sequence[Reference] = ()) -> LineWriter:
        """Begin the record of a run, with its plan. If that raises JournalError, nothing of the record is left."""
        journal = self.new(now)
        try:
            journal.begin(plan, started=now, undoes=undoes, images=images)
        except JournalError:
            journal.close(None)
            self.discard(journal)
            raise
        return journal

    def _check_links(self) -> None:
        """Raises JournalError if the folder is behind a link of another user, or to another user's folder."""
        link = others_link(self.folder)
        if link is not None:
            whose = "is a link of another user, or leads to another user's folder"
            raise JournalError(
                f"runs are not recorded in {self.folder}: {link} {whose}",
                advice=_ADVICE,
            )

    def _not_recorded(self, error: OSError) -> JournalError:
        advice = _ADVICE if error.errno in _CLOSED else write_advice(error)
        return JournalError(f"runs cannot be recorded in {self.folder}: {error.strerror or error}", advice=advice)

    def mark_ended(self, journal: LineWriter) -> None:
        """Mark a run as ended if its last line cannot be written: an empty file needs no space."""
        with contextlib.suppress(OSError):
            (journal.folder / ENDED).touch(mode=0o600)

    def journal(self, record: RunRecord) -> LineWriter:
        """Continue the record of a run."""
        return Journal(record.folder)

    def discard(self, journal: LineWriter) -> None:
        """Remove the record of a run that never sent a request."""
        shutil.rmtree(journal.folder, ignore_errors=True)

    def names(self) -> list[str]:
        """The names of all runs, oldest first."""
        self._check_links()
        try:
            return sorted(entry.name for entry in self._runs.iterdir() if (entry / FILE_NAME).exists())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"{self._runs} cannot be read: {error.strerror or error}", advice=_ADVICE) from error

    def get(self, name: str) -> RunRecord:
        """A run by its name or a unique prefix of it. What is damaged in its record is taken from its layout.

        Raises NotFoundError, JournalError.
        """
        return _read(self._runs / self._found(name))

    def read(self, header: RunHeader) -> RunRecord:
        """The record of a run that was listed just now, to be shown. Raises JournalError."""
        return _read(header.folder)

    def _found(self, name: str) -> str:
        """The whole name of a run. Raises NotFoundError and JournalError."""
        names = self.names()
        found = [name] if name in names else [other for other in names if other.startswith(name)]
        if len(found) != 1:
            what = f"{len(found)} runs begin with {name!r}" if found else f"there is no run {name!r}"
            raise NotFoundError(f"{what} in {self.where}", advice="`dregutil history` lists the runs")
        return found[0]

    def headers(self, registry: str | None = None) -> list[RunHeader]:
        """The runs that were begun, oldest first.

        `registry`: only the runs on one, by its identity, and those whose registry cannot be read.
        """
        found = []
        key = None if registry is None else registry_key(registry)
        for name in self.names():
            with contextlib.suppress(JournalError):
                header = read_header(self._runs / name)
                if key is None or header.is_damaged or registry_key(header.registry) == key:
                    found.append(header)
        return sorted(found, key=lambda header: header.number)  # with equal numbers (0 from 2.0.0), by name

    def prune(self, before: datetime, undos_before: datetime | None = None) -> list[str]:
        """Remove the finished runs that began before `before`, and undos before `undos_before`. Returns their names.

        A run stays while an undo of it is unfinished.
        """
        headers = self.headers()
        needed = {header.undoes for header in headers if header.is_unfinished}
        old = [
            header
            for header in headers
            if header.started < (undos_before if header.undoes and undos_before else before)
            and not header.is_unfinished
            and header.run not in needed
        ]
        for header in old:
            self.remove(header)
        return [header.run for header in old]

    def remove(self, header: RunHeader) -> None:
        """Remove the record of a run. Raises JournalError."""
        try:
            shutil.rmtree(header.folder)
        except OSError as error:
            raise JournalError(
                f"{header.folder} cannot be removed: {error.strerror or error}", advice=_ADVICE
            ) from error

    def claims(self, plan: Plan, journal: LineWriter, earlier: RunRecord | None) -> Claims:  # noqa: ARG002 - a shared store
        """The repositories of a run that are left: the lock keeps all other processes out."""
        return OnlyProcess(plan, earlier)

    @contextlib.contextmanager
    def lock(self, registry: str, *, run: str = "") -> Iterator[None]:  # noqa: ARG002 - a shared store needs it
        """Keep other runs on this registry out; `run` is the one that is continued, if one is. Raises RefusedError if
        one holds the lock, or a collector of an earlier collection still runs; and JournalError."""
        self._check_links()
        with contextlib.ExitStack() as locks:
            for spelling in registry_spellings(registry):  # 2.0.0 locks the name as it was given
                locks.enter_context(self._lock(spelling, registry))
            self._check_no_collector(registry)
            yield

    def is_locked(self, registry: str) -> bool:
        """Whether a run is at work on this registry, on this machine. Raises JournalError."""
        names = [hashlib.sha256(name.encode()).hexdigest()[:24] for name in registry_spellings(registry)]
        try:
            return any(is_locked(self.folder / "locks" / name) for name in names)
        except OSError as error:
            raise self._not_recorded(error) from error

    def _check_no_collector(self, registry: str) -> None:
        """A collector goes on if dregutil was killed: what is pushed or put back meanwhile may lose blobs."""
        collections = Collections(self.folder)
        running = collections.running(registry)
        if running is not None:
            since = f"{running.started:%Y-%m-%d %H:%M} UTC"
            raise RefusedError(
                f"the garbage collector that `dregutil collect` started on {registry} at {since} still runs",
                advice=f"wait until it has ended; its output is in {collections.output(running.name)}",
            )

    def why_short_lived(self) -> str:
        """Why the records may be lost with this machine or container; empty if nothing indicates that."""
        try:
            return why_short_lived(self.folder, Path("/proc/self/mountinfo").read_text())
        except OSError:
            return ""

    @contextlib.contextmanager
    def _lock(self, name: str, registry: str) -> Iterator[None]:
        path = self.folder / "locks" / hashlib.sha256(name.encode()).hexdigest()[:24]
        with contextlib.ExitStack() as held:
            try:
                make_private_folder(path.parent)
                held.enter_context(lock_file(path, wait=False))
            except BlockingIOError as error:
                raise RefusedError(
                    f"another run is at work on {registry}",
                    advice="wait until it has ended; `dregutil history` shows it",
                ) from error
            except OSError as error:
                raise self._not_recorded(error) from error
            yield


def _read(folder: Path) -> RunRecord:
    record = read_journal(folder)
    return _with_layout(record) if record.damaged else record


def _with_layout(record: RunRecord) -> RunRecord:
    """A damaged record, with the intents that only its layout has."""
    folder = record.folder / "layout"
    steps = {(step.repository, step.digest): step for step in record.plan.steps}
    found = {(intent.repository, intent.manifest.digest): intent for intent in record.intents}
    for repository, tags, manifest in laid_out_names(folder):
        step = steps.get((repository, manifest.digest))
        number = 0 if step is None else step.number
        found.setdefault((repository, manifest.digest), Intent(number, repository, tags, manifest))
    for place, step in steps.items():
        if place not in found:
            kinds = (OCI_INDEX, OCI_MANIFEST) if step.kind is StepKind.INDEX else (OCI_MANIFEST, OCI_INDEX)
            whole = laid_out(folder, step.digest, kinds[0]) or laid_out(folder, step.digest, kinds[1])
            if whole is not None:
                found[place] = Intent(step.number, step.repository, step.tags, whole)
    recovered = [intent for intent in found.values() if intent not in record.intents]
    return replace(record, intents=(*record.intents, *recovered))
