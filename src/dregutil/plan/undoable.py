"""What an undo of a run needs and a storage does not have. Pure.

An undo puts manifests back from the record of the run. It needs their blobs, from their own repository or mounted from
another one, and the children of an index that the run left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.plan.outcome import Intent
from dregutil.storage.stored import StoredRegistry, StoredRepository

__all__ = ["Undoable", "lost_to_undo"]

_Intents = Mapping[Repository, Sequence[Intent]]


@dataclass(frozen=True, slots=True)
class Undoable:
    """A run that may be undone: what it `removed`, and what of that is `left` to put back. `others`, by repository:
    those from which blobs can be mounted."""

    removed: _Intents
    left: _Intents
    others: Mapping[Repository, Sequence[Repository]]

    def children_of_others(self) -> Iterator[tuple[Repository, Digest]]:
        """The children of its indexes that it did not remove."""
        for name, intents in self.removed.items():
            own = {intent.manifest.digest for intent in intents}
            for intent in intents:
                yield from ((name, one.digest) for one in intent.manifest.children if one.digest not in own)


def lost_to_undo(
    stored: StoredRegistry, run: Undoable, recorded: Mapping[tuple[Repository, Digest], Manifest]
) -> frozenset[Digest]:
    """The digests without which something of a run cannot be put back. `recorded`: children of its indexes that other
    runs removed, whose undo brings them back first."""
    return frozenset(digest for name in run.left for digest in _lost(stored, name, run, recorded))


def _lost(
    stored: StoredRegistry, name: Repository, run: Undoable, recorded: Mapping[tuple[Repository, Digest], Manifest]
) -> Iterator[Digest]:
    own = {digest: manifest for (repository, digest), manifest in recorded.items() if repository == name}
    own.update((intent.manifest.digest, intent.manifest) for intent in run.removed.get(name, ()))
    named = dict.fromkeys((name, *run.others.get(name, ()), *run.removed))
    holders = [stored.repositories[one] for one in named if one in stored.repositories]
    held = stored.repositories.get(name, StoredRepository(name))
    for manifest in _with_children((intent.manifest for intent in run.left[name]), own):
        for blob in manifest.blobs:
            is_there = blob.digest in stored.blobs and any(blob.digest in one.layers for one in holders)
            if not is_there and not blob.urls:
                yield blob.digest
        for child in manifest.children:
            if child.digest not in own:
                yield from _missing(stored, held, child.digest)


def _with_children(manifests: Iterator[Manifest], own: Mapping[Digest, Manifest]) -> Iterator[Manifest]:
    """The manifests, and of their children at any depth those that are `own`, each once."""
    pending = {manifest.digest: manifest for manifest in manifests}
    seen: set[Digest] = set()
    while pending:
        digest, manifest = pending.popitem()
        seen.add(digest)
        yield manifest
        pending.update((child.digest, own[child.digest]) for child in manifest.children if child.digest in own)
        pending = {digest: manifest for digest, manifest in pending.items() if digest not in seen}


def _missing(stored: StoredRegistry, held: StoredRepository, child: Digest) -> Iterator[Digest]:
    """What is missing of a manifest that the run left alone, itself or at any depth below it."""
    pending, seen = [child], {child}
    while pending:
        digest = pending.pop()
        if digest not in held.revisions or digest not in stored.blobs:
            yield digest
            continue
        manifest = stored.manifests.get(digest)
        below = [] if manifest is None else [one for one in manifest.children if one not in seen]
        seen.update(below)
        pending += below
