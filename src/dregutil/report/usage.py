"""`du`: lines with a bar on a terminal, and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from dregutil.inventory.contents.measured import TotalUsage, UsageRow
from dregutil.oci.names import Digest
from dregutil.plan.listed_waste import ListedWaste
from dregutil.report.layout import cut
from dregutil.report.units import plural, size_text
from dregutil.select.usage_by import LABEL

__all__ = ["listed_waste_lines", "row_name", "total_object", "unowned_name", "usage_lines", "usage_object"]

_BAR = 12  # characters
_SHARED_WIDTH = 8
_LEAST_NAME = 20  # cells that a name keeps on a terminal
_HEADERS = {
    "repo": ("REPOSITORY", "TAGS", "FREED IF REMOVED", "SHARED"),
    "tag": ("IMAGE", "FREED IF REMOVED", "SHARED"),
    "owner": ("{}", "REPOS", "TAGS", "FREED IF REMOVED", "SHARED"),
    "layer": ("LAYER", "IMAGES", "REPOSITORIES", "SIZE", ""),
}
_SHARED = {
    "repo": "no single repository frees it",
    "tag": "no single tag frees it",
    "owner": "no row frees it",
    "layer": "no single image frees it",
}


def usage_object(row: UsageRow, by: str, created: Callable[[Digest], datetime | None]) -> dict[str, object]:
    """The object of a row. `created` returns when the image of a tag was built, None if that is not known."""
    if row.owner is not None:
        label = by.removeprefix(LABEL)
        named: dict[str, object] = {"namespace": row.owner or None}
        return {
            **({"label": label, "value": row.owner or None} if by.startswith(LABEL) else named),
            "repositories": row.repositories,
            "tags": row.tags,
            "images": row.images,
            "size": row.size,
            "unique": row.unique,
            "shared": row.shared,
        }
    if row.repository is None:
        return {
            "layer": row.digest,
            "repositories": row.repositories,
            "images": row.images,
            "size": row.size,
            "unique": row.unique,
            "shared": row.shared,
        }
    found: dict[str, object] = {
        "repository": row.repository,
        **({} if row.tag is None else {"tag": row.tag}),
        "tags": row.tags,
        "images": row.images,
        "size": row.size,
        "unique": row.unique,
        "shared": row.shared,
    }
    if row.tag is not None and row.digest is not None:
        built = created(row.digest)
        found |= {"digest": row.digest, "created": None if built is None else built.isoformat()}
    return found


def total_object(total: TotalUsage, untagged: ListedWaste | None) -> dict[str, object]:
    """The object that ends the list: `untagged` is a key of it only where the registry's service lists that."""
    if untagged is None:
        return {"total": total.size}
    return {
        "total": total.size,
        "untagged": {
            "manifests": untagged.manifests,
            "size": untagged.size,
            "exact": untagged.is_exact,
            "unread": untagged.unread,
            "unjudged_repositories": untagged.unjudged,
            "repositories": untagged.repositories,
        },
    }


def listed_waste_lines(found: ListedWaste | None) -> Iterator[str]:
    """What no row counts, because no tag needs it, and why some of that is not known."""
    if found is None:
        return
    if found.manifests:
        most = "" if found.is_exact else "at most "
        yield f"{_manifests(found.manifests)}, which alone hold {most}{size_text(found.size)}"
    if found.unread:
        why = ", never read: reading counts as a pull here" if found.counts_pulls else " that could not be read"
        yield f"{_manifests(found.unread)}{why}"
    if found.unjudged:
        yield f"manifests without a tag in {plural(found.unjudged, 'repository')} with one of an unknown type"


def _manifests(number: int) -> str:
    return f"{plural(number, 'manifest')} without a tag"


def usage_lines(
    by: str,
    rows: Iterable[UsageRow],
    total: TotalUsage,
    *,
    longest: int,
    bars: bool,
    width: int | None = None,
    tag_text: Callable[[str], str] = str,
) -> Iterator[str]:
    """A line for each row, then the other rows together, what several share, and the total.

    `longest`: the length of the longest name. `bars`: draw what a row frees, relative to the largest.
    `width`: that of the terminal; names that do not fit are cut. `tag_text`: how tags are shown.
    """
    kind = by if by in _HEADERS else "owner"
    header = tuple(name.format(by.removeprefix(LABEL).upper()) for name in _HEADERS[kind])
    gap = " " * (_BAR + 1) if bars else ""
    longest = max(longest, len("manifests, configs"), len(f"{total.rows:,} others"))
    widths = _widths(header, longest, len(gap), width)

    def line(name: str, counts: Sequence[str], freed: str, rest: str = "") -> str:
        sized = zip((*counts, freed), widths[1:], strict=True)
        cells = [f"{cut(name, widths[0], 'middle'):{widths[0]}}", *(f"{number:>{size}}" for number, size in sized)]
        return f"{'  '.join(cells)}{rest}".rstrip()

    yield line(header[0], header[1:-2], header[-2], f"{gap}  {header[-1]:>{_SHARED_WIDTH}}")
    number = shown = 0
    for row in rows:
        weight = row.size if kind == "layer" else row.unique
        number += 1
        shown += weight
        bar = f" {_bar(weight, total.most):{_BAR}}" if bars else ""
        shared = "" if kind == "layer" else f"  {size_text(row.shared):>{_SHARED_WIDTH}}"
        yield line(row_name(row, tag_text, by), _counts(row), size_text(weight), f"{bar}{shared}")
    for name, weight, rest in _closing_lines(kind, total, number, shown):
        yield line(name, [""] * (len(header) - 3), size_text(weight), rest)


def _widths(header: Sequence[str], longest: int, gap: int, width: int | None) -> list[int]:
    """The widths of the columns but the last: the first is as wide as its `longest` name, if that fits into `width`."""
    widths = [max(longest, len(header[0])), *(max(len(title), 7) for title in header[1:-1])]
    if width is not None:
        beside = sum(widths[1:]) + 2 * len(widths) + _SHARED_WIDTH + gap
        widths[0] = max(min(widths[0], width - beside), _LEAST_NAME)
    return widths


def _closing_lines(by: str, total: TotalUsage, number: int, shown: int) -> Iterator[tuple[str, int, str]]:
    """The other rows, what several share, and the total, after `number` rows with `shown` bytes."""
    if total.rows > number:
        left = total.rows - number
        weight = total.size - total.other if by == "layer" else total.unique
        yield f"{left:,} other{'' if left == 1 else 's'}", weight - shown, ""
    yield "shared by several", total.shared, f"  {_SHARED[by]}"
    if by == "layer":
        yield "manifests, configs", total.other, ""
    yield "total", total.size, ""


def unowned_name(by: str) -> str:
    """The name of the row for what has no namespace, or no such label."""
    return f"(no label {by.removeprefix(LABEL)})" if by.startswith(LABEL) else "(no namespace)"


def row_name(row: UsageRow, tag_text: Callable[[str], str], by: str = "") -> str:
    """The first column of a row."""
    if row.owner is not None:
        return row.owner or unowned_name(by)
    if row.repository is None:
        return str(row.digest)
    return row.repository if row.tag is None else f"{row.repository}:{tag_text(row.tag)}"


def _counts(row: UsageRow) -> Sequence[str]:
    if row.owner is not None:
        return (f"{row.repositories:,}", f"{row.tags:,}")
    if row.repository is None:
        return (f"{row.images:,}", f"{row.repositories:,}")
    return (f"{row.tags:,}",) if row.tag is None else ()


def _bar(part: int, most: int) -> str:
    return "#" * (round(part / most * _BAR) if most else 0)
