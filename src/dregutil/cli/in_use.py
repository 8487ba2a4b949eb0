"""Reports entries in the lists of images in use that this registry does not have, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dregutil.report.cleanup import list_lines
from dregutil.retention.in_use import ListReport

__all__ = ["tell_doubts"]


def tell_doubts(lists: Sequence[ListReport]) -> None:
    """Name on standard error the entries that this registry does not have, that were not understood, or whose host may
    be one of its names."""
    for line in list_lines([one for one in lists if one.absent or one.doubtful or one.elsewhere]):
        sys.stderr.write(f"dregutil: {line.strip()}\n")
