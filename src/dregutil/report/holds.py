"""What is held, as lines and as objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.report.layout import Column, table_lines
from dregutil.retention.holds import Hold

__all__ = ["hold_lines", "hold_object"]

_COLUMNS = (
    Column("IMAGE", cut="middle", least=20),
    Column("SINCE"),
    Column("UNTIL"),
    Column("BY", cut="end", least=8),
    Column("BECAUSE", cut="end", least=12),
)


def hold_object(hold: Hold) -> dict[str, object]:
    """The object of a hold. `tag` is None for the hold of a digest, `digest` for that of a tag, `until` if it has no
    end, `undo` unless an undo put the image back."""
    return {
        "image": hold.image,
        "repository": hold.repository,
        "tag": hold.tag,
        "digest": hold.digest,
        "since": hold.since.isoformat(timespec="seconds"),
        "until": None if hold.until is None else hold.until.isoformat(timespec="seconds"),
        "by": hold.by,
        "because": hold.because,
        "undo": hold.run or None,
    }


def hold_lines(holds: Sequence[Hold], *, width: int | None = None) -> Iterator[str]:
    return table_lines(_COLUMNS, map(_row, holds), width=width)


def _row(hold: Hold) -> tuple[str, ...]:
    until = "no end" if hold.until is None else f"{hold.until:%Y-%m-%d}"
    because = hold.because or (f"undo {hold.run}" if hold.run else "")
    return hold.image, f"{hold.since:%Y-%m-%d}", until, hold.by or "-", because
