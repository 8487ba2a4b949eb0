"""What is held, as lines and as objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.report.text import column_lines
from dregutil.retention.holds import Hold

__all__ = ["hold_lines", "hold_object"]


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


def hold_lines(holds: Sequence[Hold]) -> Iterator[str]:
    if not holds:
        return iter(())
    rows = [("IMAGE", "SINCE", "UNTIL", "BY", "BECAUSE"), *map(_row, holds)]
    return (line.rstrip() for line in column_lines(rows))


def _row(hold: Hold) -> tuple[str, ...]:
    until = "no end" if hold.until is None else f"{hold.until:%Y-%m-%d}"
    by = f"undo {hold.run}" if hold.run else hold.by
    return hold.image, f"{hold.since:%Y-%m-%d}", until, by, hold.because
