"""What refers to what in one repository, and what still needs a digest.

A registry deletes per repository, so a graph covers one repository. It is frozen: it has what was read, nothing more.
`settle` is the rule by which a plan is made and checked again: what stays keeps its parts, such as an index its
children. If something could not be read, `unjudgeable` says what, and nothing may be deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property

from dregutil.oci.manifest import Kind, Manifest
from dregutil.oci.names import Digest, Repository, SignatureTag, Tag, parse_accessory_tag, parse_signature_tag
from dregutil.oci.placeholder import LEFT_BEHIND, is_placeholder

__all__ = ["RepositoryGraph", "settle"]

_FALLBACK_HEX = 64  # the fallback tag of a longer digest is cut to this (OCI distribution-spec, "Referrers Tag Schema")


@dataclass(frozen=True)
class RepositoryGraph:
    """One repository as it was read.

    `tags`: every tag that resolves. `manifests`: those that were read: all indexes that a tag or the records name,
    nested ones included, and everything that a removal may delete. `referrers`: for each subject the digests that the
    referrers API lists. `absent`: digests that were requested and do not exist. `dangling`: tags that are listed and
    resolve to nothing. `unjudgeable`: why nothing may be decided about this repository, or empty. `presumed`: for
    dangling tags, the digest that they had when they were last read, if it exists. `missing_blobs`: configs and layers
    that were requested and do not exist; `blob_sizes`: the bytes of those that do, as the registry reports them.
    """

    repository: Repository
    tags: Mapping[Tag, Digest] = field(default_factory=dict)
    manifests: Mapping[Digest, Manifest] = field(default_factory=dict)
    referrers: Mapping[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    absent: frozenset[Digest] = frozenset()
    dangling: frozenset[Tag] = frozenset()
    unjudgeable: str = ""
    presumed: Mapping[Tag, Digest] = field(default_factory=dict)
    missing_blobs: frozenset[Digest] = frozenset()
    blob_sizes: Mapping[Digest, int] = field(default_factory=dict)

    @cached_property
    def tags_of(self) -> Mapping[Digest, tuple[Tag, ...]]:
        """The tags of each tagged digest, sorted."""
        found: dict[Digest, list[Tag]] = defaultdict(list)
        for tag, digest in self.tags.items():
            found[digest].append(tag)
        return {digest: tuple(sorted(tags)) for digest, tags in found.items()}

    @cached_property
    def parents(self) -> Mapping[Digest, tuple[Digest, ...]]:
        """The manifests that contain each manifest: an index its child, or an image a layer that is also a manifest."""
        found: dict[Digest, list[Digest]] = defaultdict(list)
        for digest, manifest in self.manifests.items():
            for child in manifest.children:
                found[child.digest].append(digest)
            for blob in manifest.blobs:
                if blob.digest in self.manifests:
                    found[blob.digest].append(digest)
        return {child: tuple(dict.fromkeys(parents)) for child, parents in found.items()}

    def tags_on(self, digest: Digest, tags: Iterable[Tag]) -> frozenset[Tag]:
        """Those of `tags` that are on `digest`, or were before they became dangling."""
        return frozenset(tag for tag in tags if digest in (self.tags.get(tag), self.presumed.get(tag)))

    @cached_property
    def presumed_on(self) -> Mapping[Digest, tuple[Tag, ...]]:
        """For each digest, the dangling tags that were on it when they were last read, sorted."""
        found: dict[Digest, list[Tag]] = defaultdict(list)
        for tag, digest in self.presumed.items():
            found[digest].append(tag)
        return {digest: tuple(sorted(tags)) for digest, tags in found.items()}

    def signature(self, tag: Tag) -> SignatureTag | None:
        """The subject in a tag's name. With an unknown suffix, only if the tag's manifest was read and is not an image
        that can run."""
        found = parse_signature_tag(tag)
        if found is not None or tag not in self.tags:
            return found
        manifest = self.manifests.get(self.tags[tag])
        return None if manifest is None or manifest.is_runnable else parse_accessory_tag(tag)

    @cached_property
    def _named(self) -> Mapping[tuple[str, str], tuple[Tag, ...]]:
        found: dict[tuple[str, str], list[Tag]] = defaultdict(list)
        for tag in self.tags:
            signature = parse_accessory_tag(tag)
            if signature is not None:
                found[signature.algorithm, signature.hex].append(tag)
        return {key: tuple(sorted(tags)) for key, tags in found.items()}

    @cached_property
    def _by_prefix(self) -> Mapping[tuple[str, str], tuple[Digest, ...]]:
        found: dict[tuple[str, str], list[Digest]] = defaultdict(list)
        for digest in self.manifests:
            found[digest.algorithm, digest.hex[:_FALLBACK_HEX]].append(digest)
        return {key: tuple(digests) for key, digests in found.items()}

    def named_subjects(self, tag: Tag) -> tuple[Digest, ...]:
        """The digests, of those that were read, that are the subject in a signature tag's name."""
        signature = self.signature(tag)
        if signature is None:
            return ()
        near = self._by_prefix.get((signature.algorithm, signature.hex[:_FALLBACK_HEX]), ())
        return tuple(digest for digest in near if signature.names(digest))

    def signature_tags_of(self, subject: Digest) -> tuple[Tag, ...]:
        """The signature tags with `subject` in their name (the fallback tag of a sha512 is truncated to 64 digits).

        A tag that resolves to the subject itself is left out.
        """
        return tuple(tag for tag in self.tags_named_for(subject) if self.signature(tag) is not None)

    def tags_named_for(self, subject: Digest) -> tuple[Tag, ...]:
        """As `signature_tags_of`, with any suffix, also on an image that can run or that was not read."""
        if not self._named:
            return ()
        keys = dict.fromkeys(((subject.algorithm, subject.hex), (subject.algorithm, subject.hex[:_FALLBACK_HEX])))
        return tuple(tag for key in keys for tag in self._named.get(key, ()) if self.tags.get(tag) != subject)

    def referrers_of(self, subject: Digest) -> tuple[Digest, ...]:
        """What belongs to `subject`: by the referrers API, the fallback tag and cosign's tags.

        An entry counts only if its manifest was read and, if it comes from a list, has this subject.
        """
        signatures = self.signature_tags_of(subject)
        found = dict.fromkeys(self.tags[tag] for tag in signatures)
        listed = dict.fromkeys(self.referrers.get(subject, ()))
        for tag in signatures:
            signature = self.signature(tag)
            fallback = self.manifests.get(self.tags[tag])
            if signature is not None and not signature.suffix and fallback is not None:
                listed.update(dict.fromkeys(child.digest for child in fallback.children))
        for digest in listed:
            manifest = self.manifests.get(digest)
            if manifest is not None and manifest.subject is not None and manifest.subject.digest == subject:
                found[digest] = None
        return tuple(found)

    def tagged_referrer(self, top: Digest) -> Tag | None:
        """A tag on something that refers, directly or not, to `top` or to what would go with it: clients that pull the
        tag may request what it refers to. Signature tags of these do not count."""
        inside, pending = {top}, [top]
        while pending:
            digest = pending.pop()
            manifest = self.manifests.get(digest)
            children = () if manifest is None else (child.digest for child in manifest.children)
            new = {*children, *self.referrers_of(digest)} - inside
            inside |= new
            pending += new
        pending = [referrer for digest in sorted(inside) for referrer in self.referrers_of(digest)]
        seen = set(pending)
        while pending:
            digest = pending.pop()
            for tag in self.tags_of.get(digest, ()):
                signature = self.signature(tag)
                if signature is None or not any(signature.names(subject) for subject in inside):
                    return tag
            above = {*self.parents.get(digest, ()), *self.referrers_of(digest)} - seen
            seen |= above
            pending += above
        return None

    def subjects_of(self, digest: Digest) -> tuple[Digest, ...]:
        """The subject of a manifest, unless it is known not to exist."""
        manifest = self.manifests.get(digest)
        if manifest is None or manifest.subject is None or manifest.subject.digest in self.absent:
            return ()
        return (manifest.subject.digest,)

    def has_missing(self, index: Digest) -> bool:
        """Whether something within an index does not exist, at whatever depth."""
        seen, pending = {index}, [index]
        while pending:
            manifest = self.manifests.get(pending.pop())
            children = {child.digest for child in (() if manifest is None else manifest.children)} - seen
            if not children.isdisjoint(self.absent):
                return True
            seen |= children
            pending += children
        return False


