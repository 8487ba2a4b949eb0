"""What `du` makes a line of. Pure."""

from __future__ import annotations

from dregutil.errors import UsageError

__all__ = ["LABEL", "USAGE_BY", "check_usage_by"]

USAGE_BY = ("repo", "tag", "layer", "namespace")
LABEL = "label="


def check_usage_by(by: str) -> str:
    """`by` itself, if it is one of USAGE_BY or `label=KEY`. Raises UsageError."""
    if by in USAGE_BY or (by.startswith(LABEL) and by != LABEL):
        return by
    raise UsageError(f"by is one of {', '.join(USAGE_BY)} or label=KEY, not {by!r}")
