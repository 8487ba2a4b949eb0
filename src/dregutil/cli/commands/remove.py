"""`remove-repos` and `remove-tags`: select, plan, and show it, write it down, or carry it out."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from dregutil.cli.commands.query import select
from dregutil.cli.connection import connect_options
from dregutil.cli.contents import open_contents, seen_before
from dregutil.cli.execution import Undertaking, carry_out, tell_unfinished
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.output import count, emit, note, tag_text
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.cli.storage import storage_code, stored_registry
from dregutil.errors import CacheError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.inventory.tags import Inventory
from dregutil.journal.history import RunHistory
from dregutil.journal.store import RunStore
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest
from dregutil.oci.placeholder import LEFT_BEHIND
from dregutil.plan.cost import plan_seconds
from dregutil.plan.file import plan_sum, write_plan
from dregutil.plan.live import plan_removal
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.registry import connect
from dregutil.report.removal import brake_lines, kept_lines, plan_lines, plan_objects
from dregutil.select.selection import Selection, keep_digests, unmatched_tags
from dregutil.storage.garbage_collector import Collector
from dregutil.storage.stored import StoredRegistry

__all__ = ["collector_of", "plan_live", "remove_repos", "remove_tags"]


def remove_repos(args: argparse.Namespace, settings: Settings) -> int:
    return remove_tags(args, settings)


def remove_tags(args: argparse.Namespace, settings: Settings) -> int:
    with seen_before(settings) as seen:
        return _remove(args, settings, seen)


def _remove(args: argparse.Namespace, settings: Settings, seen: KnownManifests) -> int:
    stored = stored_registry(settings)
    source, selection, code = select(args, settings)
    if args.untag:
        selection = keep_digests(selection)
    options = RemovalOptions(args.untag, args.keep_children, args.keep_referrers, args.allow_irreversible)
    indexes = RunHistory(RunStore(settings.state_dir), settings.address.identity).known_indexes()
    readings = FreshSurveys()
    collector = collector_of(args)
    known = Known(source.inventory.as_mapping(), indexes, seen)
    if stored is not None:
        known = known.with_indexes_of(stored)
    plan, seconds = plan_live(settings, selection, source.inventory, options, known, readings, stored, collector)
    code = max(
        code, storage_code(settings), PARTIAL if plan.left_out else 0, PARTIAL if args.strict and plan.kept else 0
    )
    left = [(one.repository, tag, one.digest) for one in plan.kept if one.reason == LEFT_BEHIND for tag in one.tags]
    for line in left_behind_lines(settings, left):
        note(settings, line)
    for line in _unlisted_lines(plan, stored):
        note(settings, line)
    live = {name: graph.tags.keys() for name, graph in readings.graphs.items() if not graph.unjudgeable}
    unmatched = unmatched_tags(selection, source.inventory, live)
    if args.dry_run or args.plan_out:
        _show(args, settings, plan, unmatched, seconds)
        return code
    work = Undertaking(plan, source.inventory, source.whole, known, readings, unmatched, seconds)
    return max(code, _execute(args, settings, work))


def _unlisted_lines(plan: Plan, stored: StoredRegistry | None) -> Iterator[str]:
    """What stays of repositories that are to go: the API lists nothing that has no tag."""
    if not plan.names_repositories or not plan.steps:
        return
    if stored is None:
        yield "manifests without a tag are not listed by the registry, so any that are there stay; --storage names them"
        return
    planned = {(step.repository, step.digest) for step in plan.steps}
    planned |= {(kept.repository, kept.digest) for kept in plan.kept}
    for name in plan.repositories:
        held = stored.repositories.get(name)
        left = sorted(digest for digest in (held.revisions if held else ()) if (name, digest) not in planned)
        if left:
            shown = ", ".join(digest.short for digest in left[:5]) + (" …" if len(left) > 5 else "")
            what = "1 manifest that no tag names stays" if len(left) == 1 else f"{len(left):,} manifests stay untagged"
            yield f"{name}: {what}: {shown}; a policy with `select: {{untagged: true}}` takes them"


def collector_of(args: argparse.Namespace) -> Collector:
    """How the registry's garbage is collected, as `--gc` says."""
    return Collector(args.gc or "default")


def plan_live(
    settings: Settings,
    selection: Selection,
    inventory: Inventory,
    options: RemovalOptions,
    known: Known,
    readings: FreshSurveys,
    stored: StoredRegistry | None,
    collector: Collector,
) -> tuple[Plan, float]:
    """The plan that removes a selection, and about how many seconds it takes; made with a client that can only read."""

    async def make(database: ContentDatabase) -> tuple[Plan, float]:
        async with connect(settings.address, connect_options(settings)) as registry:
            made = await plan_removal(
                registry,
                selection,
                inventory,
                options,
                command=settings.command,
                known_indexes=known.indexes,
                seen=known.seen,
                readings=readings,
                collector=collector,
                stored=stored,
                known=lambda digest: _known(database, digest),
                remember=lambda manifests: _remember(database, manifests),
            )
            return made, plan_seconds(made, registry.request_seconds, registry.concurrency)

    with open_contents(settings) as database:
        return asyncio.run(make(database))


def _known(database: ContentDatabase, digest: Digest) -> Manifest | None:
    """A manifest that was read before; a database that cannot be used knows none."""
    try:
        return database.manifest(digest)
    except CacheError:
        return None


def _remember(database: ContentDatabase, manifests: Iterable[Manifest]) -> None:
    """Keep what was read; a database that cannot be used keeps nothing, and it is only read again."""
    with suppress(CacheError):
        database.add(manifests)


def _execute(args: argparse.Namespace, settings: Settings, work: Undertaking) -> int:
    plan = work.plan
    asks = sys.stdin.isatty() and sys.stderr.isatty() and not args.yes
    for line in () if asks and plan.steps else kept_lines(plan.kept):
        note(settings, line)
    for repository, why in plan.left_out.items():
        sys.stderr.write(f"dregutil: {repository} is left as it is: {why}\n")
    for warning in () if asks else plan.reclaim.warnings:
        sys.stderr.write(f"dregutil: WARNING: {warning}\n")
    if not plan.steps:
        tell_unfinished(settings, RunStore(settings.state_dir), work)
        note(settings, "nothing to remove")
        emit(settings, [], [])
        count(settings, "removed digests", 0)
        return 0
    return carry_out(args, settings, work)


def _show(args: argparse.Namespace, settings: Settings, plan: Plan, unmatched: int, seconds: float) -> None:
    if args.plan_out:
        write_plan(Path(args.plan_out), plan)
        note(settings, f"the plan is in {args.plan_out}, {plan_sum(plan)}; {_apply(args, settings)} carries it out")
    lines = [f"DRY RUN, nothing is removed · {settings.address.name} · read live just now"]
    lines += plan_lines(
        plan,
        unmatched=unmatched,
        undo=settings.advised("undo"),
        seconds=seconds,
        tag_text=tag_text(sys.stdout),
    )
    emit(settings, plan_objects(plan), [*lines, *brake_lines(plan)])


def _apply(args: argparse.Namespace, settings: Settings) -> str:
    return settings.advised(f"apply {shlex.quote(args.plan_out)}")
