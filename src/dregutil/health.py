"""What is broken in a registry, and what lies about: findings, and how they are made from its storage. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from dregutil.collector import Collector, Generation, Marks, mark, marked_repositories, stops_at
from dregutil.placeholder import LEFT_BEHIND
from dregutil.reference import Digest, Tag, parse_signature_tag
from dregutil.stored import StoredRegistry, StoredRepository, Upload

__all__ = ["Finding", "Flaw", "Waste", "examine_storage", "named_subject", "wasted"]

STALE_AFTER = timedelta(days=7)  # as the registry's own purging of uploads has it (storage.maintenance.uploadpurging)


class Flaw(enum.Enum):
    """Something that is broken."""

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
    """One broken thing: in which repository, and what of it, for a person."""

    flaw: Flaw
    repository: str
    what: str


@dataclass(frozen=True, slots=True)
class Waste:
    """What no tag needs: the manifests that no tag leads to, and the bytes that only they hold; blobs that the next
    garbage collection frees anyway; uploads that were begun over a week ago (or nobody knows when) and never ended."""

    untagged: int = 0
    untagged_bytes: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    uploads: int = 0
    upload_bytes: int = 0


def named_subject(tag: Tag) -> Digest | None:
    """The digest that a signature tag speaks of, where its name says it whole."""
    signature = parse_signature_tag(tag)
    if signature is None or len(signature.hex) != {"sha256": 64, "sha384": 96, "sha512": 128}[signature.algorithm]:
        return None
    return Digest(f"{signature.algorithm}:{signature.hex}")


def examine_storage(stored: StoredRegistry) -> Iterator[Finding]:
    """Everything broken that a storage shows. What is damaged in it is an oddity, and not among these."""
    for held in stored.repositories.values():
        yield from (
            Finding(Flaw.LEFT_BEHIND, held.repository, f"{tag}: {LEFT_BEHIND}")
            for tag, digest in sorted(held.tags.items())
            if (manifest := stored.manifests.get(digest)) is not None and manifest.is_placeholder
        )
        present = {digest for digest in held.revisions if digest in stored.blobs}
        yield from _tags(held, present)
        yield from _manifests(stored, held, present)
        if not held.has_layers and present:
            yield Finding(
                Flaw.COLLECTOR, held.repository, "has no folder of layers: the collector of 2.8 sweeps what it holds"
            )
    for where in stops_at(stored, Collector(Generation.V2)):
        yield Finding(Flaw.COLLECTOR, "", f"stops with an error, and frees nothing, at {where}")


def wasted(stored: StoredRegistry, now: datetime) -> Waste:
    """What lies about in a storage."""
    repositories = marked_repositories(stored, Collector(Generation.V2))
    marks = Marks(repositories, Collector(Generation.V2))
    orphans = stored.blobs.keys() - mark(repositories, Collector(Generation.V2))
    untagged = [
        (held.repository, digest) for held in stored.repositories.values() for digest in _unreached(stored, held)
    ]
    freed = {blob for repository, digest in untagged for blob in marks.delete(repository, digest)}
    stale = [upload for held in stored.repositories.values() for upload in held.uploads if _is_stale(upload, now)]
    return Waste(
        len(untagged),
        stored.size_of(freed),
        len(orphans),
        stored.size_of(orphans),
        len(stale),
        sum(upload.size for upload in stale),
    )


def _tags(held: StoredRepository, present: Set[Digest]) -> Iterator[Finding]:
    for tag, digest in sorted(held.tags.items()):
        if digest not in present:
            yield Finding(Flaw.DANGLING_TAG, held.repository, f"{tag} points to {digest.short}, which is not there")
            continue
        subject = named_subject(tag)
        if subject is not None and subject not in present:
            yield Finding(Flaw.ORPHANED_SIGNATURE, held.repository, f"{tag}: {subject.short} is not there")


def _manifests(stored: StoredRegistry, held: StoredRepository, present: Set[Digest]) -> Iterator[Finding]:
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
        if subject is not None and subject not in present and not signs:
            yield Finding(Flaw.ORPHANED_REFERRER, held.repository, f"{name} refers to {subject.short}, not there")
        for child in manifest.children:
            if child not in present:
                yield Finding(Flaw.MISSING_CHILD, held.repository, f"{name} lacks {child.short}")
        for blob in () if manifest.children else manifest.references:
            if blob in manifest.elsewhere:
                continue
            if blob not in stored.blobs:
                yield Finding(Flaw.MISSING_BLOB, held.repository, f"{name} lacks {blob.short}")
            elif held.has_layers and blob not in held.layers:
                yield Finding(Flaw.MISSING_BLOB, held.repository, f"{name}: {blob.short} is not linked, so not pulled")


def _unreached(stored: StoredRegistry, held: StoredRepository) -> Iterable[Digest]:
    """The manifests to which no tag leads: not themselves, not through an index, not as what refers to such a one."""
    referrers: dict[Digest, list[Digest]] = {}
    for digest in held.revisions:
        manifest = stored.manifests.get(digest)
        if manifest is not None and manifest.subject is not None:
            referrers.setdefault(manifest.subject, []).append(digest)
    pending = list(held.tags.values())
    reached = set(pending)
    while pending:
        digest = pending.pop()
        manifest = stored.manifests.get(digest)
        near = [*(manifest.children if manifest is not None else ()), *referrers.get(digest, ())]
        pending += [other for other in near if other not in reached]
        reached.update(near)
    return sorted(digest for digest in held.revisions - reached if digest in stored.blobs)


def _is_stale(upload: Upload, now: datetime) -> bool:
    return upload.started is None or now - upload.started > STALE_AFTER
