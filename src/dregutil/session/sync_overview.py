"""The method of the session without an event loop that sums up what is known about a registry."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.journal.record import RunRecord
    from dregutil.journal.removed import Removed
    from dregutil.session.results import Overview
    from dregutil.session.session import AsyncSession

__all__ = ["OverviewVerbs"]

_Found = TypeVar("_Found")


class OverviewVerbs:
    """A part of `Session`."""

    _session: AsyncSession

    def _run(self, work: Coroutine[Any, Any, _Found]) -> _Found:
        raise NotImplementedError

    def overview(
        self, *, since: str | None = None, policy: str | Path | None = None, source: CrawlResult | None = None
    ) -> Overview:
        return self._run(self._session.overview(since=since, policy=policy, source=source))

    def last_removal(self, policy: str | None = None) -> tuple[RunRecord | None, Removed]:
        return self._session.last_removal(policy)
