"""What a garbage collection would sweep, what of it a tag needs, and how what it did differs from that. Pure.

The collector sweeps each blob that it does not mark (`storage/garbage_collector`). No blob that a tag needs may be
among them: the manifest, children at any depth, configs, and the layers that are here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

from dregutil.errors import RefusedError
from dregutil.inventory.stored_graph import missing_blobs
from dregutil.oci.names import Digest, Repository
from dregutil.storage.collector_command import CollectorCommand
from dregutil.storage.garbage_collector import GarbageCollector, after_collection, stops_at
from dregutil.storage.stored import Oddity, StoredRegistry, StoredRepository

__all__ = [
    "CollectionPlan",
    "Comparison",
    "FinalRun",
    "Prediction",
    "Refusal",
    "check_is_whole",
    "compared",
    "first_of",
    "named",
    "predicted",
    "tags_on_placeholders",
]

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a collector would do. `swept`: the bytes of each blob that goes. `stops`: where it would end with an error
    before it frees anything. `tags`: those that would lose something that they need, as `repository:tag`. `left`: the
    storage as the collector would leave it."""

    collector: GarbageCollector
    swept: Mapping[Digest, int]
    stops: str
    tags: tuple[str, ...]
    left: StoredRegistry = field(repr=False)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(self.swept.values())


