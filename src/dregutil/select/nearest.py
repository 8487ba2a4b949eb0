"""Suggestions for misspelled names. Pure."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["near"]


def near(name: str, there: Collection[str]) -> str:
    """` (did you mean …?)`, or empty if no name is similar."""
    import difflib  # only needed after a mistake

    found = difflib.get_close_matches(name, there, n=2)
    return f" (did you mean {' or '.join(found)}?)" if found else ""
