"""What the lists of images in use name of this registry and what is not there, told on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dregutil.report.cleanup import list_lines
from dregutil.retention.in_use import ListReport

__all__ = ["tell_doubts"]


def tell_doubts(lists: Sequence[ListReport]) -> None:
    """Name on standard error what lists name of this registry that is not there, or was not understood."""
    for line in list_lines([one for one in lists if one.absent or one.doubtful]):
        sys.stderr.write(f"dregutil: {line.strip()}\n")
