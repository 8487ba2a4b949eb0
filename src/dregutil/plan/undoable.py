"""What an undo of a run needs and a storage does not have. Pure.

An undo puts manifests back from the record of the run. It needs their blobs, from their own repository or mounted from
one of `others`, and the children of an index that the run left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.plan.outcome import Intent
from dregutil.storage.stored import StoredRegistry, StoredRepository

__all__ = ["lost_to_undo"]

_Intents = Mapping[Repository, Sequence[Intent]]


def lost_to_undo(
    stored: StoredRegistry, left: _Intents, removed: _Intents, others: Mapping[Repository, Sequence[Repository]]
) -> frozenset[Digest]:
    """The digests without which something of `left` cannot be put back. `left` is a part of what the run `removed`.
    `others`, by repository: those from which blobs can be mounted."""
    return frozenset(digest for name in left for digest in _lost(stored, name, left[name], removed, others))


def _lost(
    stored: StoredRegistry,
    name: Repository,
    left: Sequence[Intent],
    removed: _Intents,
    others: Mapping[Repository, Sequence[Repository]],
) -> Iterator[Digest]:
    own = {intent.manifest.digest: intent.manifest for intent in removed.get(name, ())}
    named = dict.fromkeys((name, *others.get(name, ()), *removed))
    holders = [stored.repositories[one] for one in named if one in stored.repositories]
    held = stored.repositories.get(name, StoredRepository(name))
    for manifest in _with_children((intent.manifest for intent in left), own):
        for blob in manifest.blobs:
            is_there = blob.digest in stored.blobs and any(blob.digest in one.layers for one in holders)
            if not is_there and not blob.urls:
                yield blob.digest
        for child in manifest.children:
            if child.digest not in own:
                yield from _missing(stored, held, child.digest)


def _with_children(manifests: Iterator[Manifest], own: Mapping[Digest, Manifest]) -> Iterator[Manifest]:
    """The manifests, and of their children at any depth those that the run removed, each once."""
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
