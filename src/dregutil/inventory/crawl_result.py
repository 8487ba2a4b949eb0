"""What a crawl found, and how far one is: values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from dregutil.errors import DregutilError
from dregutil.inventory.tags import Inventory
from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["ContentsProgress", "CrawlProgress", "CrawlResult"]


@dataclass(frozen=True, slots=True)
class CrawlProgress:
    """How far a crawl is. `tags_known` grows until the catalog was read to its end.

    `allowed_rate` is in requests a second, where a registry that pushes back limits us; else None.
    """

    repositories_done: int
    repositories_known: int
    tags_done: int
    tags_known: int
    catalog_complete: bool
    allowed_rate: float | None = None

    @property
    def done(self) -> int:
        return self.tags_done

    @property
    def total(self) -> int:
        return self.tags_known

    @property
    def noun(self) -> str:
        return "tags"


@dataclass(frozen=True, slots=True)
class ContentsProgress:
    """How many of how many digests were read."""

    done: int
    total: int

    @property
    def noun(self) -> str:
        return "images"


@dataclass(frozen=True, slots=True)
class CrawlResult:
    """The tags of a registry, or of some of its repositories, as they were read.

    `inventory` has the repositories that were read whole, `failed` the others, with why; `complete`: all repositories
    of the registry were read whole. Of a repository with tags that could not be read, `partly` has the others, and
    `unread` says why of each. `named` are the repositories that were asked for, or that the catalog named; `odd_names`:
    what the catalog names and what cannot be a repository's name. `seconds` is how long the crawl took, `began` when it
    began (UTC); None where the inventory comes from the cache file, which is `age` seconds old.

    `without_catalog` says why the catalog could not be read, where the repositories are those of the storage. Against
    the last complete crawl: `unlisted` are repositories that the catalog leaves out and that answer all the same,
    `gone` those that do not; `omitted` are tags that a list leaves out and that are there.

    `listings` are the repositories that were read through the API of the registry's service, as that lists them;
    `doubted` says of others how that list differs from the registry's: it was not used.

    `others` are repositories of the catalog (the first 10,000), if one that was asked for has no tags: its name may be
    mistyped. `mark` is what had been notified when a crawl of the whole registry began (`NotifiedChanges`). `believed`:
    how many tags were not read, because no change of them was notified, or the list of their repository is unchanged.
    """

    inventory: Inventory
    failed: Mapping[Repository, DregutilError] = field(default_factory=dict)
    seconds: float = 0.0
    complete: bool = True
    partly: Mapping[Repository, Mapping[Tag, Digest]] = field(default_factory=dict)
    unread: Mapping[Repository, Mapping[Tag, DregutilError]] = field(default_factory=dict)
    named: frozenset[Repository] = frozenset()
    odd_names: frozenset[str] = frozenset()
    began: datetime | None = None
    without_catalog: str = ""
    unlisted: tuple[Repository, ...] = ()
    gone: tuple[Repository, ...] = ()
    omitted: tuple[tuple[Repository, Tag], ...] = ()
    listings: Mapping[Repository, Listing] = field(default_factory=dict)
    doubted: Mapping[Repository, str] = field(default_factory=dict)
    others: Sequence[Repository] = ()
    age: float | None = None
    mark: tuple[int, int] = (0, 0)
    believed: int = 0

    @property
    def shown(self) -> Inventory:
        """What can be shown: the inventory, and what was read of repositories that were not read whole."""
        return Inventory({**self.inventory.as_mapping(), **self.partly}) if self.partly else self.inventory

    @property
    def is_cached(self) -> bool:
        return self.began is None

    def with_repositories(self, other: CrawlResult) -> CrawlResult:
        """Both, where `other` read repositories that this one did not name."""
        return replace(
            self,
            inventory=Inventory({**self.inventory.as_mapping(), **other.inventory.as_mapping()}),
            failed={**self.failed, **other.failed},
            complete=self.complete and not other.failed,
            partly={**self.partly, **other.partly},
            unread={**self.unread, **other.unread},
            listings={**self.listings, **other.listings},
            doubted={**self.doubted, **other.doubted},
        )

    def with_tags(self, found: Mapping[tuple[Repository, Tag], Digest]) -> CrawlResult:
        """And these tags, which the lists leave out."""
        inventory, more = Inventory(self.inventory.as_mapping()), defaultdict[Repository, dict[Tag, Digest]](dict)
        for (name, tag), digest in found.items():
            more[name][tag] = digest
        for name, tags in more.items():
            inventory.replace(name, {**inventory.tags(name), **tags})
        return replace(self, inventory=inventory, omitted=tuple(sorted(found)))
