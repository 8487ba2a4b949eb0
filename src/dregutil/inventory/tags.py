"""What a registry's tags point to, as far as we know: repository → tag → digest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["Inventory"]


class Inventory:
    """Tags as they were read. Repositories without tags are not in it.

    One plain mapping: a million tags take about 300 MB, digests that tags share being one string. The way back, from
    a digest to its holders, is built when it is first asked for.
    """

    def __init__(self, tags: Mapping[Repository, Mapping[Tag, Digest]] | None = None) -> None:
        self._tags: dict[Repository, dict[Tag, Digest]] = {}
        self._holders: dict[Digest, list[tuple[Repository, Tag]]] | None = None
        for repository, found in (tags or {}).items():
            self.replace(repository, found)

    @property
    def repositories(self) -> list[Repository]:
        """Those that have tags, sorted."""
        return sorted(self.as_mapping())

    @property
    def tag_count(self) -> int:
        return sum(len(tags) for tags in self.as_mapping().values())

    @property
    def digest_count(self) -> int:
        return len({digest for tags in self.as_mapping().values() for digest in tags.values()})

    def tags(self, repository: Repository) -> Mapping[Tag, Digest]:
        """The tags of a repository; empty where it is not known."""
        return self.as_mapping().get(repository, {})

    def holders(self, digest: Digest) -> Sequence[tuple[Repository, Tag]]:
        """Every tag, of every repository, that stands for `digest`."""
        if self._holders is None:
            found: dict[Digest, list[tuple[Repository, Tag]]] = defaultdict(list)
            for repository, tags in self.as_mapping().items():
                for tag, held in tags.items():
                    found[held].append((repository, tag))
            self._holders = dict(found)
        return self._holders.get(digest, ())

    def replace(self, repository: Repository, tags: Mapping[Tag, Digest]) -> None:
        """Take `tags` as all that the repository has; without any, the repository is dropped."""
        self._holders = None
        if tags:
            self._tags[repository] = dict(tags)
        else:
            self._tags.pop(repository, None)

    def as_mapping(self) -> Mapping[Repository, Mapping[Tag, Digest]]:
        return self._tags
