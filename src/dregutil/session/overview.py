"""What a report on a registry shows beside a plan: where the bytes are, what runs did, what waits for the collector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import JournalError, UsageError
from dregutil.files import absolute
from dregutil.session.usage import UsageSession

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.journal.measures import Measure
    from dregutil.journal.record import RunRecord
    from dregutil.journal.removed import Removed
    from dregutil.oci.names import Digest, Repository, Tag
    from dregutil.session.results import Overview

__all__ = ["OverviewSession"]

_WEEK = timedelta(days=7)


class OverviewSession(UsageSession):
    """A session that also sums up what is known about a registry."""

    async def overview(
        self, *, since: str | None = None, policy: str | Path | None = None, source: CrawlResult | None = None
    ) -> Overview:
        """Where the bytes of the registry are, what recorded runs did, and what waits for the collector.

        The tags are those of `source`, otherwise those of `usage_source`; contents that were never read are read. It is
        compared with an earlier overview: from before the run `since`, by default of a week ago; and noted for a later
        one. A plan can be compared with that run, by default with the last one, or the last by a `policy` file.

        Raises NotFoundError for a run that is not recorded, UsageError for an undo, JournalError, and the errors of
        reading.
        """
        from dregutil.session.results import Overview

        named = None if since is None else self._removal(since)
        source = source or await self.usage_source()
        gathered = await self._gather(source)
        now = datetime.now(UTC)
        found = Overview(
            now,
            source,
            gathered.usage.space(),
            gathered.is_complete,
            gathered.unreadable,
            None if gathered.referrers is None else gathered.referrers.unasked,
            self._with_runs(gathered.left_behind),
        )
        before = self._measured_before(found, now - _WEEK if named is None else named.started)
        return self._with_past(replace(found, before=before), named, policy)

    def last_removal(self, policy: str | None = None) -> tuple[RunRecord | None, Removed]:
        """The newest recorded removal, or the newest by a `policy` file, and what it removed that is not put back.
        Raises JournalError."""
        history = self.history
        found = history.last_removal() if policy is None else history.last_removal(str(absolute(Path(policy))))
        return found, {} if found is None else history.left_by(found)

    def _with_past(self, found: Overview, named: RunRecord | None, policy: str | Path | None) -> Overview:
        """Add what recorded runs did."""
        from dregutil.journal.pending import known_collected, pending_runs

        self._collections.bring()
        history = self.history
        last, last_left = self.last_removal()
        compared, compared_left = (last, last_left) if policy is None else self.last_removal(str(policy))
        if named is not None:
            compared, compared_left = named, history.left_by(named)
        collected = known_collected(history)
        return replace(
            found,
            last=last,
            last_left=last_left,
            compared=compared,
            compared_left=compared_left,
            pending=tuple(pending_runs(history, collected)),
            collected=collected,
            interrupted=tuple(history.interrupted()),
        )

    def _with_runs(self, left: Iterable[tuple[Repository, Tag, Digest]]) -> tuple[tuple[Repository, Tag, str], ...]:
        """Tags on placeholders, each with the run that left it there."""
        found = tuple(left)
        runs = self.history.placeholders() if found else {}
        return tuple((name, tag, runs.get(digest, "")) for name, tag, digest in found)

    def _removal(self, run: str) -> RunRecord:
        """The record of a removal on this registry. Raises NotFoundError, UsageError, PlanRefusedError and
        JournalError."""
        found = self.store.get(run)
        self.check_is_own(found.plan.registry, "run")
        if found.undoes:
            raise UsageError(f"{found.run} is an undo", advice=f"name the removal that it put back: {found.undoes}")
        return found

    def _measured_before(self, found: Overview, moment: datetime) -> Measure | None:
        """The measure of `moment`, or the oldest one; and note that of `found`. That it cannot be noted is a
        warning."""
        from dregutil.journal.measures import Measure, earlier

        measures = self._measures
        before = earlier(measures.read(), moment)
        if found.is_complete:
            try:
                measures.add(Measure(found.now, found.space.total, found.source.shown.tag_count))
            except JournalError as error:
                self._warn(error.message, error.advice)
            except OSError as error:
                self._warn(f"the size of the registry was not noted: {error.strerror or error}")
        return before
