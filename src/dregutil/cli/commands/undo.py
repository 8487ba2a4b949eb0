"""`undo`: puts back what a run removed, if the registry still has the layers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dregutil.apply.clearing import UNCLEAR_ADVICE, unclear_text
from dregutil.apply.undo.plan import UndoEntry, UndoPlan
from dregutil.apply.undo.run import UndoResult, UndoRun
from dregutil.cli.consent import agreed, check_consent
from dregutil.cli.execution import INTERRUPTED, warn_of_state
from dregutil.cli.interrupt import stop_on_signals
from dregutil.cli.opened import opened
from dregutil.cli.other_names import other_name_advice
from dregutil.cli.output import emit, note, plural
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import NotFoundError
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.report.removal import lost_by_interruption_line
from dregutil.report.runs import damage_text
from dregutil.report.text import column_lines
from dregutil.session.sync import Session

__all__ = ["undo"]


def undo(args: argparse.Namespace, settings: Settings) -> int:
    check_consent(args, "--dry-run shows what would be put back; -y puts it back without asking")
    with opened(settings) as registry:
        record = _record(args, settings, registry)
        with registry.lock():
            return _undo(args, settings, registry, record)


def _undo(args: argparse.Namespace, settings: Settings, registry: Session, record: RunRecord) -> int:
    plan = registry.plan_undo(record)
    needed = [entry for entry in plan.entries if entry.may_come_back]
    lost = [entry for entry in plan.entries if entry.lost or entry.unread]
    is_partial = bool(lost or plan.lost or record.damaged)
    _tell(settings, record, plan)
    if args.dry_run:
        emit(settings, [_object(entry, "would be restored") for entry in needed], _lines(needed))
        return PARTIAL if is_partial else 0
    if not plan.is_needed:
        note(settings, "nothing can be put back" if lost else "nothing to put back")
        if not is_partial:
            registry.mark_undone(record)
        emit(settings, [], [])
        return PARTIAL if is_partial else 0
    if not args.yes and not agreed(_question(settings, needed)):
        note(settings, "nothing was put back")
        return 0
    warn_of_state(registry)
    with stop_on_signals() as stop:
        result = registry.apply_undo(record, plan, stop=stop)
    code = _report(settings, record, result)
    return PARTIAL if (record.damaged or plan.lost) and not code else code


def _question(settings: Settings, needed: Sequence[UndoEntry]) -> str:
    tags, manifests = sum(len(entry.tags) for entry in needed), sum(not entry.is_there for entry in needed)
    what = plural(manifests, "manifest") + (f" ({plural(tags, 'tag')})" if tags else "")
    return f"Put back {what if manifests else plural(tags, 'tag')} in {settings.address.name}?"


def _record(args: argparse.Namespace, settings: Settings, registry: Session) -> RunRecord:
    try:
        return registry.to_undo(args.run)
    except NotFoundError as error:
        if args.run is None:
            error.advice = other_name_advice(settings, RunStore(settings.state_dir), "undo") or error.advice
        raise


def _tell(settings: Settings, record: RunRecord, plan: UndoPlan) -> None:
    note(settings, f"{record.run}: {record.plan.command}")
    if record.damaged:
        note(settings, f"{damage_text(record)}; what only these lines recorded does not come back")
    for entry in plan.entries:
        if entry.lost or entry.unread:
            what = "cannot come back" if entry.lost else "left, to be tried again"
            names = ", ".join(entry.tags) or "no tags"
            why = entry.lost or entry.unread
            note(settings, f"{what}: {entry.repository} {entry.manifest.digest.short} ({names}): {why}")
        for tag in entry.moved:
            note(settings, f"left alone: {entry.repository}:{tag} points to another digest now")
    for one in plan.lost:
        note(settings, lost_by_interruption_line(one))


def _report(settings: Settings, record: RunRecord, result: UndoRun) -> int:
    restored = result.of(UndoResult.RESTORED)
    for entry, found, why in result.entries:
        if found in (UndoResult.LOST, UndoResult.FAILED) and not entry.lost:
            note(settings, f"{found}: {entry.repository} {entry.manifest.digest.short}: {why}")
    for repository, tag in result.moved:
        note(settings, f"left alone: {repository}:{tag} points to another digest now")
    for repository, tag, digest in result.repaired:
        note(settings, f"{repository}:{tag} was copied from a tag of the interrupted run, and names {digest.short} now")
    for repository, tag, candidates in result.unclear:
        note(settings, unclear_text(repository, tag, candidates))
    if result.unclear:
        note(settings, UNCLEAR_ADVICE)
    tags = sum(len(entry.tags) for entry in restored) - len(result.moved)
    manifests = sum(not entry.is_there for entry in restored)  # a removal may have taken the tags alone
    note(settings, f"put back {plural(tags, 'tag')} and {plural(manifests, 'manifest')}")
    emit(settings, [_object(entry, UndoResult.RESTORED) for entry in restored], _lines(restored))
    if result.interrupted or result.is_open:
        note(settings, f"unfinished: {settings.advised(f'undo {record.run}')} continues it")
    if result.error is not None:
        if restored:
            sys.stderr.write(f"dregutil: {result.error.message}\n  {result.error.advice}\n")
            return PARTIAL
        raise result.error
    if result.interrupted:
        return INTERRUPTED
    return PARTIAL if result.is_open or result.of(UndoResult.LOST) or result.of(UndoResult.FAILED) else 0


def _object(entry: UndoEntry, result: str) -> dict[str, object]:
    return {
        "repository": entry.repository,
        "digest": entry.manifest.digest,
        "tags": list(entry.tags),
        "result": result,
    }


def _lines(entries: tuple[UndoEntry, ...] | list[UndoEntry]) -> list[str]:
    rows = [(entry.repository, entry.manifest.digest, ", ".join(entry.tags)) for entry in entries]
    return [line.rstrip() for line in column_lines(rows)] if rows else []
