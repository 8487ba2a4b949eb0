"""A garbage collection, as lines and as an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dregutil.journal.collections import CollectionRecord
from dregutil.oci.names import Digest
from dregutil.plan.collection import CollectionPlan, Comparison, Prediction, named
from dregutil.report.units import plural, size_text
from dregutil.session.results import CollectionRun

__all__ = [
    "collection_object",
    "final_lines",
    "freed_lines",
    "plan_object",
    "predicted_lines",
    "problem_lines",
    "unended_lines",
]


def predicted_lines(plan: CollectionPlan) -> Iterator[str]:
    """What would be freed: a line for each collector that it may be, or one if they free the same."""
    for one in plan.predictions[:1] if plan.is_exact else plan.predictions:
        by = "" if plan.is_exact else f" by the collector of {one.collector}"
        yield f"{_counted(one.swept)} would be freed{by}"


def final_lines(plan: CollectionPlan) -> Iterator[str]:
    """The runs that become final."""
    if plan.final:
        runs = named([f"{one.run} ({one.started:%Y-%m-%d %H:%M} UTC)" for one in plan.final])
        yield f"no longer to be undone after it: {runs}"


def freed_lines(run: CollectionRun) -> Iterator[str]:
    """What was freed."""
    if run.comparison is not None:
        yield f"freed {_counted(run.comparison.freed)}{', as predicted' if run.is_as_predicted else ''}"


def problem_lines(run: CollectionRun) -> Iterator[tuple[str, str]]:
    """What went wrong, the worst first, each with what to do."""
    found = run.comparison
    if found is not None and found.broken:
        lack = (
            "1 tag lacks what it needs" if len(found.broken) == 1 else f"{len(found.broken):,} tags lack what they need"
        )
        yield f"DAMAGED: {lack} since this collection: {named(found.broken)}", "push these images again"
    if found is not None and found.broken_untagged:
        what = f"{plural(len(found.broken_untagged), 'manifest')} without a tag, pushed meanwhile, lack what they need"
        yield f"DAMAGED: {what}: {named(found.broken_untagged)}", "push these images again"
    if run.exit.goes_on:
        yield "the command ended, and a process that it started still runs: it may go on collecting", _where(run)
    if run.exit.unheard:
        yield "interrupted, and the collector could not be sent SIGINT: it runs as another user", _where(run)
    elif run.exit.interrupted:
        yield "interrupted: the collector was sent SIGINT", _where(run)
    elif run.exit.code:
        how = f"exit code {run.exit.code}" if run.exit.code > 0 else f"signal {-run.exit.code}"
        said = f": {run.exit.last_line}" if run.exit.last_line else ""
        yield f"the collector failed ({how}){said}", _where(run)
    if found is None:
        yield f"what was freed is not known, the storage cannot be read: {run.unread}", "run `dregutil doctor`"
        return
    if found.taken or found.kept:
        yield f"the collection differs from what was predicted: {'; '.join(_differences(found))}", _where(run)
    if found.has_pushes:
        what = f"the registry was not read-only during the collection: {'; '.join(_meanwhile(found))}"
        yield what, "`dregutil doctor --storage PATH` shows what is damaged, now or by pushes that went on"


def unended_lines(records: Iterable[CollectionRecord]) -> Iterator[str]:
    """A line for each collection whose result is unknown."""
    for one in records:
        if one.ended is None:
            when = f"{one.started:%Y-%m-%d %H:%M} UTC"
            yield f"the garbage collection of {when} did not end; the next `dregutil collect` finds out what it took"


def plan_object(plan: CollectionPlan) -> dict[str, object]:
    """The object of `--dry-run`."""
    return {
        "collection": None,
        "predicted": [_prediction_object(one) for one in plan.predictions],
        "exact": plan.is_exact,
        "runs": [one.run for one in plan.final],
        "refused": [one.why for one in plan.refusals],
        "freed": None,
        "as_predicted": None,
        "exit_code": None,
    }


def collection_object(run: CollectionRun) -> dict[str, object]:
    """The object of a collection that ran."""
    found = run.comparison
    return {
        **plan_object(run.plan),
        "collection": run.id,
        "runs": list(run.final),
        "freed": None if found is None else {"blobs": len(found.freed), "bytes": found.size},
        "as_predicted": run.is_as_predicted,
        "exit_code": run.exit.code,
        "interrupted": run.exit.interrupted,
        "not_freed": [] if found is None else sorted(found.kept),
        "also_freed": [] if found is None else sorted(found.taken),
        "added": [] if found is None else sorted(found.added),
        "changed_tags": [] if found is None else list(found.changed),
        "damaged_tags": [] if found is None else list(found.broken),
        "damaged_untagged": [] if found is None else list(found.broken_untagged),
        "output": str(run.output),
        "seconds": dict(zip(("read", "collect", "compare"), (round(one, 3) for one in run.seconds), strict=True)),
    }


def _prediction_object(one: Prediction) -> dict[str, object]:
    return {
        "collector": one.collector.generation.value,
        "untagged": one.collector.deletes_untagged,
        "blobs": len(one.swept),
        "bytes": one.size,
    }


def _differences(found: Comparison) -> Iterator[str]:
    for blobs, what in ((found.taken, "gone, and not predicted"), (found.kept, "predicted to go, and there")):
        if blobs:
            yield f"{_counted(blobs)} {what}: {named(sorted(blobs))}"


def _meanwhile(found: Comparison) -> Iterator[str]:
    if found.changed:
        yield f"tags pushed, moved or deleted meanwhile: {named(found.changed)}"
    if found.added:
        yield f"{_counted(found.added)} pushed meanwhile: {named(sorted(found.added))}"


def _counted(blobs: Mapping[Digest, int]) -> str:
    return f"{plural(len(blobs), 'blob')}, {size_text(sum(blobs.values()))}"


def _where(run: CollectionRun) -> str:
    return f"its output is in {run.output}"
