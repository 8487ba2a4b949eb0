"""Manifests that no tag names, and which of them may be selected. Pure.

A child belongs to its index, a referrer to its subject: these are never selected themselves. The others are *roots*:
they were pushed by digest alone, or have lost their last tag.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Kind
from dregutil.oci.names import Digest, Repository, parse_signature_tag
from dregutil.storage.stored import StoredManifest, StoredRegistry, StoredRepository

__all__ = ["Untagged", "UntaggedManifests", "untagged_in_graph", "untagged_in_storage", "untagged_indexes"]


@dataclass(frozen=True, slots=True)
class Untagged:
    """The manifests without a tag in a repository.

    `roots`: those that belong to no other manifest, and since when they are there without a tag, if known. `indexes`:
    the indexes, which hold their children even if nothing is selected. `unjudgeable`: why nothing may be selected, or
    empty.
    """

    repository: Repository
    roots: Mapping[Digest, datetime | None] = field(default_factory=dict)
    indexes: frozenset[Digest] = frozenset()
    unjudgeable: str = ""


@dataclass(frozen=True, slots=True)
class UntaggedManifests:
    """The manifests without a tag, by repository. `left_out`: where nothing may be selected, and why."""

    found: Mapping[Repository, Untagged] = field(default_factory=dict)

    @property
    def left_out(self) -> Mapping[Repository, str]:
        return {name: one.unjudgeable for name, one in self.found.items() if one.unjudgeable}

    def roots(self, repository: Repository) -> Mapping[Digest, datetime | None]:
        """The roots of a repository, and since when each is there without a tag."""
        return self.found.get(repository, Untagged(repository)).roots


def untagged_in_storage(stored: StoredRegistry, held: StoredRepository, tagged: Collection[Digest]) -> Untagged:
    """By the storage of a registry. `tagged`: the digests that tags name now, by the registry's API."""
    if stored.hidden:
        first = stored.hidden[0]
        return Untagged(
            held.repository, unjudgeable=f"not all of the storage could be read: {first.place}: {first.why}"
        )
    present = {digest: stored.manifests[digest] for digest in held.revisions if digest in stored.manifests}
    strange = next((manifest for manifest in present.values() if manifest.kind is Kind.UNKNOWN), None)
    if strange is not None:
        what = strange.media_type or "(none)"
        why = f"{strange.digest.short} has the media type {what!r}, which may hold anything"
        return Untagged(held.repository, unjudgeable=why)
    named = {*held.tags.values(), *tagged}
    belonging = {child for manifest in present.values() for child in manifest.children}
    referring = (present[digest].subject for digest in _reached(held, present) if digest in present)
    belonging |= _above({subject for subject in referring if subject is not None}, present)
    roots = (
        digest
        for digest, manifest in present.items()
        if digest not in named and digest not in belonging and manifest.subject not in stored.manifests
    )
    return Untagged(held.repository, dict.fromkeys(sorted(roots)), untagged_indexes(stored, held))


def untagged_indexes(stored: StoredRegistry, held: StoredRepository) -> frozenset[Digest]:
    """The indexes of a repository that no tag names."""
    named = set(held.tags.values())
    untagged = (stored.manifests[digest] for digest in held.revisions - named if digest in stored.manifests)
    return frozenset(manifest.digest for manifest in untagged if manifest.kind is Kind.INDEX)


def untagged_in_graph(graph: RepositoryGraph, known: Mapping[Digest, datetime]) -> Untagged:
    """By a live graph, which has only what was read for it: those of the digests in `known`, each with since when it
    is there without a tag."""
    if graph.unjudgeable:
        return Untagged(graph.repository, unjudgeable=graph.unjudgeable)
    untagged = [digest for digest in sorted(known) if digest in graph.manifests and digest not in graph.tags_of]
    return Untagged(
        graph.repository,
        {digest: known[digest] for digest in untagged if _stands_alone(graph, digest)},
        frozenset(digest for digest in untagged if graph.manifests[digest].kind is Kind.INDEX),
    )


def _stands_alone(graph: RepositoryGraph, digest: Digest) -> bool:
    belongs = graph.parents.get(digest) or graph.subjects_of(digest)
    return not belongs and graph.tagged_referrer(digest) is None


def _above(digests: Set[Digest], present: Mapping[Digest, StoredManifest]) -> Set[Digest]:
    """`digests`, and all that would take them along: the indexes above them, and what they refer to."""
    found = set(digests)
    new = found
    while new:
        subjects = {present[digest].subject for digest in new if digest in present}
        new = {digest for digest, manifest in present.items() if not new.isdisjoint(manifest.children)}
        new |= {subject for subject in subjects if subject is not None}
        new -= found
        found |= new
    return found


def _reached(held: StoredRepository, present: Mapping[Digest, StoredManifest]) -> Set[Digest]:
    """What tags reach: the children of an index, and the subject of a referrer. A signature tag reaches nothing as long
    as no other tag reaches the digest in its name."""
    signatures = {tag: signature for tag in held.tags if (signature := parse_signature_tag(tag)) is not None}
    about = {tag: {digest for digest in present if signatures[tag].names(digest)} for tag in signatures}
    pending = [digest for tag, digest in held.tags.items() if not about.get(tag)]
    found = set(pending)
    while pending:
        manifest = present.get(pending.pop())
        near = set() if manifest is None else {*manifest.children, *filter(None, (manifest.subject,))}
        pending += near - found
        found |= near
        if not pending:
            pending = [held.tags[tag] for tag, named in about.items() if not found.isdisjoint(named)]
            pending = [digest for digest in pending if digest not in found]
            found.update(pending)
    return found
