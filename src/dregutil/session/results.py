"""Results of session methods that no lower package defines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from dregutil.oci.names import Digest, Repository, Tag

if TYPE_CHECKING:
    from pathlib import Path

    from dregutil.apply.collector_run import CollectorExit
    from dregutil.errors import DregutilError
    from dregutil.inventory.contents.measured import Measured, TotalUsage, UsageRow
    from dregutil.inventory.contents.space import MeasuredSpace
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.inventory.health.storage import Finding
    from dregutil.journal.measures import Measure
    from dregutil.journal.pending import PendingRun
    from dregutil.journal.record import RunHeader, RunRecord
    from dregutil.journal.removed import Removed
    from dregutil.oci.image import ImageDetails
    from dregutil.plan.collection import CollectionPlan, Comparison
    from dregutil.plan.listed_waste import ListedWaste
    from dregutil.plan.waste import Waste
    from dregutil.pulls.pull import Pull, Source
    from dregutil.select.content_selector import Match
    from dregutil.select.find import Use

__all__ = [
    "MAX_GAP",
    "CollectionRun",
    "Found",
    "ImagePull",
    "ImageTag",
    "Overview",
    "PullReport",
    "PullSync",
    "SearchResult",
    "StorageCheckup",
    "UsageSort",
    "Weighed",
]

MAX_GAP = timedelta(days=1)  # a shorter gap of a source of pulls is not shown
UsageSort = Literal["unique", "size", "shared", "tags", "name"]


@dataclass(frozen=True, slots=True)
class ImageTag:
    """A tag, and the digest of its image. `details` is what the image contains; None if it was not asked for (see
    `contents`) or could not be read: `unread` then says why. As text it is `repository:tag`."""

    repository: Repository
    tag: Tag
    digest: Digest
    details: ImageDetails | None = None
    unread: str = ""

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"

    @property
    def size(self) -> int | None:
        """In bytes, with config, layers and, for an index, all platforms."""
        return None if self.details is None else self.details.size

    @property
    def created(self) -> datetime | None:
        """When the image was built, as it says itself, in UTC."""
        return None if self.details is None else self.details.created


@dataclass(frozen=True, slots=True)
class CollectionRun:
    """A garbage collection that ran. `id` names its record, `output` is the file of what the collector printed.
    `comparison` is what it did; None if the storage could not be read completely after it: `unread` says why. `final`:
    the runs that can no longer be undone, or not wholly; if that is not known, those that were predicted.
    `seconds`: how long the reading before it took (0 if it was read for the plan), the collector, and the reading
    after it."""

    id: str
    plan: CollectionPlan
    exit: CollectorExit
    output: Path
    comparison: Comparison | None
    final: tuple[str, ...] = ()
    unread: str = ""
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_as_predicted(self) -> bool:
        """Whether the collector ended well, and did exactly what was predicted."""
        has_ended = self.exit.code == 0 and not self.exit.goes_on
        return has_ended and self.comparison is not None and self.comparison.is_as_predicted


@dataclass(frozen=True, slots=True)
class ImagePull:
    """A tag, or None for a digest alone, its digest, and its last pull; None if none is recorded."""

    repository: Repository
    tag: Tag | None
    digest: Digest
    pull: Pull | None = None


@dataclass(frozen=True, slots=True)
class PullSync:
    """What the registry's service said: the number of repositories that it listed, and of manifests that were pulled.
    `doubts` says what to know about these values."""

    repositories: int
    pulls: int
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullReport:
    """The last pulls of tags, what has recorded them, and the time of the report."""

    images: tuple[ImagePull, ...]
    sources: tuple[Source, ...]
    now: datetime

    @property
    def recorded_since(self) -> datetime | None:
        """Since when at least one source has recorded without a gap of more than a day; None if none does now."""
        from dregutil.pulls.coverage import source_since

        found = [source_since(source, self.now, MAX_GAP) for source in self.sources]
        return min((since for since in found if since is not None), default=None)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """How digests match a search by content. What could not be read is in `unreadable`, with the error, and does not
    match. `hints` name selectors that match no image."""

    matches: Mapping[Digest, Match]
    unreadable: Mapping[Digest, DregutilError] = field(default_factory=dict)
    hints: tuple[str, ...] = ()

    @property
    def digests(self) -> Set[Digest]:
        """Those that match."""
        return {digest for digest, match in self.matches.items() if match.value == "yes"}


@dataclass(frozen=True, slots=True)
class Found:
    """The tags that use a digest. `digest` is None if no tag that could be read uses it, and some could not be read.

    `not_read` counts the tagged digests whose content was never read: an index among them that has it as a child would
    be missing. `unreadable` are those that could not be read now, with the error. `source` are the tags that were
    searched; of a large cache file, only those that use the digest.
    """

    digest: Digest | None
    uses: tuple[Use, ...]
    source: CrawlResult
    not_read: int = 0
    unreadable: Mapping[Digest, DregutilError] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether everything that may use it was read."""
        return not (self.source.failed or self.unreadable or self.not_read)


