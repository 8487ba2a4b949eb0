"""What differs between two plans, as lines and as objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.plan.diff import Change, PlanChange
from dregutil.plan.model import Plan
from dregutil.report.layout import Column, table_lines
from dregutil.report.removal import going_text
from dregutil.report.text import short_tag
from dregutil.report.units import size_text

__all__ = ["change_lines", "change_objects"]

_SIGN = {Change.NEW: "REMOVE", Change.OTHER: "REMOVE", Change.NO_LONGER: "KEEP"}
_COLUMNS = (
    Column(""),
    Column("IMAGE", cut="middle", least=24),
    Column("DIGEST"),
    Column("CREATED"),
    Column("FREES", right=True),
    Column("WHAT", cut="end"),
)


def change_lines(old: Plan, new: Plan, changes: Sequence[PlanChange], *, width: int | None) -> Iterator[str]:
    """A row for each change, then both plans in numbers. `width`: that of the terminal."""
    is_short = width is not None
    yield from table_lines(_COLUMNS, [_row(one, is_short=is_short) for one in changes], width=width)
    if not changes:
        yield "both plans remove the same"
    for name, plan in (("old", old), ("new", new)):
        size = size_text(plan.reclaim.reclaimable_bytes)
        yield f"{name}: {going_text(plan.steps)}, {size}, made {plan.made_at:%Y-%m-%d %H:%M} UTC"


def change_objects(changes: Sequence[PlanChange]) -> list[dict[str, object]]:
    """The object of each change; `was` is the digest in the older plan if it differs."""
    return [
        {
            "change": one.change.value,
            "repository": one.repository,
            "tag": one.tag,
            "digest": one.digest,
            "was": one.was,
            "frees": one.frees,
            "size": one.size,
            "created": None if one.created is None else one.created.isoformat(),
        }
        for one in changes
    ]


def _row(one: PlanChange, *, is_short: bool) -> tuple[str, ...]:
    digest = one.digest.hex[:12] if is_short else one.digest
    tag = "(untagged)" if one.tag is None else short_tag(one.tag) if is_short else one.tag
    image = f"{one.repository} {tag}" if one.tag is None else f"{one.repository}:{tag}"
    what = one.change.value if one.was is None else f"was on {one.was.hex[:12] if is_short else one.was}"
    created = "-" if one.created is None else f"{one.created:%Y-%m-%d}"
    return _SIGN[one.change], image, digest, created, size_text(one.frees), what