def settle(
    graph: RepositoryGraph,
    going: Collection[Digest],
    doomed_tags: Set[Tag],
    *,
    allow_irreversible: bool,
    named: Set[Digest] = frozenset(),
    on_hold: Mapping[Digest, str] | None = None,
) -> tuple[frozenset[Digest], Mapping[Digest, str]]:
    """Which of `going` may be deleted, and for each of the others the reason why it stays.

    The largest set without what is `on_hold`, in which nothing is needed by anything outside of it: by a tag that is
    not in `doomed_tags`, an index that stays, or a subject that stays. A digest that stays may need others, so this
    takes several rounds. What was `named` itself may go although its subject stays: a subject does not need what refers
    to it.
    """
    on_hold = on_hold or {}
    held = {digest: on_hold[digest] for digest in going if digest in on_hold}
    left = dict.fromkeys(digest for digest in going if digest not in held)
    pending = list(left)
    while pending:
        stopped = []
        for digest in pending:
            reason = _reason_to_stay(graph, digest, left.keys(), doomed_tags, is_named=digest in named)
            if not reason and not allow_irreversible:
                reason = _irreversible(graph, graph.manifests[digest], left.keys())
            if reason:
                stopped.append(digest)
                held[digest] = reason
        for digest in stopped:
            del left[digest]
        pending = [digest for digest in left if _depends_on_any(graph, digest, stopped)] if stopped else []
    return frozenset(left), held