@dataclass(frozen=True, slots=True)
class StorageCheckup:
    """What is broken in a registry's storage, and what no tag needs. `lacking`: the repositories that the catalog names
    and the storage does not have: it may be that of another registry."""

    findings: tuple[Finding, ...]
    waste: Waste
    lacking: tuple[Repository, ...] = ()


@dataclass(frozen=True, slots=True)
class Weighed:
    """The sizes of tags, readable until the session is closed or weighs something else.

    What could not be read is not counted: `unreadable` digests, and `unlisted` digests whose referrers could not be
    listed, with the error. `left_behind` are tags that an interrupted run left on a placeholder.

    `listed`: when the oldest list of referrers was read that was not read now, in seconds since 1970; None if there is
    none. `unasked`: why the registry could not be asked for the lists that were never read. `untagged`: what the
    registry's service lists without a tag, in the whole registry; None where it lists nothing of that kind, with tags
    from the cache, and with the storage.
    """

    measured: Measured
    source: CrawlResult
    unreadable: Mapping[Digest, DregutilError] = field(default_factory=dict)
    unlisted: Mapping[tuple[Repository, Digest], DregutilError] = field(default_factory=dict)
    left_behind: tuple[tuple[Repository, Tag, Digest], ...] = ()
    listed: float | None = None
    unasked: DregutilError | None = None
    untagged: ListedWaste | None = None

    @property
    def is_complete(self) -> bool:
        """Whether everything was read, and is counted."""
        return not (self.source.failed or self.unreadable or self.unlisted or self.unasked)

    def rows(self, sort: UsageSort = "unique", top: int | None = None) -> Iterator[UsageRow]:
        """A row for each repository, tag or layer, at most `top`, largest first: by "unique" bytes, which removing the
        row alone would free, by "size" or "shared" bytes or by "tags"; or by "name". Raises CacheError."""
        return self.measured.rows(sort, top)

    @property
    def total(self) -> TotalUsage:
        """All rows together."""
        return self.measured.total


@dataclass(frozen=True, slots=True)
class Overview:
    """What is known about a registry, as of `now`.

    `space` is readable until the session is closed or weighs something else. What could not be read is not counted:
    `unreadable`, and what only the referrers API lists, if the registry was `unasked`, with why; `is_complete`: all
    was read. `left_behind` are tags that an interrupted run left on a placeholder,
    each with that run, or an empty name if it is not recorded here.

    `before`: an earlier measure; None if there is none. `last` is the newest removal, `last_left` what of it is not put
    back. `compared` is the removal that a plan is compared with, `compared_left` what of that is not put back.
    `pending` are the runs that wait for the collector, newest first; `collected`: the runs that are known to be
    collected, and since when. `interrupted`: runs that did not end, each with the command that continues it.
    """

    now: datetime
    source: CrawlResult
    space: MeasuredSpace
    is_complete: bool
    unreadable: Mapping[Digest, DregutilError] = field(default_factory=dict)
    unasked: DregutilError | None = None
    left_behind: tuple[tuple[Repository, Tag, str], ...] = ()
    before: Measure | None = None
    last: RunRecord | None = None
    last_left: Removed = field(default_factory=dict)
    compared: RunRecord | None = None
    compared_left: Removed = field(default_factory=dict)
    pending: tuple[PendingRun, ...] = ()
    collected: Mapping[str, datetime] = field(default_factory=dict)
    interrupted: tuple[tuple[RunHeader, str], ...] = ()

    @property
    def is_read(self) -> bool:
        """Whether every tag was read, and what it refers to."""
        return not (self.source.failed or self.unreadable)
