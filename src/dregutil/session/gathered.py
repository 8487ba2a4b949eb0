"""What was read to measure tags: a value between reading and measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dregutil.errors import DregutilError
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.contents.usage_reading import ReferrersRead
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.session.results import Weighed

__all__ = ["GatheredUsage"]


@dataclass(frozen=True, slots=True)
class GatheredUsage:
    """The tags of `source`, ready to be measured. The fields are those of `Weighed`; `referrers` is None with the
    storage."""

    usage: DiskUsage
    source: CrawlResult
    unreadable: Mapping[Digest, DregutilError]
    left_behind: tuple[tuple[Repository, Tag, Digest], ...]
    referrers: ReferrersRead | None
    listed: float | None

    def measured(self, by: str) -> Weighed:
        """What each line weighs: "repo", "tag", "layer" or "owner"."""
        measured = self.usage.measure(by)
        if self.referrers is None:
            return Weighed(measured, self.source, self.unreadable, left_behind=self.left_behind)
        return Weighed(
            measured,
            self.source,
            self.unreadable,
            self.referrers.unlisted,
            self.left_behind,
            self.listed,
            self.referrers.unasked,
        )

    @property
    def is_complete(self) -> bool:
        """Whether everything was read, and is counted."""
        referrers = self.referrers
        unlisted = referrers is not None and bool(referrers.unlisted or referrers.unasked)
        return not (self.source.failed or self.unreadable or unlisted)
