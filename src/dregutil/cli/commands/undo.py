"""`undo`: puts back what a run removed, or some of its images, if the registry still has the layers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    check_consent(args, "--dry-run shows what would be put back; -y puts it back without asking")
    with opened(settings) as registry:
        chosen = registry.images_to_undo(args.images, args.run) if args.images else None
        records = ((_record(args, settings, registry), ()),) if chosen is None else chosen
        with registry.lock():
            work = [_Work(record, registry.plan_undo(record, images)) for record, images in records]
            return _undo(args, settings, registry, work)


def _undo(args: argparse.Namespace, settings: Settings, registry: Session, work: Sequence[_Work]) -> int:
    needed = [entry for one in work for entry in one.needed]
    code = PARTIAL if any(one.is_partial for one in work) else 0
    for one in work:
        _tell(settings, one)
    if args.dry_run:
        emit(settings, [_object(entry, "would be restored") for entry in needed], _lines(needed))
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
    done = _report(settings, results)
    return PARTIAL if any(one.record.damaged or one.plan.lost for one in work) and not done else done


def _mark_undone(registry: Session, work: Sequence[_Work]) -> None:
    for one in work:
        if not one.is_partial:
            registry.mark_undone(one.record, one.plan)


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


def _tell(settings: Settings, work: _Work) -> None:
    record, plan = work.record, work.plan
    images = f", {', '.join(map(str, plan.images))}" if plan.images else ""
    note(settings, f"{record.run}{images}: {record.plan.command}")
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


def _report(settings: Settings, results: Sequence[tuple[_Work, UndoRun]]) -> int:
    result = UndoRun.joined([result for _, result in results])
    restored = result.of(UndoResult.RESTORED)
    for line in _problem_lines(result):
        note(settings, line)
    tags = sum(len(entry.tags) for entry in restored) - len(result.moved)
    manifests = sum(not entry.is_there for entry in restored)  # a removal may have taken the tags alone
    note(settings, f"put back {plural(tags, 'tag')} and {plural(manifests, 'manifest')}")
    emit(settings, [_object(entry, UndoResult.RESTORED) for entry in restored], _lines(restored))
    for work, one in results:
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


def _problem_lines(result: UndoRun) -> Iterator[str]:
    for entry, found, why in result.entries:
        if found in (UndoResult.LOST, UndoResult.FAILED) and not entry.lost:
            yield f"{found}: {entry.repository} {entry.manifest.digest.short}: {why}"
    for repository, tag in result.moved:
        yield f"left alone: {repository}:{tag} points to another digest now"
    for repository, tag, digest in result.repaired:
        yield f"{repository}:{tag} was copied from a tag of the interrupted run, and names {digest.short} now"
    for repository, tag, candidates in result.unclear:
        yield unclear_text(repository, tag, candidates)
    if result.unclear:
        yield UNCLEAR_ADVICE


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
