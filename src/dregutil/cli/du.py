"""`du`: what repositories, tags or layers weigh, and what removing each alone would free."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from dregutil.cli.contents import open_contents, read_missing
from dregutil.cli.output import emit, note
from dregutil.cli.repositories import PARTIAL, parse_named
from dregutil.cli.settings import Settings
from dregutil.cli.source import stream_source
from dregutil.errors import UsageError
from dregutil.inventory import Inventory
from dregutil.reference import Digest, Repository, Tag
from dregutil.report.usage import usage_lines, usage_object
from dregutil.usage import Usage, UsageRow

__all__ = ["du"]


def du(args: argparse.Namespace, settings: Settings) -> int:
    named = parse_named(args.repo, settings.address)
    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: no number of lines", advice="a whole number from 1 is meant")
    source = stream_source(settings)
    shown, code = named.expand(source.inventory, source.failed)
    code = max(code, PARTIAL if source.failed else 0)
    if not source.inventory.repositories:
        note(settings, f"{settings.address.name} has no tags")
    with open_contents(settings) as database:
        usage = Usage(database, _tags(source.inventory), shown if named.names else None)
        if read_missing(settings, database, usage.missing()):
            code = PARTIAL
            note(settings, "what could not be read is not counted")
        usage.measure(args.by)
        _show(args, settings, usage)
    return code


def _show(args: argparse.Namespace, settings: Settings, usage: Usage) -> None:
    sort = args.sort or ("size" if args.by == "layer" else "unique")
    rows, total = usage.rows(sort, args.top), usage.total()
    if settings.format == "text":
        lines = usage_lines(args.by, rows, total, longest=usage.longest_name(), bars=sys.stdout.isatty())
        emit(settings, (), lines)
        return
    emit(settings, _objects(settings, rows, total.size), ())


def _objects(settings: Settings, rows: Iterator[UsageRow], total: int) -> Iterator[dict[str, object]]:
    yield from (usage_object(row) for row in rows)
    if settings.format in ("json", "jsonl"):
        yield {"total": total}


def _tags(inventory: Inventory) -> Iterator[tuple[Repository, Tag, Digest]]:
    for repository, tags in inventory.as_mapping().items():
        for tag, digest in tags.items():
            yield repository, tag, digest