@dataclass(frozen=True, slots=True)
class FinalRun:
    """A recorded run that a collection makes impossible to undo, or to undo wholly. `changed`: when it last removed
    something, as far as that is recorded."""

    run: str
    started: datetime
    changed: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be collected now, in one line, and what to do."""

    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """A garbage collection before it begins. `before`: the storage as it was read then. `predictions`: one, or one for
    each generation of collectors if it is not known which one this is. `final`: the runs, newest first, that become
    final. `refusals`: why it is refused; if there are any, it does not run. `keep_undo` and `assume_read_only` are as
    they were given. `is_running`: the registry answered, whatever it said."""

    command: CollectorCommand
    before: StoredRegistry = field(repr=False)
    predictions: tuple[Prediction, ...]
    final: tuple[FinalRun, ...]
    refusals: tuple[Refusal, ...]
    keep_undo: timedelta
    assume_read_only: bool = False
    is_running: bool = False

    @property
    def size(self) -> int:
        """The bytes that would be freed; of two predictions the larger one."""
        return max(one.size for one in self.predictions)

    @property
    def blobs(self) -> int:
        """How many blobs would be freed; of two predictions the larger number."""
        return max(len(one.swept) for one in self.predictions)

    @property
    def is_exact(self) -> bool:
        """Whether all predictions are the same."""
        return all(one.swept.keys() == self.predictions[0].swept.keys() for one in self.predictions)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a collection did. `freed`: the bytes of each blob that is gone. `kept` was predicted to go and is there,
    `taken` is gone and was to stay, `added` was pushed meanwhile, anew or again. `changed`: tags that came, moved
    or went meanwhile. `broken`: tags that lack something now and did not before, as `repository:tag`, and
    `broken_untagged`: manifests without a tag that came meanwhile and lack something, as `repository@digest`."""

    freed: Mapping[Digest, int]
    kept: Mapping[Digest, int]
    taken: Mapping[Digest, int]
    added: Mapping[Digest, int]
    changed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    broken_untagged: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The bytes that were freed."""
        return sum(self.freed.values())

    @property
    def is_as_predicted(self) -> bool:
        return not (self.kept or self.taken or self.has_pushes or self.broken or self.broken_untagged)

    @property
    def has_pushes(self) -> bool:
        """Whether something was pushed or deleted meanwhile."""
        return bool(self.added or self.changed)


def predicted(stored: StoredRegistry, collector: GarbageCollector) -> Prediction:
    """What `collector` would do in a storage."""
    left = after_collection(stored, collector)
    swept = {digest: size for digest, size in stored.blobs.items() if digest not in left.blobs}
    tags = {name for name, needed in _needs(stored) if not swept.keys().isdisjoint(needed)}
    changed = [name for name, held in stored.repositories.items() if left.repositories[name] is not held]
    tags.update(_newly_lacking(stored, left, changed))
    return Prediction(collector, swept, next(stops_at(stored, collector), ""), tuple(sorted(tags)), left)


def compared(before: StoredRegistry, after: StoredRegistry, predictions: Sequence[Prediction]) -> Comparison:
    """What a collection between `before` and `after` did, next to the prediction that is nearest."""
    freed = {digest: size for digest, size in before.blobs.items() if digest not in after.blobs}
    nearest = min(predictions, key=lambda one: len(one.swept.keys() ^ freed.keys()))
    kept = {digest: size for digest, size in nearest.swept.items() if digest not in freed}
    used = after_collection(after, nearest.collector).blobs.keys() & kept.keys() if kept else frozenset[Digest]()
    return Comparison(
        freed,
        {digest: size for digest, size in kept.items() if digest not in used},
        {digest: size for digest, size in freed.items() if digest not in nearest.swept},
        {digest: size for digest, size in after.blobs.items() if digest in used or digest not in before.blobs},
        tuple(_changed(before, after)),
        tuple(_newly_lacking(before, after, after.repositories)),
        tuple(_new_and_lacking(before, after)),
    )


def tags_on_placeholders(stored: StoredRegistry) -> tuple[str, ...]:
    """The tags that an interrupted run left on a placeholder, as `repository:tag`."""
    placeholders = {digest for digest, manifest in stored.manifests.items() if manifest.is_placeholder}
    return tuple(
        f"{held.repository}:{tag}"
        for held in (stored.repositories.values() if placeholders else ())
        for tag, digest in sorted(held.tags.items())
        if digest in placeholders
    )


def _needs(stored: StoredRegistry) -> Iterator[tuple[str, Set[Digest]]]:
    """For each tag that resolves, everything that it needs and that is here."""
    for held in stored.repositories.values():
        reached = cache(lambda digest, held=held: _reached(stored, held, digest))
        for tag, digest in sorted(held.tags.items()):
            if digest in held.revisions:
                yield f"{held.repository}:{tag}", reached(digest)


def _reached(stored: StoredRegistry, held: StoredRepository, top: Digest) -> frozenset[Digest]:
    """The digests that are pulled with `top`, itself included: it goes into those that the repository has."""
    found, pending = {top}, [top]
    while pending:
        manifest = stored.manifests.get(pending.pop())
        if manifest is None:
            continue
        for digest in (*manifest.references, *manifest.others_find):
            if digest not in found:
                found.add(digest)
                if digest in held.revisions:
                    pending.append(digest)
    return frozenset(found)


def _newly_lacking(before: StoredRegistry, after: StoredRegistry, names: Collection[Repository]) -> Iterator[str]:
    """The tags of some repositories that lack something which they did not lack before."""
    then = _lacking(before, names)
    for name, lacks in _lacking(after, names).items():
        if lacks - then.get(name, frozenset()):
            yield name


def _new_and_lacking(before: StoredRegistry, after: StoredRegistry) -> Iterator[str]:
    """The manifests without a tag that came meanwhile, and lack something."""
    for name, held in after.repositories.items():
        then = before.repositories.get(name)
        new = held.revisions if then is None else held.revisions - then.revisions
        for digest in sorted(new.difference(held.tags.values())):
            if any(_lacks(after, held, digest)):
                yield f"{name}@{digest}"


def _lacking(stored: StoredRegistry, names: Collection[Repository]) -> dict[str, frozenset[Digest]]:
    """For each tag of some repositories what it needs and cannot be pulled; itself, if it resolves to nothing."""
    found = {}
    for held in (stored.repositories[name] for name in names if name in stored.repositories):
        lacking = cache(lambda digest, held=held: frozenset(_lacks(stored, held, digest)))
        for tag, digest in sorted(held.tags.items()):
            found[f"{held.repository}:{tag}"] = lacking(digest)
    return found


def _lacks(stored: StoredRegistry, held: StoredRepository, top: Digest) -> Iterator[Digest]:
    for digest in _reached(stored, held, top):
        manifest = stored.manifests.get(digest) if digest in held.revisions else None
        if manifest is not None:
            yield from missing_blobs(stored, held, manifest)
            yield from (child for child in manifest.children if not _has(stored, held, child))
    if not _has(stored, held, top):
        yield top


def _has(stored: StoredRegistry, held: StoredRepository, manifest: Digest) -> bool:
    """Whether it can be pulled, with data that matches its digest."""
    return manifest in held.revisions and manifest in stored.blobs and manifest in stored.manifests


def _changed(before: StoredRegistry, after: StoredRegistry) -> Iterator[str]:
    then, now = (
        {f"{held.repository}:{tag}": digest for held in one.repositories.values() for tag, digest in held.tags.items()}
        for one in (before, after)
    )
    yield from sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def named(names: Sequence[str]) -> str:
    """At most five of `names`, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return f"{', '.join(names[:_MOST_NAMED])}{f' and {more:,} more' if more > 0 else ''}"


def check_is_whole(stored: StoredRegistry) -> None:
    """Raises RefusedError if something is not known that a collector may find in the storage."""
    unread = [odd for odd in stored.oddities if odd.unread]
    if unread:
        raise RefusedError(
            f"part of the storage cannot be read: {first_of(unread)}; nothing was collected",
            advice="run it as the registry's user",
        )
    if stored.hidden:
        raise RefusedError(
            f"what a collector frees cannot be predicted: {first_of(stored.hidden)}; nothing was collected",
            advice="repair that first; `dregutil doctor --storage PATH` shows all of it",
        )


def first_of(oddities: Sequence[Oddity]) -> str:
    """The first of these places in a storage, with why, and how many more there are."""
    more = f", and {len(oddities) - 1:,} more" if len(oddities) > 1 else ""
    return f"{oddities[0].place}: {oddities[0].why}{more}"
