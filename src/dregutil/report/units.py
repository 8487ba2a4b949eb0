"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["size_text"]

_STEP = 1000


def size_text(size: int) -> str:
    """A number of bytes in decimal units (`184 MB`), as `docker images` shows it."""
    amount = float(size)
    units = ["B", "kB", "MB", "GB", "TB"]
    while amount >= _STEP and len(units) > 1:
        amount /= _STEP
        units.pop(0)
    return f"{amount:.1f} {units[0]}" if amount < 10 and units[0] != "B" else f"{amount:.0f} {units[0]}"
