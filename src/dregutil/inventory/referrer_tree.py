"""Registry → what refers to an image and to its children, what refers to that, and so on: by the referrers API, and by
tags that are named for a digest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag, parse_signature_tag
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["DEEPEST_REFERRER", "MOST_CHILDREN", "MOST_REFERRERS", "Referrer", "ReferrerTree"]

DEEPEST_REFERRER = 8
MOST_CHILDREN = 100
MOST_REFERRERS = 1000


@dataclass(frozen=True, slots=True)
class Referrer:
    """What refers to an image: its artifact's type, the tag that is named for the image, if one led to it, and what
    refers to it in turn. A digest that refers to several appears once."""

    digest: Digest
    type: str
    tag: str = ""
    referrers: tuple[Referrer, ...] = ()


@dataclass(slots=True)
class _Node:
    digest: Digest
    type: str = ""
    tag: str = ""
    below: list[_Node] = field(default_factory=list)

    def referrers(self) -> tuple[Referrer, ...]:
        return tuple(Referrer(node.digest, node.type, node.tag, node.referrers()) for node in self.below)


class ReferrerTree:
    """The referrers of an image and of its children, as far as they were read. `limit` says why some were not; empty if
    all were."""

    def __init__(
        self,
        registry: Registry,
        repository: Repository,
        subject: Digest,
        tags: Iterable[Tag],
        children: Iterable[Digest] = (),
    ) -> None:
        """`tags`: those of the repository. Of `children` at most 100 are looked at."""
        self.limit = ""
        self._registry = registry
        self._repository = repository
        self._top = _Node(subject)
        below = [child for child in dict.fromkeys(children) if child != subject]
        if len(below) > MOST_CHILDREN:
            self.limit = f"only the referrers of the first {MOST_CHILDREN:,} children are read"
        self._children = [_Node(child) for child in below[:MOST_CHILDREN]]
        self._seen = {subject, *below}
        self._most = MOST_REFERRERS + len(self._seen)
        self._named: dict[str, list[Tag]] = defaultdict(list)
        for tag in tags:
            signature = parse_signature_tag(tag)
            if signature is not None:
                self._named[signature.hex[:_KEY]].append(tag)

    @property
    def referrers(self) -> tuple[Referrer, ...]:
        return self._top.referrers()

    @property
    def children(self) -> Mapping[Digest, tuple[Referrer, ...]]:
        """The referrers of each child that has any."""
        return {node.digest: node.referrers() for node in self._children if node.below}

    async def read(self) -> None:
        """Read level by level. Raises DregutilError; what was read before that is kept."""
        level = [self._top, *self._children]
        for _ in range(DEEPEST_REFERRER):
            await for_each(level, self._expand)
            level = [below for node in level for below in node.below]
            if not level:
                return
        self.limit = self.limit or f"referrers deeper than {DEEPEST_REFERRER} levels are not read"

    async def _expand(self, node: _Node) -> None:
        for tag in self._named.get(node.digest.hex[:_KEY], ()):
            signature = parse_signature_tag(tag)
            if signature is not None and signature.names(node.digest):
                await self._add_tagged(node, tag)
        listed = await self._registry.referrers(self._repository, node.digest) or ()
        await self._add_referring(node, [descriptor.digest for descriptor in listed])

    async def _add_tagged(self, node: _Node, tag: Tag) -> None:
        """What a tag named for the subject stands for; the fallback tag (without a suffix) is a list of referrers."""
        found = await self._registry.manifest(self._repository, tag)
        if found is None or found.digest == node.digest:
            return
        if found.children:
            await self._add_referring(node, [child.digest for child in found.children])
        else:
            self._add(node, _Node(found.digest, _type(found), tag))

    async def _add_referring(self, node: _Node, digests: Collection[Digest]) -> None:
        """Add those of `digests` that name the subject themselves."""
        found: list[_Node] = []

        async def read(digest: Digest) -> None:
            manifest = await self._registry.manifest(self._repository, digest)
            if manifest is not None and manifest.subject is not None and manifest.subject.digest == node.digest:
                found.append(_Node(digest, _type(manifest)))

        await for_each(self._within_limit([digest for digest in digests if digest not in self._seen]), read)
        for one in sorted(found, key=lambda one: one.digest):
            self._add(node, one)

    def _within_limit(self, digests: Sequence[Digest]) -> Sequence[Digest]:
        room = max(0, self._most - len(self._seen))
        if len(digests) > room:
            self.limit = f"only the first {MOST_REFERRERS:,} referrers are read"
        return digests[:room]

    def _add(self, node: _Node, one: _Node) -> None:
        if one.digest not in self._seen and self._within_limit([one.digest]):
            self._seen.add(one.digest)
            node.below.append(one)


_KEY = 32
"""So many hexadecimal digits of a subject are the key of the tags named for it."""


def _type(manifest: Manifest) -> str:
    return manifest.artifact_type or ("" if manifest.config is None else manifest.config.media_type)
