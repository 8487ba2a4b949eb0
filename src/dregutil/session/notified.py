"""What a registry has notified as changed since the last refresh of a cache file, as far as that can be relied on.

A registry keeps what it has not yet sent in memory. So a refresh first sends a HEAD, which is notified as well: only if
that arrives, what was changed before it has arrived too. What overtakes it is read the next time. Changes and processes
of the registry are counted in the order in which they came: clocks are not compared.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from dregutil.errors import DregutilError, JournalError
from dregutil.inventory.refreshed import Refreshed
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Repository, Tag
from dregutil.pulls.agents import marked_agent
from dregutil.pulls.store import PullStore

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.registry.reader import Registry

__all__ = ["Changes", "NotifiedChanges", "merged", "not_notified", "some_tags", "tags_of", "without"]

Changes = Mapping[Repository, frozenset[Tag]]
_LONGEST_WAIT = 5.0  # seconds for the notification of our own HEAD
_MOST_LISTED = 20  # repositories
_MOST_TRIED = 3  # tags: one that is gone is not notified


class NotifiedChanges:
    """The recorded notifications of one registry, as changes of its tags."""

    def __init__(self, store: PullStore) -> None:
        self._store = store

    def mark(self) -> tuple[int, int]:
        """The number of the last change, and how often a process came to another one; zeros if that is not known."""
        return self._counted("change"), self._counted("instance")

    def since(self, last: Refreshed) -> Changes | None:
        """What has changed since a refresh; None if a notification may be missing: a process of the registry has come
        since, and what the one before it had not yet sent is lost."""
        try:
            if self._store.counted("instance") != last.instances or self._store.counted("forgotten") > last.number:
                return None
            return self._store.changed_since(last.number)
        except JournalError:
            return None

    def last(self) -> datetime | None:
        """When the last notification was sent that was received; None if none was."""
        try:
            return self._store.last_event()
        except JournalError:
            return None

    async def are_arriving(self, registry: Registry, known: Iterable[tuple[Repository, Tag]]) -> bool:
        """Send a HEAD, and return whether its notification arrives. Everything that the registry had queued before it
        has then arrived as well."""
        agent = marked_agent(secrets.token_hex(8))
        try:
            for name, tag in islice(known, _MOST_TRIED):
                if await registry.resolve(name, tag, agent=agent) is not None:
                    return await self._arrives(agent)
        except DregutilError:
            return False
        return False

    async def _arrives(self, agent: str) -> bool:
        until = time.monotonic() + _LONGEST_WAIT
        while time.monotonic() < until:
            if self._store.has_marked(agent):
                return True
            await asyncio.sleep(0.02)
        return False

    def _counted(self, name: str) -> int:
        try:
            return self._store.counted(name)
        except JournalError:
            return 0


def tags_of(known: Inventory) -> Iterator[tuple[Repository, Tag]]:
    return ((name, tag) for name in known.repositories for tag in known.tags(name))


async def some_tags(registry: Registry) -> Sequence[tuple[Repository, Tag]]:
    """The tags of the first repository that has any, of the first few; none if they cannot be read."""
    tried = 0
    with suppress(DregutilError):
        async for name in registry.repositories():
            tried += 1
            tags = await registry.tags(name)
            if tags or tried >= _MOST_LISTED:
                return [(name, tag) for tag in tags]
    return ()


def merged(known: Inventory, read: CrawlResult, names: Sequence[Repository], unchanged: Inventory) -> CrawlResult:
    """The whole inventory after `names` were read again, with their `unchanged` tags only listed; those that could not
    be read stay as they were."""
    whole = Inventory(known.as_mapping())
    for name in names:
        if name not in read.failed:
            whole.replace(name, read.inventory.tags(name))
    listed = sum(len(unchanged.tags(name).keys() & read.inventory.tags(name).keys()) for name in names)
    believed = whole.tag_count - read.inventory.tag_count + listed
    return replace(
        read, inventory=whole, named=frozenset(whole.repositories), complete=not read.failed, believed=believed
    )


def without(known: Inventory, changed: Changes) -> Inventory:
    """The tags of the repositories in `changed` that were not."""
    return Inventory(
        {
            name: {tag: digest for tag, digest in known.tags(name).items() if tag not in tags}
            for name, tags in changed.items()
        }
    )


def not_notified(before: Inventory, found: CrawlResult, notified: Changes) -> tuple[int, int]:
    """How many tags changed until a crawl, and how many of them without a notification. A deletion may name no tag, so
    a tag that is gone is notified with its repository."""
    changed = silent = 0
    after = found.inventory
    for name in found.named.union(after.repositories):
        were, are = before.tags(name), after.tags(name)
        if were == are:
            continue
        tags = notified.get(name)
        for tag in were.keys() | are.keys():
            if were.get(tag) != are.get(tag):
                changed += 1
                silent += tags is None or (tag in are and tag not in tags)
    return changed, silent
