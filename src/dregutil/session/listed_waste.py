"""What a registry's service lists without a tag and no tag needs: the manifests to read, and what they hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Set

from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.usage_reading import ManifestsRead
from dregutil.inventory.listed_graph import listed_graph
from dregutil.oci.listing import Listing
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.plan.listed_waste import ListedWaste, removable
from dregutil.session.results import Weighed

__all__ = ["ListedWasteReading"]


class ListedWasteReading:
    """`listings` have manifests without a tag; `reached` is what tags reach in each repository, with referrers."""

    def __init__(self, listings: Mapping[Repository, Listing], reached: Iterable[tuple[Repository, Digest]]) -> None:
        self._listings = listings
        self._reached: dict[Repository, set[Digest]] = defaultdict(set)
        for name, digest in reached:
            self._reached[name].add(digest)
        self._candidates: dict[Repository, Set[Digest]] = {
            name: {entry.digest for entry in listing.untagged} - self._reached[name]
            for name, listing in listings.items()
        }

    def places(self) -> Iterator[tuple[Repository, Digest]]:
        """What no tag reaches: those manifests have to be read."""
        for name, digests in self._candidates.items():
            yield from ((name, digest) for digest in sorted(digests))

    def weighed(self, found: Weighed, database: ContentDatabase, read: ManifestsRead) -> ListedWaste:
        """What of it `cleanup` can remove, and what that alone holds. Raises CacheError."""
        gone: set[Digest] = set()
        kept: set[Digest] = set()
        number = unjudged = 0
        everywhere = {entry.digest for listing in self._listings.values() for entry in listing.entries}
        everywhere.update(*self._reached.values())
        for name, listing in self._listings.items():
            if not self._candidates[name]:
                continue
            without = {digest for place, digest in (*read.absent, *read.unread) if place == name}
            candidates = self._candidates[name] - without
            manifests = _known(database, {*self._reached[name], *candidates})
            graph = listed_graph(name, listing, candidates, manifests, everywhere)
            going = removable(graph, candidates)
            number += len(going)
            gone |= going
            kept |= candidates - going
            unjudged += bool(graph.unjudgeable and candidates)
        is_exact = found.is_complete and not read.unread and found.source.named <= self._listings.keys()
        return ListedWaste(
            number,
            found.measured.held_alone(gone, kept),
            is_exact,
            len(read.unread),
            read.counts_pulls,
            unjudged,
            len(self._listings),
        )


def _known(database: ContentDatabase, digests: Iterable[Digest]) -> Iterator[Manifest]:
    found = (database.manifest(digest) for digest in digests)
    return (manifest for manifest in found if manifest is not None)
