"""`undo`: puts back what a run removed, or some of its images, if the registry still has the layers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dregutil.apply.undo.plan import UndoEntry, UndoPlan
from dregutil.apply.undo.run import UndoResult, UndoRun
from dregutil.cli.consent import agreed, check_consent
from dregutil.cli.execution import INTERRUPTED, warn_of_state
from dregutil.cli.interrupt import stop_on_signals
from dregutil.cli.opened import opened
from dregutil.cli.other_names import other_name_advice
from dregutil.cli.output import emit, note, plural
from dregutil.cli.recorded import recorded
from dregutil.cli.removed import list_removed
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import NotFoundError, UsageError
from dregutil.journal.collections import Collected, collected_by
from dregutil.journal.record import RunRecord
from dregutil.report.removal import lost_by_interruption_line
from dregutil.report.runs import damage_text
from dregutil.report.terminal import width_of
from dregutil.report.undo import entry_lines, entry_object, plan_problem_lines, run_problem_lines
from dregutil.retention.holds import HELD_FOR
from dregutil.session.sync import Session

__all__ = ["undo"]


@dataclass(frozen=True)
class _Work:
    """A run, and what an undo of it can put back."""

    record: RunRecord
    plan: UndoPlan

    @property
    def needed(self) -> list[UndoEntry]:
        return [entry for entry in self.plan.entries if entry.may_come_back]

    @property
    def lost(self) -> list[UndoEntry]:
        return [entry for entry in self.plan.entries if entry.lost or entry.unread]

    @property
    def is_partial(self) -> bool:
        """Whether something is known not to come back."""
        return bool(self.lost or self.plan.lost or self.record.damaged)

    @property
    def command(self) -> str:
        """The command that continues it."""
        return " ".join(("undo", self.record.run, *map(str, self.plan.images)))


def undo(args: argparse.Namespace, settings: Settings) -> int:
    if args.list:
        return list_removed(args, settings)
    if args.check:
        raise UsageError("--check belongs to --list", advice="--dry-run shows what can be put back of a run")
    check_consent(args, "--dry-run shows what would be put back; -y puts it back without asking")
    with opened(settings) as registry:
        chosen = registry.images_to_undo(args.images, args.run) if args.images else None
        records = ((_record(args, settings, registry), None),) if chosen is None else chosen
        with registry.lock():
            work = [_Work(record, registry.plan_undo(record, images)) for record, images in records]
            return _undo(args, settings, registry, work)


def _undo(args: argparse.Namespace, settings: Settings, registry: Session, work: Sequence[_Work]) -> int:
    needed = [entry for one in work for entry in one.needed]
    code = PARTIAL if any(one.is_partial for one in work) else 0
    collected = collected_by(registry.collections())
    for one in work:
        _tell(settings, one, collected.get(one.record.run), details=args.details)
    if args.dry_run:
        emit(
            settings,
            [entry_object(entry, "would be restored") for entry in needed],
            entry_lines(needed, width=width_of(sys.stdout)),
        )
        return code
    if not any(one.plan.is_needed for one in work):
        note(settings, "nothing can be put back" if any(one.lost for one in work) else "nothing to put back")
        _mark_undone(registry, work)
        emit(settings, [], [])
        return code
    if not args.yes and not agreed(_question(settings, needed)):
        note(settings, "nothing was put back")
        return 0
    warn_of_state(registry)
    _mark_undone(registry, [one for one in work if not one.plan.is_needed])
    results: list[tuple[_Work, UndoRun]] = []
    with stop_on_signals() as stop:
        for one in work:
            if one.plan.is_needed:
                results.append((one, registry.apply_undo(one.record, one.plan, stop=stop)))
                if results[-1][1].interrupted or results[-1][1].error is not None:
                    break
    done = _report(settings, results, details=args.details)
    return PARTIAL if any(one.record.damaged or one.plan.lost for one in work) and not done else done


def _mark_undone(registry: Session, work: Sequence[_Work]) -> None:
    for one in work:
        if not one.is_partial:
            registry.mark_undone(one.record, one.plan)


def _question(settings: Settings, needed: Sequence[UndoEntry]) -> str:
    tags, manifests = sum(len(entry.tags) for entry in needed), sum(not entry.is_there for entry in needed)
    what = f"{plural(tags, 'tag')} ({plural(manifests, 'manifest')})" if tags else plural(manifests, "manifest")
    return f"Put back {what} in {settings.address.name}?"


def _record(args: argparse.Namespace, settings: Settings, registry: Session) -> RunRecord:
    try:
        return registry.to_undo(args.run)
    except NotFoundError as error:
        if args.run is None:
            with recorded(settings) as records:
                error.advice = other_name_advice(settings, records.runs, "undo") or error.advice
        raise


def _tell(settings: Settings, work: _Work, collected: Collected | None, *, details: bool) -> None:
    record, plan = work.record, work.plan
    images = f", {', '.join(map(str, plan.images))}" if plan.images else ""
    note(settings, f"{record.run}{images}: {record.plan.command}")
    if collected is not None:
        when = f"{collected.since:%Y-%m-%d %H:%M} UTC"
        how = (
            f"a garbage collection of {when} did not end"
            if collected.maybe
            else (f"the registry's garbage was collected since, {when}")
        )
        note(settings, f"{how}: what is still there can come back")
    if record.damaged:
        note(settings, f"{damage_text(record)}; what only these lines recorded does not come back")
    for line in plan_problem_lines(plan, details=details):
        note(settings, line)
    for one in plan.lost:
        note(settings, lost_by_interruption_line(one))


def _report(settings: Settings, results: Sequence[tuple[_Work, UndoRun]], *, details: bool) -> int:
    result = UndoRun.joined([result for _, result in results])
    restored = result.of(UndoResult.RESTORED)
    for line in run_problem_lines(result, details=details):
        note(settings, line)
    tags = sum(len(entry.tags) for entry in restored) - len(result.moved)
    manifests = sum(not entry.is_there for entry in restored)  # a removal may have taken the tags alone
    note(settings, f"put back {plural(tags, 'tag')} ({plural(manifests, 'manifest')})")
    shown = entry_lines(restored, width=width_of(sys.stdout))
    emit(settings, [entry_object(entry, UndoResult.RESTORED) for entry in restored], shown)
    until = f"{datetime.now(UTC) + HELD_FOR:%Y-%m-%d}"
    for work, one in results:
        if one.restored:
            note(settings, f"held until {until}: {settings.advised(f'hold --end {one.id}')} ends that")
        if one.interrupted or one.is_open:
            note(settings, f"unfinished: {settings.advised(work.command)} continues it")
    if result.error is not None:
        if restored:
            sys.stderr.write(f"dregutil: {result.error.message}\n  {result.error.advice}\n")
            return PARTIAL
        raise result.error
    if result.interrupted:
        return INTERRUPTED
    return PARTIAL if result.is_open or result.of(UndoResult.LOST) or result.of(UndoResult.FAILED) else 0
