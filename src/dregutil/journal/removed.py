"""What a run removed, as its record has it: the images that may come back, and what comes back with each. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from dregutil.journal.record import RunRecord
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.plan.outcome import Intent, Result

__all__ = [
    "COLLECTED",
    "Removed",
    "chosen",
    "collected_runs",
    "has_image",
    "put_back_by",
    "removed_by",
    "undo_states",
    "undone_by",
    "units",
    "without",
]

COLLECTED = "the registry has collected its garbage"  # why an undo could not put something back, as it is recorded
_NOT_BY_RUN = (Result.GONE, Result.LEFT)  # it was gone before, or it was never touched

Removed = Mapping[Repository, Sequence[Intent]]
"""By repository, each digest once, with its tags. A digest that a run left alone, and whose tags it removed, is one."""


def removed_by(record: RunRecord) -> Removed:
    """What the run removed, or may have.

    A tag that went with a digest, although it was to stay, is one of them where the record knows with which.
    """
    merged: dict[tuple[Repository, Digest], Intent] = {}
    for intent in sorted(record.intents, key=lambda intent: intent.step):
        settled = record.outcomes.get(intent.step)
        if settled is not None and settled.result in _NOT_BY_RUN and intent.step not in record.taken:
            continue
        key = (intent.repository, intent.manifest.digest)
        # A step that was cut off may have taken the tags beside its own: some servers delete the whole manifest.
        own = (*intent.tags, *(intent.beside if settled is None else ()))
        before = merged.get(key)
        merged[key] = replace(intent, tags=tuple(dict.fromkeys((*(before.tags if before is not None else ()), *own))))
    for lost in record.lost:
        key = (lost.repository, lost.candidates[0])
        if lost.mended is None and len(lost.candidates) == 1 and key in merged:
            merged[key] = replace(merged[key], tags=tuple(dict.fromkeys((*merged[key].tags, lost.tag))))
    found: dict[Repository, list[Intent]] = defaultdict(list)
    for intent in merged.values():
        found[intent.repository].append(intent)
    return found


def has_image(removed: Removed, image: Reference) -> bool:
    """Whether `image` (a tag, a digest, or both) is among what was removed."""
    return any(_is(intent, image) for intent in removed.get(image.repository, ()))


def chosen(removed: Removed, images: Iterable[Reference]) -> Removed:
    """The part of `removed` that comes back with `images`: a tag alone, a digest with all its tags.

    With each come its children, its signatures and other referrers (with the tags that name their subject), and the
    subject that it refers to, without tags. An image that was not removed adds nothing.
    """
    wanted: dict[Repository, list[Reference]] = defaultdict(list)
    for image in images:
        wanted[image.repository].append(image)
    found = {name: _Choice(name, removed.get(name, ())).of(named) for name, named in wanted.items()}
    return {name: intents for name, intents in found.items() if intents}


def put_back_by(undo: RunRecord, removed: Removed) -> Mapping[tuple[Repository, Digest], frozenset[Tag]]:
    """The digests that an undo put back, each with the tags that it put.

    `removed` is what its run removed. An undo that ended has put back all that it was for, except what it noted as lost
    or failed.
    """
    found: dict[tuple[Repository, Digest], set[Tag]] = defaultdict(set)
    failed: set[tuple[Repository, Digest]] = set()
    for repository, digest, tags, why in undo.restored:
        if why:
            failed.add((repository, digest))
        else:
            found[repository, digest].update(tags)
    if not undo.is_unfinished:
        for intents in undone_by(undo, removed).values():
            for intent in intents:
                key = (intent.repository, intent.manifest.digest)
                if key not in failed:
                    found[key].update(intent.tags)
    return {key: frozenset(tags) for key, tags in found.items()}


def undone_by(undo: RunRecord, removed: Removed) -> Removed:
    """What of `removed` an undo was to put back."""
    return chosen(removed, undo.images) if undo.images else removed


def undo_states(records: Collection[RunRecord]) -> Mapping[str, bool]:
    """The runs among `records` of which an undo put something back; True for those of which all was. An undo that ended
    may have found that some of it is lost."""
    undos: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        if record.undoes:
            undos[record.undoes].append(record)
    found = {run: any(not (one.is_unfinished or one.images) for one in ones) for run, ones in undos.items()}
    for record in records:
        if record.run in undos:
            left = removed = removed_by(record)
            for undo in undos[record.run]:
                left = without(left, put_back_by(undo, removed))
            found[record.run] = not left
            if left == removed:
                del found[record.run]
    return found


def collected_runs(records: Iterable[RunRecord]) -> Mapping[str, datetime]:
    """The runs of which an undo found that the registry has collected the garbage, and when the first one found it. Of
    the others nothing is known."""
    found: dict[str, datetime] = {}
    for record in records:
        if record.undoes and any(COLLECTED in why for _, _, _, why in record.restored):
            found[record.undoes] = min(record.started, found.get(record.undoes, record.started))
    return found


def without(removed: Removed, back: Mapping[tuple[Repository, Digest], Collection[Tag]]) -> Removed:
    """What of `removed` is not among what was put `back`: tags, and digests that were never put back at all."""
    found: dict[Repository, list[Intent]] = defaultdict(list)
    for repository, intents in removed.items():
        for intent in intents:
            tags = back.get((repository, intent.manifest.digest))
            left = intent.tags if tags is None else tuple(tag for tag in intent.tags if tag not in tags)
            if left or tags is None:
                found[repository].append(replace(intent, tags=left))
    return found


def units(repository: Repository, intents: Sequence[Intent]) -> Iterator[tuple[Intent, Sequence[Digest]]]:
    """The images among what was removed from a repository, each with the digests that belong to it: all with a tag of
    their own, and what belongs to none of these."""
    choice = _Choice(repository, intents)
    covered: set[Digest] = set()
    left: list[Intent] = []
    for intent in intents:
        if any(choice.graph.signature(tag) is None for tag in intent.tags):
            company = choice.company(intent.manifest.digest)
            covered.update((intent.manifest.digest, *company))
            yield intent, company
        else:
            left.append(intent)
    companies = {intent.manifest.digest: choice.company(intent.manifest.digest) for intent in left}
    below = {digest for company in companies.values() for digest in company}
    for intent in sorted(left, key=lambda intent: intent.manifest.digest in below):
        if intent.manifest.digest not in covered:
            company = companies[intent.manifest.digest]
            covered.update((intent.manifest.digest, *company))
            yield intent, company


def _is(intent: Intent, image: Reference) -> bool:
    has_tag = image.tag is None or image.tag in intent.tags
    return has_tag and (image.digest is None or image.digest == intent.manifest.digest)


class _Choice:
    """What comes back with some of the images that were removed from one repository."""

    def __init__(self, repository: Repository, intents: Sequence[Intent]) -> None:
        self.intents = {intent.manifest.digest: intent for intent in intents}
        referrers: dict[Digest, list[Digest]] = defaultdict(list)
        for intent in intents:
            if intent.manifest.subject is not None:
                referrers[intent.manifest.subject.digest].append(intent.manifest.digest)
        self.graph = RepositoryGraph(
            repository,
            {tag: intent.manifest.digest for intent in intents for tag in intent.tags},
            {digest: intent.manifest for digest, intent in self.intents.items()},
            {subject: tuple(digests) for subject, digests in referrers.items()},
        )
        self.tags: dict[Digest, set[Tag]] = {}

    def of(self, images: Iterable[Reference]) -> Sequence[Intent]:
        for image in images:
            for digest, intent in self.intents.items():
                if _is(intent, image):
                    own = intent.tags if image.tag is None else (image.tag,)
                    self.tags.setdefault(digest, set()).update(own)
        for digest in [*self.tags]:
            for other in self.company(digest):
                named = (tag for tag in self.intents[other].tags if self.graph.signature(tag) is not None)
                self.tags.setdefault(other, set()).update(named)
        self._add_needed([*self.tags])
        return [
            replace(intent, tags=tuple(tag for tag in intent.tags if tag in self.tags[digest]))
            for digest, intent in self.intents.items()
            if digest in self.tags
        ]

    def company(self, top: Digest) -> list[Digest]:
        """What belongs to `top`: children and referrers, at whatever depth."""
        seen, pending = {top: None}, [top]
        while pending:
            for other in self._belonging(pending.pop()):
                if other not in seen:
                    seen[other] = None
                    pending.append(other)
        return [digest for digest in seen if digest != top]

    def _belonging(self, digest: Digest) -> list[Digest]:
        return [*self._children(digest), *self.graph.referrers_of(digest)]

    def _add_needed(self, pending: list[Digest]) -> None:
        """Add the subjects of `pending`, with their children, all without tags."""
        while pending:
            for other in self._needed(pending.pop()):
                if other not in self.tags:
                    self.tags[other] = set()
                    pending.append(other)

    def _children(self, digest: Digest) -> list[Digest]:
        return [child.digest for child in self.intents[digest].manifest.children if child.digest in self.intents]

    def _needed(self, digest: Digest) -> list[Digest]:
        subject = self.intents[digest].manifest.subject
        named = [] if subject is None or subject.digest not in self.intents else [subject.digest]
        return [*named, *self._children(digest)]
