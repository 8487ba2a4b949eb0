"""Registry → inventory: every tag of every repository, and the digest that it names.

Where the registry's service lists digests as well, none is resolved (`listed_tags`).

A fixed number of workers over one iterator, not a task for each tag: a registry may have millions. Repositories are
listed while the tags of earlier ones are resolved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from datetime import UTC, datetime

from dregutil.errors import (
    DregutilError,
    LoginError,
    ManifestError,
    ProtocolError,
    RegistryError,
    UnreachableError,
)
from dregutil.inventory.crawl_result import CrawlProgress, CrawlResult
from dregutil.inventory.listed_tags import ListedTags
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.absence import denied_again
from dregutil.registry.reach import ends_all
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["crawl"]

_REPORT_EVERY = 0.1  # seconds
_LISTED_AHEAD = 4  # repositories whose tags are listed while others are resolved


async def crawl(
    registry: Registry,
    repositories: Sequence[Repository] | None = None,
    *,
    known: Inventory | None = None,
    believed: Inventory | None = None,
    on_progress: Callable[[CrawlProgress], None] | None = None,
    for_policy: bool = False,
) -> CrawlResult:
    """Read all tags of the registry, or of `repositories` only; the result is then not `complete`. Tags in `known` that
    are listed are not resolved: they keep the digest that they have there. So do all tags of a repository if they are
    those that `believed` has of it. `for_policy`: a policy is applied to them,
    see `ListedTags`.

    A repository that fails is named in the result. Raises UnreachableError if the registry does not answer, LoginError
    if it accepts the login for nothing, and what `Registry.repositories` raises.
    """
    work = _Crawl(registry, known or Inventory(), on_progress, ListedTags(registry, for_policy=for_policy))
    work.believed = believed or Inventory()
    started, began = time.monotonic(), datetime.now(UTC)
    await work.run(repositories)
    return CrawlResult(
        work.found,
        work.failed,
        time.monotonic() - started,
        repositories is None and not work.failed,
        work.partly,
        work.unread,
        frozenset(work.named),
        frozenset(registry.odd_names),
        began,
        listings=work.listed.listings,
        doubted=work.listed.doubted,
        believed=work.believed_tags,
    )


class _RepositoryCrawl:
    """A repository that is being read: the tags that wait, those that were resolved, and those that failed."""

    __slots__ = ("found", "name", "open", "unread", "waiting")

    def __init__(self, name: Repository, tags: Sequence[Tag], found: dict[Tag, Digest]) -> None:
        self.name = name
        self.waiting = iter(tags)
        self.open = len(tags)
        self.found = found
        self.unread: dict[Tag, DregutilError] = {}


class _Crawl:
    def __init__(
        self,
        registry: Registry,
        known: Inventory,
        on_progress: Callable[[CrawlProgress], None] | None,
        listed: ListedTags,
    ) -> None:
        self.registry = registry
        self.known = known
        self.believed = Inventory()
        self.believed_tags = 0
        self.found = Inventory()
        self.failed: dict[Repository, DregutilError] = {}
        self.partly: dict[Repository, Mapping[Tag, Digest]] = {}
        self.unread: dict[Repository, Mapping[Tag, DregutilError]] = {}
        self.named: set[Repository] = set()
        self.listed = listed
        self._on_progress = on_progress
        self._reported_at = 0.0
        self._missing: list[tuple[_RepositoryCrawl, Tag]] = []
        self._queue: asyncio.Queue[_RepositoryCrawl | None] = asyncio.Queue(_LISTED_AHEAD)
        self._current: _RepositoryCrawl | None = None
        self._turn = asyncio.Lock()
        self._ended = False
        self._has_read = False  # whether any repository's tags were listed
        self._repositories_known = self._repositories_done = self._tags_known = self._tags_done = 0
        self._catalog_complete = False

    async def run(self, repositories: Sequence[Repository] | None) -> None:
        names = self._catalog() if repositories is None else _given(tuple(dict.fromkeys(repositories)))
        listers = max(1, min(_LISTED_AHEAD, self.registry.concurrency))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._list(names, listers))
                for _ in range(max(1, self.registry.concurrency)):
                    group.create_task(self._resolve())
        except ExceptionGroup as failed:
            raise _first(failed) from None
        await self._ask_again()
        self._raise_if_no_login_was_accepted()
        self._report(last=True)

    async def _catalog(self) -> AsyncIterator[Repository]:
        async for name in self.registry.repositories():
            yield name

    async def _list(self, names: AsyncIterator[Repository], listers: int) -> None:
        turn = asyncio.Lock()

        async def lister() -> None:
            while True:
                async with turn:
                    name = await anext(names, None)
                if name is None:
                    return
                self._repositories_known += 1
                self.named.add(name)
                await self._list_one(name)

        await _together([lister() for _ in range(listers)])
        self._catalog_complete = True
        await self._queue.put(None)

    async def _list_one(self, name: Repository) -> None:
        try:
            tags = await self.listed.read(name)
        except DregutilError as error:
            await self._fail(name, error)
            return
        self._has_read = True
        if isinstance(tags, Mapping):
            self._take(name, tags)
            return
        if not tags:
            self._repositories_done += 1
            return
        believed = self.believed.tags(name)
        if believed and believed.keys() == set(tags):
            self.believed_tags += len(believed)
            self._take(name, believed)
            return
        known = self.known.tags(name)
        kept = {tag: known[tag] for tag in tags if tag in known} if known else {}
        if len(kept) == len(tags):
            self._take(name, kept)
            return
        self._tags_known += len(tags)
        self._tags_done += len(kept)
        await self._queue.put(_RepositoryCrawl(name, [tag for tag in tags if tag not in kept], kept))

    def _take(self, name: Repository, tags: Mapping[Tag, Digest]) -> None:
        """Keep a repository whose tags need not be resolved."""
        self._repositories_done += 1
        self._tags_known += len(tags)
        self._tags_done += len(tags)
        if tags:
            self.found.replace(name, tags)
        if self._on_progress is not None:
            self._report()

    async def _resolve(self) -> None:
        while (following := await self._next()) is not None:
            repository, tag = following
            if repository.name in self.failed:
                continue
            try:
                resolved = await self.registry.resolve(repository.name, tag)
            except (RegistryError, ProtocolError, ManifestError) as error:
                repository.unread[tag] = error  # a broken tag does not hide the others
                resolved = None
            except DregutilError as error:
                await self._fail(repository.name, error)
                continue
            else:
                if resolved is None:
                    self._missing.append((repository, tag))
            if resolved is not None:
                repository.found[tag] = resolved.digest
            self._done(repository)

    async def _ask_again(self) -> None:
        """Resolve the tags once more, after one pause, that are listed and were not found: they may have been deleted
        meanwhile, or a replica does not have them yet."""

        async def ask(missing: tuple[_RepositoryCrawl, Tag]) -> None:
            repository, tag = missing
            if repository.name in self.failed:
                return
            try:
                resolved = await self.registry.resolve(repository.name, tag)
            except DregutilError as error:
                self.found.replace(repository.name, {})
                await self._fail(repository.name, error)
                return
            if resolved is not None:
                repository.found[tag] = resolved.digest

        async def ask_all(
            missing: Collection[tuple[_RepositoryCrawl, Tag]],
        ) -> Collection[tuple[_RepositoryCrawl, Tag]]:
            await for_each(missing, ask, at_once=max(1, self.registry.concurrency))
            return [(repository, tag) for repository, tag in missing if tag not in repository.found]

        await denied_again(self._missing, ask_all)
        for name, repository in {repository.name: repository for repository, _ in self._missing}.items():
            if name not in self.failed:
                self.found.replace(name, repository.found)

    async def _next(self) -> tuple[_RepositoryCrawl, Tag] | None:
        while True:
            current = self._current
            if current is not None:
                tag = next(current.waiting, None)
                if tag is not None:
                    return current, tag
            async with self._turn:
                if self._current is not current:
                    continue
                if self._ended:
                    return None
                self._current = await self._queue.get()
                self._ended = self._current is None

    def _done(self, repository: _RepositoryCrawl) -> None:
        repository.open -= 1
        self._tags_done += 1
        if repository.open == 0 and repository.name not in self.failed:
            self._repositories_done += 1
            self._keep(repository)
        if self._on_progress is not None:
            self._report()

    def _keep(self, repository: _RepositoryCrawl) -> None:
        if not repository.unread:
            self.found.replace(repository.name, repository.found)
            return
        self.partly[repository.name] = repository.found
        self.unread[repository.name] = repository.unread
        self.failed[repository.name] = next(iter(repository.unread.values()))

    async def _fail(self, name: Repository, error: DregutilError) -> None:
        """Record the failure of one repository. A lost registry, or a login that nothing accepts, ends the crawl."""
        if isinstance(error, UnreachableError):
            raise error
        is_public = self._has_read and not self.registry.login.user  # some can be read without a login
        if isinstance(error, LoginError) and not is_public and await ends_all(self.registry, error):
            raise error
        self.failed[name] = error

    def _raise_if_no_login_was_accepted(self) -> None:
        """Raise the LoginError of the first repository if each was refused with one."""
        errors = list(self.failed.values())
        if errors and not self._has_read and all(isinstance(error, LoginError) for error in errors):
            raise errors[0]

    def _report(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._on_progress is None or (not last and now - self._reported_at < _REPORT_EVERY):
            return
        self._reported_at = now
        self._on_progress(
            CrawlProgress(
                self._repositories_done,
                self._repositories_known,
                self._tags_done,
                self._tags_known,
                self._catalog_complete,
                self.registry.allowed_rate,
            )
        )


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    error = failed.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _given(names: Sequence[Repository]) -> AsyncIterator[Repository]:
    for name in names:
        yield name


async def _together(work: Sequence[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)
