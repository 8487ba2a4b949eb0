"""`ls`: tags with their age, size and platforms, as lines and as objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dregutil.inventory.tag_history import Sighting
from dregutil.oci.image import ImageDetails, known_date
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.pull import Pull
from dregutil.report.layout import Column, table_lines
from dregutil.report.text import short_tag
from dregutil.report.units import age_text, size_text
from dregutil.select.version import tag_order

__all__ = ["COLUMNS", "DEFAULT", "SORTS", "ListedTag", "listing_lines", "listing_objects", "sorted_tags"]

COLUMNS = (
    *("repository", "tag", "image", "age", "created", "size", "platforms", "digest"),
    *("type", "labels", "pushed", "pulled", "freed"),
)
DEFAULT = ("repository", "tag", "age", "size", "platforms", "digest")
SORTS = ("name", "version", "age", "size")


@dataclass(frozen=True, slots=True)
class ListedTag:
    """A tag as it is listed. `details` is what its image contains; None if it was not read. `sighting`: what the
    records know of when it came. `freed`: bytes that removing this tag alone would free. `pull`: the
    last one that is recorded."""

    repository: Repository
    tag: Tag
    digest: Digest
    details: ImageDetails | None = None
    sighting: Sighting | None = None
    freed: int | None = None
    pull: Pull | None = None


def sorted_tags(tags: Iterable[ListedTag], by: str, now: datetime, *, is_reversed: bool = False) -> list[ListedTag]:
    """Tags by one of SORTS: "name" is repository, then tag; "version" is repository, then the order of versions;
    "age" begins with the oldest image, "size" with the largest. Tags whose age or size is not known come last."""
    if by == "name":
        return sorted(tags, key=lambda one: (one.repository, one.tag), reverse=is_reversed)
    listed = sorted(tags, key=lambda one: (one.repository, tag_order(one.tag)))
    if by == "version":
        return listed[::-1] if is_reversed else listed
    weights = {one.digest: _weight(one.details, by, now) for one in listed}
    known = [one for one in listed if weights[one.digest] is not None]
    known.sort(key=lambda one: weights[one.digest] or 0.0, reverse=not is_reversed)
    return [*known, *(one for one in listed if weights[one.digest] is None)]


def listing_lines(
    tags: Sequence[ListedTag], columns: Sequence[str], now: datetime, *, address: str, width: int | None
) -> Iterator[str]:
    """A table of `columns` (of COLUMNS). With `width`, that of a terminal, digests and signature tags are short, and
    what does not fit is cut."""
    is_short = width is not None
    made = {name: _cell(name, now, address, is_short=is_short) for name in columns}
    rows = ([made[name](one) for name in columns] for one in tags)
    return table_lines([_LAYOUT[name] for name in columns], rows, width=width)


def listing_objects(tags: Iterable[ListedTag], columns: Sequence[str], *, address: str) -> Iterator[dict[str, object]]:
    """Objects with the keys of `columns`: full digests, bytes, dates in UTC; null for what is not known. `age` is given
    by `created`, and `pushed` by the two moments between which the tag came."""
    for one in tags:
        found: dict[str, object] = {}
        for name in columns:
            found.update(_values(name, one, address))
        yield found


def _weight(details: ImageDetails | None, by: str, now: datetime) -> float | None:
    if details is None:
        return None
    if by == "size":
        return details.size
    created = known_date(details.created, now)
    return None if created is None else (now - created).total_seconds()


_LAYOUT = {
    "repository": Column("REPOSITORY", cut="middle", least=12),
    "tag": Column("TAG", cut="middle", least=24),
    "image": Column("IMAGE", cut="middle", least=24),
    "age": Column("AGE", right=True),
    "created": Column("CREATED (UTC)"),
    "size": Column("SIZE", right=True),
    "platforms": Column("PLATFORMS", cut="end"),
    "digest": Column("DIGEST"),
    "type": Column("TYPE", cut="middle", least=12),
    "labels": Column("LABELS", cut="end", least=10),
    "pushed": Column("PUSHED"),
    "pulled": Column("PULLED"),
    "freed": Column("FREED", right=True),
}


def _cell(name: str, now: datetime, address: str, *, is_short: bool) -> Callable[[ListedTag], str]:
    """How a cell of the column `name` is written."""
    plain: Mapping[str, Callable[[ListedTag], str]] = {
        "repository": lambda one: one.repository,
        "tag": lambda one: short_tag(one.tag) if is_short else one.tag,
        "image": lambda one: f"{one.repository}:{one.tag}" if is_short else f"{address}/{one.repository}:{one.tag}",
        "digest": lambda one: one.digest.hex[:12] if is_short else one.digest,
        "pushed": lambda one: _pushed_text(one.sighting, now),
        "pulled": lambda one: "-" if one.pull is None else f"{age_text((now - one.pull.at).total_seconds())} ago",
        "freed": lambda one: "-" if one.freed is None else size_text(one.freed),
    }
    return plain.get(name) or (lambda one: "-" if one.details is None else _content(name, one.details, now))


def _content(name: str, details: ImageDetails, now: datetime) -> str:
    created = known_date(details.created, now)
    if name == "size":
        return size_text(details.size)
    if name == "age":
        return "unknown" if created is None else age_text((now - created).total_seconds())
    if name == "created":
        return "unknown" if created is None else f"{created:%Y-%m-%d %H:%M}"
    if name == "platforms":
        return ", ".join(details.platforms) or "-"
    if name == "labels":
        return ", ".join(f"{key}={value}" for key, value in sorted(details.labels.items())) or "-"
    return details.artifact_type or details.media_type


def _pushed_text(sighting: Sighting | None, now: datetime) -> str:
    """When a tag came: records know it from one crawl to the next, or only that it was there when they began."""
    if sighting is None:
        return "-"
    since = age_text((now - sighting.known_since).total_seconds())
    if not sighting.came or sighting.unseen is None:
        return f"over {since} ago"
    before = age_text((now - sighting.unseen).total_seconds())
    return f"{since} ago" if before == since else f"{since} to {before} ago"


def _values(name: str, one: ListedTag, address: str) -> dict[str, object]:
    details, sighting = one.details, one.sighting
    if name == "pushed":
        came = sighting is not None and sighting.came
        return {
            "pushed_after": sighting.unseen.isoformat() if sighting and came and sighting.unseen else None,
            "pushed_before": None if sighting is None else sighting.known_since.isoformat(),
        }
    if name == "pulled":
        return {"pulled": None if one.pull is None else one.pull.at.isoformat()}
    if name in ("age", "created"):
        created = None if details is None else details.created
        return {"created": None if created is None else created.isoformat()}
    found: dict[str, object] = {
        "repository": one.repository,
        "tag": one.tag,
        "image": f"{address}/{one.repository}:{one.tag}",
        "digest": one.digest,
        "freed": one.freed,
        "size": None if details is None else details.size,
        "platforms": None if details is None else list(details.platforms),
        "labels": None if details is None else dict(details.labels),
        "type": None if details is None else details.artifact_type or details.media_type,
    }
    return {name: found[name]}
