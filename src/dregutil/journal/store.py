"""The state folder: one folder for each run, never disposed of unasked; one lock for each registry.

STATE/runs/20261124T093012Z-0714f/journal.jsonl   the record, the only truth
STATE/runs/20261124T093012Z-0714f/layout/         the removed manifests as an OCI image layout, derived from it
STATE/locks/<sum of the registry's key>          held while a run is at work
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from dregutil.errors import DamagedRecordError, JournalError, NotFoundError, RefusedError
from dregutil.files import make_private_folder, others_link
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.oci_layout import laid_out, laid_out_names
from dregutil.journal.reader import ENDED, RunHeader, RunRecord, read_header, read_indexes, read_journal, read_moved
from dregutil.journal.writer import Journal, sync_folder, write_advice
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST
from dregutil.oci.names import Digest, Repository, registry_key, registry_spellings
from dregutil.plan.model import Plan, StepKind
from dregutil.plan.outcome import Intent

__all__ = ["RunStore", "short_lived"]

_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_NO_DISK = ("tmpfs", "ramfs", "overlay", "aufs")
_ADVICE = "name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)"


class RunStore:
    """All runs under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / "runs"

    def new(self, now: datetime) -> Journal:
        """Begin the record of a run, as the last of all. Raises JournalError where the folder cannot be written."""
        is_first = not self._runs.exists()
        self._check_hands()
        name = f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond // 1000:03d}{secrets.token_hex(1)}"  # in the order of time
        try:
            make_private_folder(self._runs)
            (self._runs / name).mkdir(mode=0o700)
            sync_folder(self._runs)  # a record whose folder is lost with the power is no record
            for folder in (self.folder, self.folder.parent) if is_first else ():
                with contextlib.suppress(PermissionError):  # a folder above may be closed to us
                    sync_folder(folder)
        except OSError as error:
            raise self._not_recorded(error) from error
        number = 1 + max((header.number for header in self.headers()), default=0)
        return Journal(self._runs / name, number=number)

    def begin(self, plan: Plan, now: datetime, *, undoes: str = "") -> Journal:
        """Begin the record of a run, with its plan. Raises JournalError; nothing of it is left then."""
        journal = self.new(now)
        try:
            journal.begin(plan, started=now, undoes=undoes)
        except JournalError:
            journal.close(None)
            self.discard(journal)
            raise
        return journal

    def _check_hands(self) -> None:
        """Raises JournalError where the folder is a link into somebody else's hands."""
        link = others_link(self.folder)
        if link is not None:
            raise JournalError(
                f"runs are not recorded in {self.folder}: {link} is a link of, or into, somebody else's", advice=_ADVICE
            )

    def _not_recorded(self, error: OSError) -> JournalError:
        advice = _ADVICE if error.errno in _CLOSED else write_advice(error)
        return JournalError(f"runs cannot be recorded in {self.folder}: {error.strerror or error}", advice=advice)

    def mark_ended(self, journal: Journal) -> None:
        """Let a run be known as ended whose last line cannot be written: an empty file needs no room."""
        with contextlib.suppress(OSError):
            (journal.folder / ENDED).touch(mode=0o600)

    def journal(self, record: RunRecord) -> Journal:
        """Go on with the record of a run."""
        return Journal(record.folder)

    def discard(self, journal: Journal) -> None:
        """Forget a run that never sent anything."""
        shutil.rmtree(journal.folder, ignore_errors=True)

    def names(self) -> list[str]:
        """All runs, oldest first."""
        self._check_hands()
        try:
            return sorted(entry.name for entry in self._runs.iterdir() if (entry / FILE_NAME).exists())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise JournalError(f"{self._runs} cannot be read: {error.strerror or error}", advice=_ADVICE) from error

    def get(self, name: str) -> RunRecord:
        """A run by its name or a unique beginning of it; what cannot be read of its record is taken from its layout.

        Raises NotFoundError, JournalError.
        """
        names = self.names()
        found = [name] if name in names else [other for other in names if other.startswith(name)]
        if len(found) != 1:
            what = f"{len(found)} runs begin with {name!r}" if found else f"there is no run {name!r}"
            raise NotFoundError(f"{what} in {self.folder}", advice="`dregutil history` lists the runs")
        record = read_journal(self._runs / found[0])
        return _with_layout(record) if record.damaged else record

    def headers(self, registry: str | None = None) -> list[RunHeader]:
        """The runs that were begun, oldest first; `registry`: only those of one, by its identity, and those of which it
        cannot be read whether they are."""
        found = []
        key = None if registry is None else registry_key(registry)
        for name in self.names():
            with contextlib.suppress(JournalError):
                header = read_header(self._runs / name)
                if key is None or header.is_damaged or registry_key(header.registry) == key:
                    found.append(header)
        return sorted(found, key=lambda header: header.number)  # of one number (0 in those of 2.0.0) by their names

    def to_be_undone(self, registry: str) -> RunRecord | None:
        """The newest removal that no finished undo has put back.

        Raises DamagedRecordError where another may be newer, and its record does not say.
        """
        headers = self.headers(registry)
        undone = {header.undoes for header in headers if header.undoes and not header.is_unfinished}
        found: RunRecord | None = None
        for header in reversed(headers):
            if not header.is_damaged and not header.undoes and header.run not in undone:
                record = self.get(header.run)
                if record.intents:
                    found = record
                    break
        for header in headers:
            if header.is_damaged and header.run not in undone and (found is None or header.run > found.run):
                if header.is_newer:
                    self.get(header.run)  # which says so
                others = "" if found is None else f", `dregutil undo {found.run}` the newest of the others"
                raise DamagedRecordError(
                    f"the record of {header.run} is damaged at its beginning: it may be the newest removal of "
                    f"{registry}, and nothing was put back",
                    advice=f"`dregutil undo {header.run} -reg {registry}` puts back what can be read of it{others}",
                )
        return found

    def undos(self, run: str, registry: str) -> list[RunHeader]:
        """The undos of a run, finished or not, oldest first."""
        return [header for header in self.headers(registry) if header.undoes == run]

    def cut_off(self, registry: str) -> list[tuple[RunHeader, str]]:
        """The runs on a registry that were cut off and that nobody has undone, each with the command that goes on."""
        headers = [header for header in self.headers(registry) if not header.is_damaged]
        undone = {header.undoes for header in headers if not header.is_unfinished}
        begun = {header.undoes for header in headers}
        found = []
        for header in headers:
            removal = header.undoes or header.run
            if header.is_unfinished and removal not in undone:
                how = f"apply --resume {removal}" if removal not in begun else f"undo {removal}"
                found.append((header, how))
        return found

    def known_indexes(self, registry: str) -> Mapping[Repository, frozenset[Digest]]:
        """The indexes that earlier runs saw, by repository: one that no tag names is invisible to the API.

        Those within them too: an index that went may have left one that it held.
        """
        found: dict[Repository, set[Digest]] = defaultdict(set)
        for header in self.headers(registry):
            for intent in read_indexes(header.folder):
                found[intent.repository].add(intent.manifest.digest)
                found[intent.repository].update(
                    child.digest for child in intent.manifest.children if child.may_be_index
                )
        return {repository: frozenset(digests) for repository, digests in found.items()}

    def placeholders(self, registry: str) -> Mapping[Digest, str]:
        """The placeholders onto which runs moved tags, each with its run: where one is still there, that run was cut
        off."""
        return {
            intent.placeholder: header.run
            for header in self.headers(registry)
            for intent in read_moved(header.folder)
            if intent.placeholder is not None
        }

    def moved_aside(self, registry: str) -> Iterator[Intent]:
        """The intents of all runs whose tags went onto a placeholder."""
        for header in self.headers(registry):
            yield from read_moved(header.folder)

    def prune(self, before: datetime, undos_before: datetime | None = None) -> list[str]:
        """Remove the finished runs that began before a moment; undos, where given, before another. Returns their names.

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
            try:
                shutil.rmtree(header.folder)
            except OSError as error:
                raise JournalError(
                    f"{header.folder} cannot be removed: {error.strerror or error}", advice=_ADVICE
                ) from error
        return [header.run for header in old]

    @contextlib.contextmanager
    def lock(self, registry: str) -> Iterator[None]:
        """Keep other runs on this registry out. Raises RefusedError where one is at work, and JournalError."""
        self._check_hands()
        with contextlib.ExitStack() as locks:
            for spelling in registry_spellings(registry):  # a run of 2.0.0 holds that of the name that it was given
                locks.enter_context(self._lock(spelling, registry))
            yield

    @contextlib.contextmanager
    def _lock(self, name: str, registry: str) -> Iterator[None]:
        path = self.folder / "locks" / hashlib.sha256(name.encode()).hexdigest()[:24]
        try:
            make_private_folder(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._not_recorded(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RefusedError(
                    f"another run is at work on {registry}",
                    advice="wait until it has ended; `dregutil history` shows it",
                ) from error
            yield
        finally:
            os.close(descriptor)


def _with_layout(record: RunRecord) -> RunRecord:
    """A damaged record with the intents that only its layout still has."""
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


def short_lived(folder: Path, mounts: str) -> str:
    """Why what is written to `folder` may not outlive this process or its container, or nothing.

    `mounts` is the text of `/proc/self/mountinfo` (proc(5)); the longest mount point that holds the folder decides.
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 10 or "-" not in fields:
            continue
        point = fields[4].encode().decode("unicode_escape")
        inside = str(folder) == point or str(folder).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[fields.index("-") + 1]
    if kind in ("tmpfs", "ramfs"):
        return f"{folder} is in memory ({kind})"
    if kind in _NO_DISK:
        return f"{folder} is a container's own layer ({kind})"
    return ""
