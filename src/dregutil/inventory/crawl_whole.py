"""Registry → all its tags, compared with the last complete crawl: a catalog or a list may leave some out.

Repositories that the catalog no longer names are asked for their tags, and so is each tag that a list no longer names,
but for those that this machine's own runs removed. Reads the registry and the records of tags; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace

from dregutil.errors import DeniedError, JournalError, ProtocolError, RegistryError
from dregutil.inventory.crawl import crawl
from dregutil.inventory.crawl_result import CrawlProgress, CrawlResult
from dregutil.inventory.tag_history import TagHistory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["with_unlisted_repositories", "with_unlisted_tags"]


async def with_unlisted_repositories(
    registry: Registry,
    found: CrawlResult,
    history: TagHistory,
    *,
    on_progress: Callable[[CrawlProgress], None] | None = None,
    for_policy: bool = False,
) -> CrawlResult:
    """`found`, and the repositories of the last complete crawl that the catalog leaves out and that have tags.
    `for_policy` as `crawl`.

    Records that cannot be read tell nothing here: whoever notes the crawl in them raises.
    """
    try:
        absent = sorted(set(history.repositories()) - found.named)
    except JournalError:
        return found
    if not absent:
        return found
    asked = await crawl(registry, absent, on_progress=on_progress, for_policy=for_policy)
    answering = tuple(name for name in absent if name in asked.failed or asked.inventory.tags(name))
    gone = tuple(name for name in absent if name not in answering)
    return replace(found.with_repositories(asked), unlisted=answering, gone=gone)


async def with_unlisted_tags(
    registry: Registry, found: CrawlResult, history: TagHistory, taken: Set[tuple[Repository, Tag, Digest]]
) -> CrawlResult:
    """`found`, and the tags of the last complete crawl that a list leaves out and that resolve. `taken`: the tags that
    our own runs removed."""
    try:
        read = {*found.named, *found.inventory.repositories} - found.failed.keys()
        omitted = [
            (name, tag)
            for name, tag, digest in history.absent_from(found.inventory)
            if name in read and (name, tag, digest) not in taken
        ]
    except JournalError:
        return found
    resolved = await _resolve(registry, omitted)
    return found.with_tags(resolved) if resolved else found


async def _resolve(
    registry: Registry, names: Collection[tuple[Repository, Tag]]
) -> Mapping[tuple[Repository, Tag], Digest]:
    """What tags stand for, of those that are there."""
    found: dict[tuple[Repository, Tag], Digest] = {}

    async def one(name: tuple[Repository, Tag]) -> None:
        with suppress(RegistryError, DeniedError, ProtocolError):
            resolved = await registry.resolve(*name)
            if resolved is not None:
                found[name] = resolved.digest

    wanted: Sequence[tuple[Repository, Tag]] = sorted(names)
    await for_each(wanted, one)
    return found
