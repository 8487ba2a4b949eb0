"""The second half of `doctor`: what is broken, and what lies about. With a client that can only read."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from dregutil.cli.connection import connect_options
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.output import note, plural
from dregutil.cli.settings import Settings
from dregutil.cli.source import repositories_given
from dregutil.cli.storage import stored_registry
from dregutil.errors import AccessError, RegistryError
from dregutil.inventory.health.registry import Checkup, check_registry
from dregutil.inventory.health.storage import Finding, examine_storage
from dregutil.oci.names import Repository
from dregutil.plan.waste import Waste, wasted
from dregutil.registry import connect
from dregutil.report.progress import crawl_progress
from dregutil.report.units import size_text
from dregutil.storage.stored import StoredRegistry

__all__ = ["examine_health", "health_lines"]

Rows = list[tuple[str, str]]
_WIDTH = len("delete by tag")


def examine_health(settings: Settings) -> tuple[Rows, int]:
    """What was read and found, a row for each, and the exit code: 3 where something is broken.

    From the storage where --storage names it, else from the registry. Raises DregutilError.
    """
    stored = stored_registry(settings)
    return _of_registry(settings) if stored is None else _of_storage(settings, stored)


def health_lines(rows: Rows) -> Iterator[str]:
    """In columns like those of the checks before."""
    width = max((len(check) for check, _ in rows), default=0)
    return (f"{check:{max(width, _WIDTH)}}  {found}" for check, found in rows)


def _of_registry(settings: Settings) -> tuple[Rows, int]:
    note(settings, "reading every tag and index to see what is broken; --quick leaves it out")

    listed = repositories_given(settings)

    async def check() -> Checkup:
        async with connect(settings.address, connect_options(settings)) as registry:
            with crawl_progress(show=sys.stderr.isatty() and not settings.quiet) as on_progress:
                return await check_registry(registry, listed, on_progress=on_progress)

    found = asyncio.run(check())
    for line in left_behind_lines(settings, found.left_behind):
        note(settings, line)
    what = f"{plural(found.tags, 'tag')} of {plural(found.repositories, 'repository')}, {_indexes(found.indexes)}"
    return [("read", f"{what}, in {found.seconds:.1f} s"), *_findings(found.findings)], 3 if found.findings else 0


def _of_storage(settings: Settings, stored: StoredRegistry) -> tuple[Rows, int]:
    held = stored.repositories.values()
    number = sum(len(repository.revisions) for repository in held)
    tags = sum(len(repository.tags) for repository in held)
    rows = [
        (
            "storage",
            f"{plural(tags, 'tag')} and {plural(number, 'manifest')} in {plural(len(held), 'repository')}, "
            f"{plural(len(stored.blobs), 'blob')}, {size_text(sum(stored.blobs.values()))}",
        )
    ]
    lacking = asyncio.run(_lacking(settings, stored))
    if lacking:
        others = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        rows.append(
            ("storage", f"is it this registry's? The catalog names {lacking[0]}{others}, which it does not have")
        )
    rows += _waste(wasted(stored, datetime.now(UTC)))
    findings = [*examine_storage(stored)]
    rows += [("not read" if odd.unread else "damaged", f"{odd.place}: {odd.why}") for odd in stored.hidden]
    return [*rows, *_findings(findings)], 3 if findings or stored.oddities or lacking else 0


def _waste(waste: Waste) -> Rows:
    uploads = ("stale uploads", f"{waste.uploads:,}, {size_text(waste.upload_bytes)}")
    if waste.unread:
        why = f"not known: {plural(waste.unread, 'place')} in the storage could not be read"
        return [("untagged", why), ("orphaned", why), uploads]
    most = "at most " if waste.hidden else ""
    then = "free at the next garbage collection"
    if waste.stops:
        then = f"free once the garbage collector no longer stops at {waste.stops}"
    held = f"{plural(waste.untagged, 'manifest')}, which alone hold {size_text(waste.untagged_bytes)}"
    if waste.unjudged:
        held += f"; not judged in {plural(waste.unjudged, 'repository')}"
    return [
        ("untagged", held),
        ("orphaned", f"{most}{plural(waste.orphans, 'blob')}, {size_text(waste.orphan_bytes)}: {then}"),
        uploads,
    ]


async def _lacking(settings: Settings, stored: StoredRegistry) -> list[Repository]:
    """The repositories of the catalog, where it is open, that the storage does not have."""
    async with connect(settings.address, connect_options(settings)) as registry:
        with suppress(AccessError, RegistryError):
            return [name async for name in registry.repositories() if name not in stored.repositories]
    return []


def _findings(findings: Iterable[Finding]) -> Rows:
    listed = [(found.flaw.value, f"{found.repository}  {found.what}".strip()) for found in findings]
    return [*listed, ("broken", plural(len(listed), "thing") if listed else "nothing was found")]


def _indexes(number: int) -> str:
    return "1 index" if number == 1 else f"{number:,} indexes"
