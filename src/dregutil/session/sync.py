"""The session for code without an event loop: the same methods, each of which waits for its result.

One loop is kept for the life of the session, so that connections, tokens and the request rate are kept too.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from dregutil.session.session import AsyncSession
from dregutil.session.sync_collecting import CollectionVerbs
from dregutil.session.sync_overview import OverviewVerbs
from dregutil.session.sync_pulls import PullVerbs

if TYPE_CHECKING:
    import asyncio
    from datetime import timedelta
    from pathlib import Path
    from types import TracebackType

    from dregutil.apply.examine import Examination
    from dregutil.apply.undo.plan import UndoPlan
    from dregutil.apply.undo.run import UndoRun
    from dregutil.errors import DregutilError
    from dregutil.inventory.contents.database import ContentDatabase
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.inventory.health.registry import Checkup
    from dregutil.inventory.inspect import InspectedImage
    from dregutil.inventory.tags import Inventory
    from dregutil.inventory.untagged import UntaggedManifests
    from dregutil.journal.record import RunHeader, RunRecord
    from dregutil.journal.removed_images import RemovedImage
    from dregutil.journal.tag_records import TagRecords
    from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag
    from dregutil.plan.cleanup import Proposal
    from dregutil.plan.model import Plan, RemovalOptions
    from dregutil.plan.outcome import RunResult
    from dregutil.plan.why import Explanation
    from dregutil.retention.holds import Hold
    from dregutil.retention.policy import PolicySet
    from dregutil.select.query import Selectors
    from dregutil.select.search import Search
    from dregutil.select.selection import MatchRules, Selection
    from dregutil.session.base import Options
    from dregutil.session.results import Found, ImageTag, SearchResult, StorageCheckup, Weighed
    from dregutil.session.stop import Stop
    from dregutil.storage.collector import Collector
    from dregutil.storage.stored import StoredRegistry

__all__ = ["Session"]

_Found = TypeVar("_Found")


class Session(CollectionVerbs, OverviewVerbs, PullVerbs):
    """A connection to one registry, with everything that can be done there.

    with dregutil.open("registry.example.com") as registry:
        plan = registry.plan_removal("shop/web", tags=["<1.4"])
        run = registry.apply(plan)

    To read: `tags`, `contents`, `inspect`, `find`, `disk_usage`, `check`, `why`. To plan, which changes nothing:
    `plan_removal`, `plan_repository_removal`, `plan_cleanup`. To remove and put back: `apply`, `resume`, `undo`; `runs`
    lists what is recorded, `removed_images` what can still come back. To keep: `hold`, `holds`, `end_hold`. When images
    were last pulled: `pulls`, `listen`, `read_pulls`,
    `sync_pulls`. The other methods are the parts of these.

    If an event loop is running, as in Jupyter, use `async with dregutil.connect(…)`.
    """

    def __init__(self, address: str | RegistryAddress, **options: Unpack[Options]) -> None:
        """Raises UsageError if `address` is not a valid registry address."""
        self._session = AsyncSession(address, **options)
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        _check_no_loop()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is None:
            self._session.close_databases()
            return
        try:
            runner.run(self._session.__aexit__(kind, error, trace))
        finally:
            runner.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.name!r})"

    @property
    def address(self) -> RegistryAddress:
        """The registry's address."""
        return self._session.address

    @property
    def database(self) -> ContentDatabase:
        """What images contain, as far as it was read."""
        return self._session.database

    @property
    def records(self) -> TagRecords:
        """The records of when this registry's tags came."""
        return self._session.records

    def live_tags(self) -> Mapping[Repository, Collection[Tag]]:
        return self._session.live_tags()

    def stored(self) -> StoredRegistry | None:
        return self._session.stored()

    def lock(self, *, run: str = "") -> AbstractContextManager[None]:
        return self._session.lock(run=run)

    def in_cache(self) -> Inventory | None:
        return self._session.in_cache()

    def why_records_are_short_lived(self) -> str:
        return self._session.why_records_are_short_lived()

    def braked(self, plan: Plan) -> tuple[Repository, ...]:
        return self._session.braked(plan)

    def cached(self) -> CrawlResult | None:
        return self._session.cached()

    def inventory(self, *, only: Sequence[Repository] | None = None, for_policy: bool = False) -> CrawlResult:
        cached = self._session.cached()  # needs no event loop
        return cached or self._run(self._session.inventory(only=only, for_policy=for_policy))

    def crawl(
        self, *repositories: str, only_new: bool = False, full: bool = False, max_age: timedelta | None = None
    ) -> CrawlResult:
        return self._run(self._session.crawl(*repositories, only_new=only_new, full=full, max_age=max_age))

    def crawl_whole(
        self, *, known: Inventory | None = None, believed: Inventory | None = None, for_policy: bool = False
    ) -> CrawlResult:
        return self._run(self._session.crawl_whole(known=known, believed=believed, for_policy=for_policy))

    def tags(self, *repositories: str, **selectors: Unpack[Selectors]) -> tuple[ImageTag, ...]:
        return self._run(self._session.tags(*repositories, **selectors))

    def contents(self, *repositories: str, **selectors: Unpack[Selectors]) -> tuple[ImageTag, ...]:
        return self._run(self._session.contents(*repositories, **selectors))

    def describe(self, images: Collection[ImageTag]) -> tuple[ImageTag, ...]:
        return self._run(self._session.describe(images))

    def read_contents(self, holders: Collection[tuple[Repository, Digest]]) -> Mapping[Digest, DregutilError]:
        return self._run(self._session.read_contents(holders))

    def search(
        self, source: CrawlResult, search: Search, holders: Collection[tuple[Repository, Digest]]
    ) -> SearchResult:
        return self._run(self._session.search(source, search, holders))

    def find(self, what: str, *, source: CrawlResult | None = None) -> Found:
        return self._run(self._session.find(what, source=source))

    def inspect(self, image: str) -> InspectedImage:
        return self._run(self._session.inspect(image))

    def raw_manifest(self, image: str) -> bytes:
        return self._run(self._session.raw_manifest(image))

    def raw_config(self, image: str) -> bytes:
        return self._run(self._session.raw_config(image))

    def examine(self) -> Examination:
        return self._run(self._session.examine())

    def check(self) -> Checkup:
        return self._run(self._session.check())

    def check_storage(self) -> StorageCheckup:
        return self._run(self._session.check_storage())

    def named(self, names: Sequence[str], found: CrawlResult) -> tuple[Repository, ...]:
        return self._session.named(names, found)

    def disk_usage(self, *repositories: str, by: str = "repo") -> Weighed:
        return self._run(self._session.disk_usage(*repositories, by=by))

    def usage_source(self) -> CrawlResult:
        return self._run(self._session.usage_source())

    def weigh(
        self, source: CrawlResult, shown: Sequence[Repository] | None, by: str, *, untagged: bool = False
    ) -> Weighed:
        return self._run(self._session.weigh(source, shown, by, untagged=untagged))

    def plan_removal(
        self,
        *repositories: str,
        rules: MatchRules | None = None,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
        digests: Collection[str] | None = None,
        with_tags: bool = False,
        **selectors: Unpack[Selectors],
    ) -> Plan:
        return self._run(
            self._session.plan_removal(
                *repositories,
                rules=rules,
                options=options,
                collector=collector,
                digests=digests,
                with_tags=with_tags,
                **selectors,
            )
        )

    def plan_digests(
        self,
        repository: str,
        digests: Collection[str],
        *,
        with_tags: bool = False,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
    ) -> tuple[Plan, tuple[Digest, ...]]:
        return self._run(
            self._session.plan_digests(repository, digests, with_tags=with_tags, options=options, collector=collector)
        )

    def plan_repository_removal(
        self,
        *repositories: str,
        rules: MatchRules | None = None,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
    ) -> Plan:
        return self._run(
            self._session.plan_repository_removal(*repositories, rules=rules, options=options, collector=collector)
        )

    def plan_selection(
        self,
        selection: Selection,
        inventory: Inventory,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
    ) -> Plan:
        return self._run(self._session.plan_selection(selection, inventory, options, collector))

    def dated(self, plan: Plan) -> Plan:
        return self._run(self._session.dated(plan))

    def still_planned(self, plan: Plan) -> Plan:
        return self._run(self._session.still_planned(plan))

    def seconds_for(self, plan: Plan) -> float:
        return self._session.seconds_for(plan)

    def plan_cleanup(
        self,
        policy: PolicySet | str | Path,
        *,
        file: Path | None = None,
        limit: int | None = None,
        free: int | None = None,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
        details: bool = False,
        only_shown: bool = False,
    ) -> Proposal:
        return self._run(
            self._session.plan_cleanup(
                policy,
                file=file,
                limit=limit,
                free=free,
                options=options,
                collector=collector,
                details=details,
                only_shown=only_shown,
            )
        )

    def find_untagged(
        self, policies: PolicySet, source: CrawlResult, only: Sequence[Repository] | None = None
    ) -> UntaggedManifests:
        return self._run(self._session.find_untagged(policies, source, only))

    def why(self, policy: PolicySet | str | Path, image: str, *, file: Path | None = None) -> Explanation:
        return self._run(self._session.why(policy, image, file=file))

    def apply(
        self,
        plan: Plan | Proposal,
        *,
        confirm_tags: int | None = None,
        record: bool = True,
        stop: Stop | None = None,
        ends_at: float | None = None,
    ) -> RunResult:
        return self._run(
            self._session.apply(plan, confirm_tags=confirm_tags, record=record, stop=stop, ends_at=ends_at)
        )

    def resume(self, run: str, *, stop: Stop | None = None) -> RunResult:
        return self._run(self._session.resume(run, stop=stop))

    def to_resume(self, run: str) -> RunRecord | None:
        return self._session.to_resume(run)

    def runs(self) -> tuple[RunRecord, ...]:
        return self._session.runs()

    def damaged_runs(self) -> list[RunRecord]:
        return self._session.damaged_runs()

    def run(self, name: str) -> RunRecord:
        return self._session.run(name)

    def interrupted(self) -> list[tuple[RunHeader, str]]:
        return self._session.interrupted()

    def to_undo(self, run: str | None = None) -> RunRecord:
        return self._session.to_undo(run)

    def hold(self, image: str, *, for_: str | timedelta | None = None, because: str = "") -> Hold:
        return self._run(self._session.hold(image, for_=for_, because=because))

    def holds(self) -> tuple[Hold, ...]:
        return self._session.holds()

    def end_hold(self, *images: str) -> tuple[Hold, ...]:
        return self._session.end_hold(*images)

    def images_to_undo(
        self, images: Iterable[str], run: str | None = None
    ) -> tuple[tuple[RunRecord, tuple[Reference, ...]], ...]:
        return self._session.images_to_undo(images, run)

    def removed_images(self, *names: str, run: str | None = None, check: bool = False) -> tuple[RemovedImage, ...]:
        return self._run(self._session.removed_images(*names, run=run, check=check))

    def plan_undo(self, record: RunRecord, images: Sequence[Reference] | None = None) -> UndoPlan:
        return self._run(self._session.plan_undo(record, images))

    def apply_undo(self, record: RunRecord, plan: UndoPlan, *, stop: Stop | None = None) -> UndoRun:
        return self._run(self._session.apply_undo(record, plan, stop=stop))

    def undo(self, run: str | None = None, *, images: Iterable[str] | None = None, stop: Stop | None = None) -> UndoRun:
        return self._run(self._session.undo(run, images=images, stop=stop))

    def mark_undone(self, record: RunRecord, plan: UndoPlan | None = None) -> None:
        self._session.mark_undone(record, plan)

    def remember(self, proposal: Proposal) -> None:
        self._session.remember(proposal)

    def check_is_own(self, registry: str, what: str) -> None:
        self._session.check_is_own(registry, what)

    def close(self) -> None:
        self.__exit__(None, None, None)

    def _run(self, work: Coroutine[Any, Any, _Found]) -> _Found:
        try:
            _check_no_loop()
        except RuntimeError:
            work.close()  # otherwise Python warns that it was never awaited
            raise
        if self._runner is None:
            import asyncio

            self._runner = asyncio.Runner()
        return self._runner.run(work)


def _check_no_loop() -> None:
    """Raises RuntimeError if an event loop is running: the call would block it."""
    if "asyncio" in sys.modules:
        import asyncio

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise RuntimeError("an event loop is running here: use `async with dregutil.connect(…)`")


for _name, _method in {**vars(CollectionVerbs), **vars(OverviewVerbs), **vars(PullVerbs), **vars(Session)}.items():
    if not _name.startswith("_") and inspect.isfunction(_method):
        _method.__doc__ = getattr(AsyncSession, _name).__doc__  # for help(), which shows no other class