def _depends_on_any(graph: RepositoryGraph, digest: Digest, stopped: list[Digest]) -> bool:
    named = (subject for tag in graph.tags_of.get(digest, ()) for subject in graph.named_subjects(tag))
    near = {*graph.parents.get(digest, ()), *graph.subjects_of(digest), *named}
    return any(other in near for other in stopped)


def _reason_to_stay(
    graph: RepositoryGraph,
    digest: Digest,
    going: Set[Digest],
    doomed_tags: Set[Tag],
    *,
    is_named: bool,
) -> str:
    manifest = graph.manifests.get(digest)
    if manifest is None:
        return "its manifest could not be read"
    if is_placeholder(manifest):
        return LEFT_BEHIND
    for tag in graph.tags_of.get(digest, ()):
        if tag not in doomed_tags and not _goes_with_its_subject(graph, tag, going):
            return f"also '{tag}'"
    for tag in graph.presumed_on.get(digest, ()):
        if tag not in doomed_tags:
            return f"held by '{tag}', which was on it, is listed, and is not there (404)"
    for parent in graph.parents.get(digest, ()):
        if parent not in going:
            what = "index" if graph.manifests[parent].kind is Kind.INDEX else "manifest"
            return f"part of the {what} {parent.short}, which stays"
    for subject in () if is_named else graph.subjects_of(digest):
        if subject not in going:
            return f"refers to {subject.short}, which stays"
    return ""


def _irreversible(graph: RepositoryGraph, manifest: Manifest, going: Set[Digest]) -> str:
    """Why a manifest may only be deleted with `--allow-irreversible`; empty if it could be restored."""
    why = _not_restorable(graph, manifest, going)
    return f"{why} (--allow-irreversible removes it)" if why else ""


def _not_restorable(graph: RepositoryGraph, manifest: Manifest, going: Set[Digest]) -> str:
    above_it = graph.parents.get(manifest.digest, ())
    if manifest.is_ambiguous:
        return "its JSON has a key twice or in another case, so programs disagree on what it holds"
    if manifest.kind is Kind.SCHEMA1:
        return "a schema 1 image could not be put back"
    if any(blob.digest in graph.missing_blobs for blob in manifest.blobs):
        return "its config or a layer is missing, so it could not be put back"
    if any(manifest.digest in (blob.digest for blob in graph.manifests[above].blobs) for above in above_it):
        return "it is a layer too, and what has that layer could not be put back"
    if graph.has_missing(manifest.digest) and not _lists_what_goes(graph, manifest.digest, going):
        return "a child of this index is missing, so it could not be put back"
    return ""


def _lists_what_goes(graph: RepositoryGraph, digest: Digest, going: Set[Digest]) -> bool:
    """Whether an index is only the list of referrers of something that goes, and so is of no use without it."""
    tags = graph.tags_of.get(digest, ())
    are_lists = all((signature := parse_signature_tag(tag)) is not None and not signature.suffix for tag in tags)
    return bool(tags) and are_lists and all(_goes_with_its_subject(graph, tag, going) for tag in tags)


def _goes_with_its_subject(graph: RepositoryGraph, tag: Tag, going: Set[Digest]) -> bool:
    return any(subject in going and graph.tags[tag] != subject for subject in graph.named_subjects(tag))
