"""`pulls`: shows when images were last pulled."""

from __future__ import annotations

import argparse
import sys

from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings
from dregutil.report.pulls import pull_lines, pull_objects, source_lines
from dregutil.report.terminal import width_of

__all__ = ["pulls"]


def pulls(args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as registry:
        found = registry.pulls(*args.images)
    lines = pull_lines(found, width=width_of(sys.stdout))
    emit(settings, pull_objects(found, address=settings.address.name), lines)
    for line in source_lines(found, advised=settings.advised("listen")):
        note(settings, line)
    return 0
