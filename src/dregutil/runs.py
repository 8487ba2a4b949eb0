"""The state folder: one folder for each run, never disposed of unasked; one lock for each registry.

STATE/runs/20261124T093012Z-0714f/journal.jsonl   the record, the only truth
STATE/runs/20261124T093012Z-0714f/layout/         the removed manifests as an OCI image layout, derived from it
STATE/locks/<sum of the registry's name>         held while a run is at work
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from dregutil.errors import JournalError, NotFoundError, RefusedError
from dregutil.journal import Journal, sync_folder
from dregutil.journal_line import FILE_NAME
from dregutil.plan import Plan
from dregutil.private import make_private_folder, others_link
from dregutil.record import RunHeader, RunRecord, read_header, read_indexes, read_journal, read_placeholders
from dregutil.reference import Digest, Repository

__all__ = ["RunStore", "short_lived"]

_NO_DISK = ("tmpfs", "ramfs", "overlay", "aufs")
_ADVICE = "name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)"


class RunStore:
    """All runs under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / "runs"

    def new(self, now: datetime) -> Journal:
        """Begin the record of a run. Raises JournalError where the folder cannot be written."""
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
            raise JournalError(
                f"runs cannot be recorded in {self.folder}: {error.strerror or error}", advice=_ADVICE
            ) from error
        return Journal(self._runs / name)

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
        """A run by its name or a unique beginning of it. Raises NotFoundError, JournalError."""
        names = self.names()
        found = [name] if name in names else [other for other in names if other.startswith(name)]
        if len(found) != 1:
            what = f"{len(found)} runs begin with {name!r}" if found else f"there is no run {name!r}"
            raise NotFoundError(f"{what} in {self.folder}", advice="`dregutil history` lists the runs")
        return read_journal(self._runs / found[0])

    def headers(self, registry: str | None = None) -> Iterator[RunHeader]:
        """The runs whose record has a beginning, oldest first; `registry`: only those of one, by its identity."""
        for name in self.names():
            with contextlib.suppress(JournalError):
                header = read_header(self._runs / name)
                if registry is None or header.registry == registry:
                    yield header

    def to_be_undone(self, registry: str) -> RunRecord | None:
        """The newest removal that no finished undo has put back."""
        headers = list(self.headers(registry))
        undone = {header.undoes for header in headers if header.undoes and not header.is_unfinished}
        for header in reversed(headers):
            if not header.undoes and header.run not in undone:
                record = read_journal(header.folder)
                if record.intents:
                    return record
        return None

    def undos(self, run: str, registry: str) -> list[RunHeader]:
        """The undos of a run, finished or not, oldest first."""
        return [header for header in self.headers(registry) if header.undoes == run]

    def cut_off(self, registry: str) -> list[tuple[RunHeader, str]]:
        """The runs on a registry that were cut off and that nobody has undone, each with the command that goes on."""
        headers = list(self.headers(registry))
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
        return {digest: header.run for header in self.headers(registry) for digest in read_placeholders(header.folder)}

    def prune(self, before: datetime) -> list[str]:
        """Remove the finished runs that began before a moment; returns their names."""
        old = [header for header in self.headers() if header.started < before and not header.is_unfinished]
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
        path = self.folder / "locks" / hashlib.sha256(registry.encode()).hexdigest()[:24]
        try:
            make_private_folder(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise JournalError(
                f"runs cannot be recorded in {self.folder}: {error.strerror or error}", advice=_ADVICE
            ) from error
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
