"""`pulls`: shows when images were last pulled, or records it from access logs or what the registry knows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note, plural
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.report.pulls import log_objects, log_text, pull_lines, pull_objects, source_lines
from dregutil.report.terminal import width_of

__all__ = ["pulls"]


def pulls(args: argparse.Namespace, settings: Settings) -> int:
    if args.images[:1] == ["read"]:
        return _read(args.images[1:], args, settings)
    if args.images[:1] == ["sync"]:
        return _sync(args.images[1:], settings)
    if args.line_format is not None or args.ignore_agent is not None:
        raise UsageError("--line-format and --ignore-agent belong to `pulls read`", advice="leave them out")
    with opened(settings) as registry:
        found = registry.pulls(*args.images)
    lines = pull_lines(found, width=width_of(sys.stdout))
    emit(settings, pull_objects(found, address=settings.address.name), lines)
    for line in source_lines(found, advised=settings.advised("listen")):
        note(settings, line)
    return 0


def _read(files: Sequence[str], args: argparse.Namespace, settings: Settings) -> int:
    if not files:
        raise UsageError("`pulls read` names no file", advice="name access logs, or - for standard input")
    with opened(settings) as registry:
        found = registry.read_pulls(*files, line_format=args.line_format, ignore=args.ignore_agent)
    for path, read in zip(files, found, strict=True):
        note(settings, log_text(path, read))
    emit(settings, log_objects(files, found), ())
    return 0


def _sync(repositories: Sequence[str], settings: Settings) -> int:
    with opened(settings) as registry:
        found = registry.sync_pulls(*repositories)
    note(settings, f"{plural(found.pulls, 'pulled manifest')} in {plural(found.repositories, 'repository')}")
    for doubt in found.doubts:
        note(settings, doubt)
    emit(settings, [{"repositories": found.repositories, "pulled": found.pulls, "doubts": list(found.doubts)}], ())
    return 0
