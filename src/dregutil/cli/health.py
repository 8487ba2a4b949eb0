"""The second half of `doctor`: what is broken, and what no tag needs. It only reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.output import note, plural
from dregutil.cli.settings import Settings
from dregutil.cli.storage import read_stored
from dregutil.inventory.health.listed_untagged import ListedUntagged
from dregutil.inventory.health.storage import Finding
from dregutil.plan.waste import Waste
from dregutil.report.units import size_text
from dregutil.session.results import StorageCheckup
from dregutil.session.sync import Session
from dregutil.storage.stored import StoredRegistry

__all__ = ["examine_health", "health_lines"]

Rows = list[tuple[str, str]]
_WIDTH = len("delete by tag")


def examine_health(registry: Session, settings: Settings, *, counts_pulls: bool = False) -> tuple[Rows, int]:
    """What was read and found, as rows, and the exit code: 3 if something is broken.

    From the storage if --storage names it, otherwise from the registry, where that may count as a pull of each tag
    (`counts_pulls`). Raises DregutilError.
    """
    stored = read_stored(registry, settings)
    return (
        _of_registry(registry, settings, counts_pulls=counts_pulls)
        if stored is None
        else _of_storage(stored, registry.check_storage())
    )


def health_lines(rows: Rows) -> Iterator[str]:
    """Rows in the same columns as the checks before."""
    width = max((len(check) for check, _ in rows), default=0)
    return (f"{check:{max(width, _WIDTH)}}  {found}" for check, found in rows)


def _of_registry(registry: Session, settings: Settings, *, counts_pulls: bool) -> tuple[Rows, int]:
    counts = ", which counts as a pull of each here" if counts_pulls else ""
    note(settings, f"reading every tag and index to see what is broken{counts}; --quick leaves it out")
    found = registry.check()
    for line in left_behind_lines(settings, found.left_behind):
        note(settings, line)
    what = f"{plural(found.tags, 'tag')} of {plural(found.repositories, 'repository')}, {_indexes(found.indexes)}"
    rows = [("read", f"{what}, in {found.seconds:.1f} s"), *_untagged(found.untagged), *_findings(found.findings)]
    return rows, 3 if found.findings else 0


def _untagged(found: ListedUntagged | None) -> Rows:
    """What the registry's service lists without a tag."""
    if found is None:
        return []
    listed = f"in {plural(found.repositories, 'repository')} that the registry's own API lists"
    if not found.manifests:
        return [("untagged", f"nothing, {listed}")]
    sizes = [size_text(found.size)] if found.manifests > found.unsized else []
    sizes += [f"{found.unsized:,} of unknown size"] if found.unsized else []
    return [("untagged", f"{plural(found.manifests, 'manifest')} in no index, {' and '.join(sizes)}, {listed}")]


def _of_storage(stored: StoredRegistry, found: StorageCheckup) -> tuple[Rows, int]:
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
    lacking = found.lacking
    if lacking:
        others = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        rows.append(
            ("storage", f"is it this registry's? The catalog names {lacking[0]}{others}, which it does not have")
        )
    rows += _waste(found.waste)
    rows += [("not read" if odd.unread else "damaged", f"{odd.place}: {odd.why}") for odd in stored.hidden]
    return [*rows, *_findings(found.findings)], 3 if found.findings or stored.oddities or lacking else 0


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


def _findings(findings: Iterable[Finding]) -> Rows:
    listed = [(found.flaw.value, f"{found.repository}  {found.what}".strip()) for found in findings]
    return [*listed, ("broken", plural(len(listed), "thing") if listed else "nothing was found")]


def _indexes(number: int) -> str:
    return "1 index" if number == 1 else f"{number:,} indexes"
