"""The tags of a registry, as they were read: repository → tag → digest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["Inventory"]


class Inventory:
    """Tags as they were read. Repositories without tags are not in it.

    One plain mapping: a million tags take about 300 MB, since tags on the same digest share the string. The reverse
    mapping, from a digest to its tags, is built when it is first needed.
    """

    def __init__(self, tags: Mapping[Repository, Mapping[Tag, Digest]] | None = None) -> None:
        self._tags: dict[Repository, dict[Tag, Digest]] = {}
        self._holders: dict[Digest, list[tuple[Repository, Tag]]] | None = None
        for repository, found in (tags or {}).items():
            self.replace(repository, found)

    @property
    def repositories(self) -> list[Repository]:
        """The repositories that have tags, sorted."""
        return sorted(self.as_mapping())

    @property
    def tag_count(self) -> int:
        return sum(len(tags) for tags in self.as_mapping().values())

    @property
    def digest_count(self) -> int:
        return len({digest for tags in self.as_mapping().values() for digest in tags.values()})

    def tags(self, repository: Repository) -> Mapping[Tag, Digest]:
        """The tags of a repository; empty if it is not known."""
        return self.as_mapping().get(repository, {})

    def holders(self, digest: Digest) -> Sequence[tuple[Repository, Tag]]:
        """Every tag, in every repository, that names `digest`."""
        if self._holders is None:
            found: dict[Digest, list[tuple[Repository, Tag]]] = defaultdict(list)
            for repository, tags in self.as_mapping().items():
                for tag, held in tags.items():
                    found[held].append((repository, tag))
            self._holders = dict(found)
        return self._holders.get(digest, ())

    def held(self) -> Iterator[tuple[Repository, Digest]]:
        """Each digest that a repository has tags on, once, with the repository."""
        for repository, tags in self.as_mapping().items():
            for digest in dict.fromkeys(tags.values()):
                yield repository, digest

    def replace(self, repository: Repository, tags: Mapping[Tag, Digest]) -> None:
        """Replace all tags of a repository; without any, the repository is dropped."""
        self._holders = None
        if tags:
            self._tags[repository] = dict(tags)
        else:
            self._tags.pop(repository, None)

    def as_mapping(self) -> Mapping[Repository, Mapping[Tag, Digest]]:
        return self._tags
