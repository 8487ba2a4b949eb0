"""Names and texts of others, as a page shows them: on one line, without characters that are not shown, cut. Pure."""

from __future__ import annotations

from dregutil.errors import escaped

__all__ = ["label"]

LONGEST = 300  # characters


def label(text: str, most: int = LONGEST) -> str:
    """`text` with escapes for control and bidi characters; of a longer one the first `most` characters and an
    ellipsis."""
    shown = escaped(text[: most + 1])
    return shown if len(text) <= most and len(shown) <= 2 * most else f"{shown[: most - 1]}…"
