"""What a service lists of a repository: its manifests with their tags, as values. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dregutil.oci.names import Digest, Tag

__all__ = ["Entry", "Listing", "difference"]

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest as a service lists it. What it does not say is None, or empty.

    `size` is in bytes, as the service counts them: with layers, or of one platform, or of the manifest alone; see the
    service's module. `pushed` and `pulled` are in UTC; `pulled` is None as well where it was never pulled. `locked`
    says why the service refuses to delete it, `locked_tags` why it refuses to delete or move a tag. `children` are None
    where the service does not tell them. `key` is the service's own name for it (GHCR: the number of the version).
    """

    digest: Digest
    tags: tuple[Tag, ...] = ()
    media_type: str = ""
    size: int | None = None
    pushed: datetime | None = None
    pulled: datetime | None = None
    locked: str = ""
    locked_tags: Mapping[Tag, str] = field(default_factory=dict)
    children: tuple[Digest, ...] | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository as its service lists it.

    `is_complete`: all of it was read, as far as the service shows (its own count, its last page). `has_untagged`:
    manifests without a tag are listed as well. `has_pulls`: an entry without a time was never pulled; else that is not
    known. `doubts` says what to know about its values, each a sentence for people ("crawlers pull every tag").
    `may_dangle`: it may have tags whose manifest was deleted.
    """

    entries: tuple[Entry, ...]
    is_complete: bool
    has_untagged: bool = False
    has_pulls: bool = False
    doubts: tuple[str, ...] = ()
    may_dangle: bool = False

    @property
    def tags(self) -> Mapping[Tag, Digest]:
        return {tag: entry.digest for entry in self.entries for tag in entry.tags}

    @property
    def untagged(self) -> tuple[Entry, ...]:
        """The manifests without a tag; none if they are not listed."""
        return tuple(entry for entry in self.entries if not entry.tags) if self.has_untagged else ()


def difference(listing: Listing, names: Collection[Tag], *, is_whole: bool) -> str:
    """How a listing differs from a page of the registry's own list of tags, in words; empty if it does not.

    `is_whole`: the page has all tags, so that the listing may have no others.
    """
    if not listing.is_complete:
        return "it lists only a part"
    tags = listing.tags
    if len(tags) < sum(len(entry.tags) for entry in listing.entries):
        return "it lists one tag at two manifests"
    lacking = [name for name in names if name not in tags]
    if lacking:
        return f"it lacks {_named(lacking)}, which the registry lists"
    more = tags.keys() - set(names) if is_whole else ()
    return f"it has {_named(sorted(more))}, which the registry does not list" if more else ""


def _named(tags: Collection[Tag]) -> str:
    shown = ", ".join(f"'{tag}'" for tag, _ in zip(tags, range(_MOST_NAMED), strict=False))
    rest = len(tags) - _MOST_NAMED
    return shown if rest <= 0 else f"{shown} and {rest:,} more tags"
