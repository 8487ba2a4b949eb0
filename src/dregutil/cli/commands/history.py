"""`history`: lists past runs, shows one, or forgets old ones with --prune."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from dregutil.cli.other_names import other_name_advice
from dregutil.cli.output import emit, note, plural
from dregutil.cli.recorded import Recorded, recorded
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import JournalError
from dregutil.journal.collections import Collected, CollectionRecord, Collections, collected_by
from dregutil.journal.history import RunHistory
from dregutil.journal.oci_layout import write_layout
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import collected_runs, undo_states
from dregutil.journal.store import RunStore
from dregutil.report.collection import unended_lines
from dregutil.report.runs import damage_text, run_head_lines, run_lines, run_object, step_lines, step_objects
from dregutil.report.terminal import width_of
from dregutil.retention.holds import HELD_FOR
from dregutil.select.quantity import parse_duration

__all__ = ["history"]


def history(args: argparse.Namespace, settings: Settings) -> int:
    with recorded(settings) as records:
        if args.prune is not None:
            return _prune(args.prune, settings, records.runs)
        if args.run is not None:
            return _show(records.runs.get(args.run), settings, records.runs)
        return _list(settings, records)


def _list(settings: Settings, recorded_here: Recorded) -> int:
    store = recorded_here.runs
    registry = None if settings.registry is None else settings.registry.identity
    records: list[RunRecord] = []
    newer = 0
    for header in store.headers(registry):
        try:
            records.append(store.read(header))
        except JournalError as error:
            if header.is_newer:
                newer += 1
                note(settings, f"{error.message}: {error.advice}")
    undone = undo_states(records)
    if not records and not newer:
        where = settings.state_dir if settings.store is None else settings.store
        note(settings, f"no run is recorded in {where}" + (f" for {registry}" if registry else ""))
        other = other_name_advice(settings, store, "history")
        if other:
            note(settings, other)
    damaged = [record for record in records if record.damaged]
    for record in damaged:
        note(settings, damage_text(record))
    collections, unread = _collections(settings, recorded_here).read()
    for why in unread:
        note(settings, why)
    for line in unended_lines(collections):
        note(settings, line)
    for line in _interrupted(settings, store, records):
        note(settings, line)
    collected = _collected(records, collections)
    lines = run_lines(records, undone, collected, width=width_of(sys.stdout))
    emit(settings, [run_object(record, undone, collected) for record in records], lines)
    return PARTIAL if damaged or newer else 0


def _interrupted(settings: Settings, store: RunStore, records: Sequence[RunRecord]) -> Iterator[str]:
    """A line for each run that nobody is carrying out, and that is neither finished nor undone."""
    for registry in dict.fromkeys(record.plan.registry for record in records if record.is_unfinished):
        if registry and not store.is_locked(registry):
            for header, how in RunHistory(store, registry).interrupted():
                yield f"{header.run} was interrupted: {settings.advised(how)} continues it"


def _collections(settings: Settings, records: Recorded) -> Collections:
    """With what other machines recorded of collections, where a registry is named."""
    facts = None if settings.registry is None else records.facts(settings.registry.identity)
    found = Collections(records.folder, facts)
    found.bring()
    return found


def _collected(records: Sequence[RunRecord], collections: Sequence[CollectionRecord]) -> Mapping[str, Collected]:
    """What of the runs was collected: by collections that ended, as undos found it, or maybe by one that did not."""
    found = dict(collected_by(collections))
    for run, since in collected_runs(records).items():
        if run not in found or found[run].maybe:
            found[run] = Collected(since)
    return found


def _show(record: RunRecord, settings: Settings, store: RunStore) -> int:
    width = width_of(sys.stdout)
    undone = undo_states(RunHistory(store, record.plan.registry).with_undos(record))
    for line in run_head_lines(record, undone, command=record.plan.command):
        note(settings, line)
    if record.damaged:
        note(settings, damage_text(record))
    emit(settings, step_objects(record), step_lines(record, width=width))
    layout = record.folder / "layout"
    with suppress(OSError):
        write_layout(layout, record.intents)
    if record.intents:
        note(settings, f"its manifests are in oci:{layout}, as `skopeo inspect --raw` reads them")
    return PARTIAL if record.damaged else 0


def _prune(age: str, settings: Settings, store: RunStore) -> int:
    now = store.now()
    before = now - parse_duration(age)
    names = store.prune(before, min(before, now - HELD_FOR))
    for name in names:
        note(settings, f"forgot {name}")
    note(settings, f"{plural(len(names), 'run')} forgotten; what they removed can no longer be undone")
    held = sum(bool(header.undoes) and header.started < before for header in store.headers())
    if held:
        stays, they = ("stays", "it") if held == 1 else ("stay", "they")
        note(settings, f"{plural(held, 'undo')} {stays}: what {they} put back is held for {HELD_FOR.days} days")
    return 0
