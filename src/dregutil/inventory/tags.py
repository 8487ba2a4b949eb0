"""The tags of a registry, as they were read: repository → tag → digest. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from struct import iter_unpack

from dregutil.inventory.packed_tags import KEY, PackedTags
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["Inventory"]


class Inventory:
    """Tags as they were read. Repositories without tags are not in it.

    Packed per repository: ten million tags in 100,000 repositories take about 570 MB. What concerns one repository is
    fast, a search for a digest passes over all of them: `holders` of many digests at once take one pass.
    """

    def __init__(self, tags: Mapping[Repository, Mapping[Tag, Digest]] | None = None) -> None:
        self._tags: dict[Repository, PackedTags] = {}
        for repository, found in (tags or {}).items():
            self.replace(repository, found)

    @property
    def repositories(self) -> list[Repository]:
        """The repositories that have tags, sorted."""
        return sorted(self._tags)

    @property
    def tag_count(self) -> int:
        return sum(map(len, self._tags.values()))

    @property
    def digest_count(self) -> int:
        parts = [bytearray() for _ in range(256)]  # by their first byte: one set of all takes too much memory
        others: set[bytes] = set()
        for tags in self._tags.values():
            for key in tags.keys_of_digests():
                if len(key) == KEY:
                    parts[key[0]] += key
                else:
                    others.add(key)
        return len(others) + sum(len({key for (key,) in iter_unpack(f"{KEY}s", part)}) for part in parts)

    def tags(self, repository: Repository) -> Mapping[Tag, Digest]:
        """The tags of a repository; empty if it is not known."""
        return self._tags.get(repository, {})

    def names(self, repository: Repository, digest: Digest) -> bool:
        """Whether a tag of a repository names `digest`."""
        return repository in self._tags and self._tags[repository].names(digest)

    def holders(self, digest: Digest) -> Sequence[tuple[Repository, Tag]]:
        """Every tag, in every repository, that names `digest`."""
        places = [name for name, tags in self._tags.items() if tags.names(digest)]
        return [(name, tag) for name in places for tag, named in self._tags[name].items() if named == digest]

    def has(self, digest: Digest) -> bool:
        """Whether any tag names `digest`."""
        return any(tags.names(digest) for tags in self._tags.values())

    def holders_of(self, digests: Collection[Digest]) -> Mapping[Digest, Sequence[tuple[Repository, Tag]]]:
        """Every tag, in every repository, on each of `digests` that has any: one pass for all."""
        wanted = {digest.key for digest in digests}
        return self._holders(self._named(wanted))

    def shared(self, digests: Collection[Digest]) -> Mapping[Digest, Sequence[tuple[Repository, Tag]]]:
        """As `holders_of`, of those that more than one repository has tags on."""
        once: set[bytes] = set()
        several: set[bytes] = set()
        for _, keys in self._named({digest.key for digest in digests}):
            several |= keys & once
            once |= keys
        return self._holders(self._named(several)) if several else {}

    def held(self) -> Iterator[tuple[Repository, Digest]]:
        """Each digest that a repository has tags on, once, with the repository."""
        for repository, tags in self._tags.items():
            for digest in dict.fromkeys(tags.values()):
                yield repository, digest

    def beginning_with(self, value: str) -> Set[Digest]:
        """The digests with tags on them whose hexadecimal digits begin with `value`."""
        return {digest for _, digest in self.held() if digest.hex.startswith(value)}

    def keyed(self) -> Iterator[tuple[Repository, Iterator[tuple[str, bytes]]]]:
        """Each repository with its tags and the keys of their digests."""
        for repository, tags in self._tags.items():
            yield repository, tags.keyed()

    def replace(self, repository: Repository, tags: Mapping[Tag, Digest]) -> None:
        """Replace all tags of a repository; without any, the repository is dropped."""
        if tags:
            self._tags[repository] = PackedTags.of(tags)
        else:
            self._tags.pop(repository, None)

    def packed(self) -> Mapping[Repository, PackedTags]:
        return self._tags

    def as_mapping(self) -> Mapping[Repository, Mapping[Tag, Digest]]:
        return self._tags

    def _named(self, wanted: set[bytes]) -> Iterator[tuple[Repository, Set[bytes]]]:
        """The repositories that have tags on digests of `wanted` (keys), each with those."""
        for name, tags in self._tags.items():
            if keys := wanted.intersection(tags.keys_of_digests()):
                yield name, keys

    def _holders(
        self, places: Iterable[tuple[Repository, Set[bytes]]]
    ) -> Mapping[Digest, Sequence[tuple[Repository, Tag]]]:
        found: dict[Digest, list[tuple[Repository, Tag]]] = defaultdict(list)
        for name, keys in places:
            digests = set(map(Digest.of_key, keys))
            for tag, digest in self._tags[name].items():
                if digest in digests:
                    found[digest].append((name, tag))
        return dict(found)
