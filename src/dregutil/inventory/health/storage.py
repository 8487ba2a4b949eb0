"""What is broken in a registry, by its storage. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass

from dregutil.inventory.stored_graph import missing_blobs
from dregutil.oci.names import Digest, Tag, parse_signature_tag
from dregutil.oci.placeholder import LEFT_BEHIND
from dregutil.storage.garbage_collector import GarbageCollector, Generation, stops_at
from dregutil.storage.stored import StoredManifest, StoredRegistry, StoredRepository

__all__ = ["Finding", "Flaw", "examine_storage", "named_subject"]


class Flaw(enum.Enum):
    """A kind of damage."""

    MISSING_CHILD = "missing child"
    DANGLING_TAG = "dangling tag"
    ORPHANED_REFERRER = "orphaned referrer"
    ORPHANED_SIGNATURE = "orphaned signature"
    UNREADABLE = "unreadable"
    LEFT_BEHIND = "interrupted run"
    MISSING_BLOB = "missing blob"
    COLLECTOR = "garbage collector"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something broken, and its repository. `what` is for people."""

    flaw: Flaw
    repository: str
    what: str


def named_subject(tag: Tag) -> Digest | None:
    """The digest that the name of a signature tag contains, if it is complete."""
    signature = parse_signature_tag(tag)
    if signature is None or len(signature.hex) != {"sha256": 64, "sha384": 96, "sha512": 128}[signature.algorithm]:
        return None
    return Digest(f"{signature.algorithm}:{signature.hex}")


def examine_storage(stored: StoredRegistry) -> Iterator[Finding]:
    """Everything broken that the storage shows. Damage in the storage itself is an oddity, and not among these. Nothing
    counts as missing that could not be read."""
    for held in stored.repositories.values():
        yield from (
            Finding(Flaw.LEFT_BEHIND, held.repository, f"{tag}: {LEFT_BEHIND}")
            for tag, digest in sorted(held.tags.items())
            if (manifest := stored.manifests.get(digest)) is not None and manifest.is_placeholder
        )
        present = {digest for digest in held.revisions if digest in stored.blobs}

        def lacks(digest: Digest, held: StoredRepository = held, present: Set[Digest] = present) -> bool:
            return stored.is_listed and digest not in present | held.unread and digest not in stored.unread

        yield from _tags(stored, held, lacks)
        yield from _manifests(stored, held, lacks)
        if not held.has_layers and present and stored.is_listed:
            yield Finding(
                Flaw.COLLECTOR, held.repository, "has no folder of layers: the collector of 2.8 sweeps its blobs"
            )
    for where in stops_at(stored, GarbageCollector(Generation.V2)):
        yield Finding(Flaw.COLLECTOR, "", f"stops with an error, and frees nothing, at {where}")


_Lacks = Callable[[Digest], bool]


def _tags(stored: StoredRegistry, held: StoredRepository, lacks: _Lacks) -> Iterator[Finding]:
    for tag, digest in sorted(held.tags.items()):
        if lacks(digest):
            yield Finding(Flaw.DANGLING_TAG, held.repository, f"{tag} names {digest.short}, which is not there")
            continue
        subject = named_subject(tag)
        if subject is not None and lacks(subject) and subject not in stored.manifests:
            yield Finding(Flaw.ORPHANED_SIGNATURE, held.repository, f"{tag}: {subject.short} is not there")


def _manifests(stored: StoredRegistry, held: StoredRepository, lacks: _Lacks) -> Iterator[Finding]:
    tags_of: dict[Digest, list[Tag]] = {}
    for tag, digest in sorted(held.tags.items()):
        tags_of.setdefault(digest, []).append(tag)
    for digest in sorted(held.revisions):
        manifest = stored.manifests.get(digest)
        if manifest is None:
            continue
        name = f"{digest.short} ({', '.join(tags_of.get(digest, ['untagged']))})"
        subject = manifest.subject
        signs = any(named_subject(tag) == subject for tag in tags_of.get(digest, ()))
        # A referrer may be in another repository than its subject (cosign's COSIGN_REPOSITORY).
        if subject is not None and lacks(subject) and subject not in stored.manifests and not signs:
            what = f"{name} refers to {subject.short}, which is not there"
            yield Finding(Flaw.ORPHANED_REFERRER, held.repository, what)
        for child in manifest.children:
            if lacks(child):
                yield Finding(Flaw.MISSING_CHILD, held.repository, f"{name} lacks {child.short}")
        yield from _blobs(stored, held, manifest, name)


def _blobs(stored: StoredRegistry, held: StoredRepository, manifest: StoredManifest, name: str) -> Iterator[Finding]:
    for blob in missing_blobs(stored, held, manifest):
        if blob not in stored.blobs:
            yield Finding(Flaw.MISSING_BLOB, held.repository, f"{name} lacks {blob.short}")
        elif held.has_layers:
            yield Finding(Flaw.MISSING_BLOB, held.repository, f"{name}: {blob.short} is not linked, so no pull gets it")
