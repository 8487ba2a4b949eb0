"""Selectors that match no tag, and excluded tags that do not exist: usually typing errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.select.nearest import near
from dregutil.select.selector import Exact, Selector, TagSelector

__all__ = ["unmatched_lines"]

_MOST_NAMED = 5


def unmatched_lines(
    given: Sequence[str],
    selector: TagSelector,
    inventory: Inventory,
    repositories: Sequence[Repository],
    *,
    exclude: str = "-x",
) -> list[str]:
    """A line for each, at most five, with the nearest tag of `repositories`. `given`: the selectors that include, as
    texts; `exclude`: the option of those that exclude."""
    names = {one.name for one in selector.exclude if isinstance(one, Exact)}
    missing = {place: one for place, (_, one) in enumerate(zip(given, selector.include, strict=False))}
    for repository in repositories:
        if not (missing or names):
            return []
        tags = inventory.tags(repository)
        names -= tags.keys()
        missing = {place: one for place, one in missing.items() if not _is_there(one, tags)}
    lines = [
        f"{given[place]} selects no tag{_near(one.name, inventory, repositories) if isinstance(one, Exact) else ''}"
        for place, one in missing.items()
    ]
    lines += [
        f"{exclude} {one.name} names no tag{_near(one.name, inventory, repositories)}"
        for one in selector.exclude
        if isinstance(one, Exact) and one.name in names
    ]
    more = len(lines) - _MOST_NAMED
    return lines if more <= 0 else [*lines[:_MOST_NAMED], f"and {more:,} more that match no tag"]


def _is_there(one: Selector, tags: Mapping[Tag, Digest]) -> bool:
    return one.name in tags if isinstance(one, Exact) else any(map(one.matches, tags))


def _near(name: str, inventory: Inventory, repositories: Sequence[Repository]) -> str:
    return near(name, {tag for repository in repositories for tag in inventory.tags(repository)})
