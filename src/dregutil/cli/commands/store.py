"""`store`: makes the tables of a shared store, checks it, prints its roles, and takes runs in and out."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from dregutil.cli.named_store import named_store
from dregutil.cli.output import emit, note, plural
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import RefusedError, UsageError
from dregutil.files import absolute
from dregutil.report.store import store_rows
from dregutil.report.text import pair_lines
from dregutil.store.database import Database
from dregutil.store.grants import grants_sql
from dregutil.store.migrations import check_version, migrate
from dregutil.store.portable import Imported, export_runs, import_runs
from dregutil.store.state import read_state

__all__ = ["store"]

_BROKEN = 3


def store(args: argparse.Namespace, settings: Settings) -> int:
    _check_words(args)
    if args.action == "grants":
        sys.stdout.writelines(f"{line}\n" for line in grants_sql())
        return 0
    with named_store(settings) as database:
        if args.action == "migrate":
            return _migrate(settings, database)
        if args.action == "check":
            return _check(settings, database)
        check_version(database)
        if args.parquet:
            return _export_parquet(settings, database, absolute(Path(args.parquet)))
        folder = absolute(Path(args.folder))
        return (
            _export(args, settings, database, folder)
            if args.action == "export"
            else _import(settings, database, folder)
        )


def _check_words(args: argparse.Namespace) -> None:
    """Raises UsageError."""
    if args.parquet and (args.action != "export" or args.folder):
        raise UsageError(
            "--parquet DIR is for `store export`, in place of a folder",
            advice="`dregutil store export --parquet DIR`, or `dregutil store export FOLDER`",
        )
    takes_folder = args.action in ("export", "import") and not args.parquet
    if takes_folder and not args.folder:
        raise UsageError(f"store {args.action} needs a folder", advice="name a state folder, such as ./state")
    if not takes_folder and args.folder:
        raise UsageError(f"store {args.action} takes no folder: {args.folder}", advice="leave it out")
    if args.runs and args.action != "export":
        raise UsageError(f"store {args.action} takes no runs: {' '.join(args.runs)}", advice="leave them out")


def _migrate(settings: Settings, database: Database) -> int:
    before, after = migrate(database)
    was = "already" if before == after else f"before {before or 'none'}"
    note(settings, f"{database.address} has tables of version {after}, {was}")
    emit(settings, [{"store": str(database.address), "before": before, "after": after}], ())
    return 0


def _check(settings: Settings, database: Database) -> int:
    found = read_state(database)
    rows = list(store_rows(str(database.address), found))
    emit(settings, [{"check": check, "found": what} for check, what in rows], pair_lines(rows))
    return 0 if found.is_sound else _BROKEN


def _export(args: argparse.Namespace, settings: Settings, database: Database, folder: Path) -> int:
    registry = None if settings.registry is None else settings.registry.identity
    found = export_runs(database, folder, registry=registry, names=args.runs)
    note(settings, f"{plural(len(found.written), 'run')} written to {folder}, {len(found.same):,} were there already")
    note(settings, f"`dregutil --state-dir {shlex.quote(str(folder))} history` shows them")
    for name in found.unfinished:
        note(settings, f"{name} has no end: continue or undo it in one place only")
    emit(
        settings,
        [
            {"run": name, "written": name in found.written, "unfinished": name in found.unfinished}
            for name in sorted((*found.written, *found.same))
        ],
        found.written,
    )
    return 0


def _export_parquet(settings: Settings, database: Database, folder: Path) -> int:
    try:
        from dregutil.store.parquet.export import export_parquet
    except ImportError as error:
        raise UsageError(
            "--parquet needs the library pyarrow", advice="pip install 'docker-registry-util[parquet]'"
        ) from error
    registry = None if settings.registry is None else settings.registry.identity
    found = export_parquet(database, folder, registry=registry, contents=settings.contents)
    note(settings, f"{plural(sum(one.rows for one in found.files), 'row')} written to {folder}")
    if found.unknown:
        note(
            settings,
            f"{plural(found.unknown, 'manifest')} without its content: no `du` or `search` has read it yet",
        )
    emit(
        settings,
        [
            {
                "table": one.table,
                "registry": one.registry,
                "day": one.day.isoformat(),
                "rows": one.rows,
                "file": str(one.path),
            }
            for one in found.files
        ],
        (str(one.path) for one in found.files),
    )
    return 0


def _import(settings: Settings, database: Database, folder: Path) -> int:
    if not (folder / "runs").is_dir():
        raise UsageError(
            f"{folder} is no state folder: it has no folder `runs`", advice="name one, such as ~/.local/state/dregutil"
        )
    found = import_runs(database, folder)
    _tell_imported(settings, found, folder)
    emit(settings, [{"run": name, "unfinished": name in found.unfinished} for name in found.new], found.new)
    if found.busy:
        raise RefusedError(
            f"{', '.join(found.busy)}: being written now, and left out", advice="import again when it has ended"
        )
    return PARTIAL if found.unreadable or found.longer else 0


def _tell_imported(settings: Settings, found: Imported, folder: Path) -> None:
    note(settings, f"{plural(len(found.new), 'run')} imported, {len(found.known):,} were in the store already")
    for name in found.unfinished:
        note(settings, f"{name} has no end: continue or undo it in the store, no longer in {folder}")
    for name in found.longer:
        note(
            settings,
            f"{name} has more lines in {folder} than in the store, where it has no end: it was continued there",
        )
    for name, why in found.unreadable.items():
        note(settings, f"{name} is left out: {why}")
