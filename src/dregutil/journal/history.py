"""What the recorded runs on a registry say: which one `undo` means, which were interrupted, what they have seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from dregutil.errors import DamagedRecordError, JournalError
from dregutil.journal.reader import read_indexes, read_moved
from dregutil.journal.record import RunHeader, RunRecord
from dregutil.journal.removed import Removed, put_back_by, removed_by, without
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository
from dregutil.plan.outcome import Intent

__all__ = ["RunHistory"]

_MOST_READ = 50  # records


class RunHistory:
    """The runs on one registry. Every method raises JournalError if the state folder cannot be read."""

    def __init__(self, store: RunStore, registry: str) -> None:
        """`registry` is its identity."""
        self.store = store
        self.registry = registry
        self._whole: set[str] = set()  # runs whose record was read, and is not damaged

    def headers(self) -> list[RunHeader]:
        """The runs, oldest first, and those whose registry cannot be read."""
        return self.store.headers(self.registry)

    def to_be_undone(self) -> RunRecord | None:
        """The newest removal that no finished undo has put back.

        Raises DamagedRecordError if another one may be newer, but its record cannot be read.
        """
        headers = self.headers()
        undone = self._undone(headers)
        found = self._newest_removal(header for header in reversed(headers) if header.run not in undone)
        for header in headers:
            if header.is_damaged and header.run not in undone and (found is None or header.run > found.run):
                raise self._unreadable(header, found)
        return found

    def _unreadable(self, header: RunHeader, older: RunRecord | None) -> DamagedRecordError:
        if header.is_newer:
            self.store.get(header.run)  # raises, and says that a newer version made it
        others = "" if older is None else f", `dregutil undo {older.run}` the newest of the others"
        return DamagedRecordError(
            f"the record of {header.run} is damaged at its beginning: it may be the newest removal of "
            f"{self.registry}, and nothing was put back",
            advice=f"`dregutil undo {header.run} -reg {self.registry}` puts back what can be read of it{others}",
        )

    def _newest_removal(self, headers: Iterator[RunHeader]) -> RunRecord | None:
        """The first of `headers` that is a removal which began to delete."""
        for header in headers:
            if not header.is_damaged and not header.undoes:
                record = self.store.get(header.run)
                if record.intents:
                    return record
        return None

    def last_removal(self, policy: str = "") -> RunRecord | None:
        """The newest removal that began to delete, whether it was undone or not; with `policy`, by this policy file, of
        the 50 newest runs. Damaged ones are left out."""
        headers = [header for header in self.headers() if not header.is_damaged and not header.undoes]
        for header in reversed(headers[-_MOST_READ:]):
            with suppress(JournalError):
                record = self.store.get(header.run)
                source = record.plan.policy
                if record.intents and (not policy or (source is not None and source.file == policy)):
                    return record
        return None

    def undos_of(self, run: str) -> list[RunHeader]:
        """The undos of a run, finished or not, also of some of its images, oldest first."""
        return [header for header in self.headers() if header.undoes == run]

    def left_by(self, record: RunRecord) -> Removed:
        """What a run removed and no undo has put back."""
        return self._left_by(record, self.headers())

    def not_undone(self) -> Iterator[tuple[RunRecord, Removed]]:
        """The removals of which something is not put back, newest first, each with that. Damaged ones are left out."""
        headers = self.headers()
        self._whole.clear()
        undone = {header.undoes for header in headers if _is_whole_undo(header)}
        for header in reversed(headers):
            if not (header.undoes or header.is_damaged or header.run in undone):
                with suppress(JournalError):
                    record = self.store.read(header)
                    if not record.damaged:
                        self._whole.add(record.run)
                    left = self._left_by(record, headers)
                    if left:
                        yield record, left

    def damaged(self) -> list[RunRecord]:
        """The runs with a damaged record, oldest first. Those that `not_undone` has read are not read again."""
        others = (header for header in self.headers() if header.run not in self._whole)
        return [record for record in map(self.store.read, others) if record.damaged]

    def with_undos(self, record: RunRecord) -> list[RunRecord]:
        """A run and its undos, oldest first, as far as they can be read."""
        found = [record]
        for header in self.undos_of(record.run):
            with suppress(JournalError):
                found.append(self.store.read(header))
        return found

    def _left_by(self, record: RunRecord, headers: Iterable[RunHeader]) -> Removed:
        removed = left = removed_by(record)
        for header in headers:
            if header.undoes == record.run:
                left = without(left, put_back_by(self.store.get(header.run), removed))
        return left

    def _undone(self, headers: Sequence[RunHeader]) -> set[str]:
        """The removals that were put back: by an undo of the whole run, or by undos of all its images."""
        whole = {header.undoes for header in headers if _is_whole_undo(header)}
        partly = {header.undoes for header in headers if header.images and not header.is_unfinished} - whole
        for header in headers:
            if header.run in partly:
                with suppress(JournalError):
                    if not self._left_by(self.store.get(header.run), headers):
                        whole.add(header.run)
        return whole

    def interrupted(self) -> list[tuple[RunHeader, str]]:
        """The interrupted runs that no undo has put back, each with the command that continues it."""
        headers = [header for header in self.headers() if not header.is_damaged]
        undone = self._undone(headers)
        begun = {header.undoes for header in headers}
        found = []
        for place, header in enumerate(headers):
            removal = header.undoes or header.run
            if header.is_unfinished and removal not in undone and not _is_continued(header, headers[place + 1 :]):
                how = f"apply --resume {removal}" if removal not in begun else f"undo {removal}"
                found.append((header, " ".join((how, *header.images))))
        return found

    def known_indexes(self) -> Mapping[Repository, frozenset[Digest]]:
        """The indexes that runs saw, by repository: the API does not show one that no tag names.

        Those within them too: an index that was deleted may have left one that it held.
        """
        found: dict[Repository, set[Digest]] = defaultdict(set)
        for header in self.headers():
            for intent in read_indexes(header.folder):
                found[intent.repository].add(intent.manifest.digest)
                found[intent.repository].update(
                    child.digest for child in intent.manifest.children if child.may_be_index
                )
        return {repository: frozenset(digests) for repository, digests in found.items()}

    def placeholders(self) -> Mapping[Digest, str]:
        """The placeholders onto which runs moved tags, each with its run. If one is still there, that run was
        interrupted."""
        return {
            intent.placeholder: header.run
            for header in self.headers()
            for intent in read_moved(header.folder)
            if intent.placeholder is not None
        }

    def moved_to_placeholders(self) -> Iterator[Intent]:
        """The intents of all runs that moved tags onto a placeholder."""
        for header in self.headers():
            yield from read_moved(header.folder)


def _is_whole_undo(header: RunHeader) -> bool:
    """Whether it is an undo of a whole run, and ended."""
    return bool(header.undoes) and not header.is_unfinished and not header.images


def _is_continued(undo: RunHeader, later: Iterable[RunHeader]) -> bool:
    """Whether an undo of some images, which was cut off, was completed by a later one."""
    images = set(undo.images)
    return bool(images) and any(
        other.undoes == undo.undoes and not other.is_unfinished and images <= set(other.images) for other in later
    )
