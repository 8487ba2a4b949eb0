"""Runs as portable records: those of a state folder into a store, and those of a store into a folder.

A record keeps its name, its lines byte for byte, and its place among the others. Lines that a reader passes over
(zeros, and one that was cut off while it was written) do not come along; damaged ones do, because readers count them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from dregutil.errors import ConflictError, JournalError, NotFoundError, RefusedError, StoreError
from dregutil.files import make_private_folder, write_atomically, write_private
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.oci_layout import write_layout
from dregutil.journal.reader import NUMBER, read_header, read_journal
from dregutil.journal.record import RunHeader, RunRecord
from dregutil.journal.store import RunStore
from dregutil.oci.names import registry_key
from dregutil.store.adopt import adopt_facts
from dregutil.store.database import Database, Transaction
from dregutil.store.ledger import Ledger
from dregutil.store.mirror import is_name
from dregutil.store.portable_lines import Row, rows_of

__all__ = ["AFTER_IMPORT", "Exported", "Imported", "export_runs", "import_runs"]

_BATCH = 2_000  # lines in one statement
_TRIES = 5  # to get numbers, beside runs that begin

# What else a state folder has, besides runs: each is called once the runs are in the store, with the folder.
AFTER_IMPORT: tuple[Callable[[Database, Path], None], ...] = (adopt_facts,)


@dataclass(frozen=True, slots=True)
class Imported:
    """The names of runs: `new` ones, of which `unfinished` can be continued in the store; `known` ones, which it had;
    `longer` ones, which it had with fewer lines than the folder; `busy` ones, which a process is writing now; and those
    that could not be read, with the reason."""

    new: tuple[str, ...]
    unfinished: tuple[str, ...]
    known: tuple[str, ...]
    longer: tuple[str, ...]
    busy: tuple[str, ...]
    unreadable: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exported:
    """The names of runs: `written` ones; `same` ones, which the folder had already; `unfinished` ones of both."""

    written: tuple[str, ...]
    same: tuple[str, ...]
    unfinished: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A run of the store, as far as its row says."""

    name: str
    number: int
    registry: str
    begun: float
    lines: int
    finished: bool


def import_runs(database: Database, folder: Path) -> Imported:
    """Bring the runs of a state folder into the store, oldest first, each once and whole. Raises StoreError, and
    JournalError if the folder cannot be read."""
    runs = RunStore(folder)
    there = {one.name: one for one in _stored(database)}
    new: list[str] = []
    unfinished: list[str] = []
    known: list[str] = []
    longer: list[str] = []
    busy: list[str] = []
    unreadable: dict[str, str] = {}
    headers = _headers(runs, unreadable)
    numbers = _numbers(database, [header for header in headers if header.run not in there])
    for header in headers:
        if header.run in there:
            known.append(header.run)
            if not there[header.run].finished and _count(runs, header) > there[header.run].lines:
                longer.append(header.run)
            continue
        try:
            with _quiet(runs, header):
                record = runs.get(header.run)
                if _insert(database, record, numbers):
                    new.append(record.run)
                    unfinished += [record.run] if record.is_unfinished else []
        except RefusedError:
            busy.append(header.run)
        except StoreError:
            raise
        except JournalError as error:
            unreadable[header.run] = f"{error.message}; {error.advice}" if error.advice else error.message
    for bring in AFTER_IMPORT:
        bring(database, folder)
    return Imported(tuple(new), tuple(unfinished), tuple(known), tuple(longer), tuple(busy), unreadable)


def export_runs(
    database: Database, folder: Path, *, registry: str | None = None, names: Iterable[str] = ()
) -> Exported:
    """Write runs of the store into a state folder, each with the layout of what it removed.

    `registry`: only those on one, by its identity, and those whose registry cannot be read. `names`: only these, each a
    name or a unique beginning. Raises NotFoundError; RefusedError where the folder has another record of that name; and
    JournalError.
    """
    ledger = Ledger(database)
    every = _stored(database)
    chosen = _chosen(every, registry, tuple(names))
    written: list[str] = []
    same: list[str] = []
    for one in chosen:
        (written if _write(ledger, folder, one) else same).append(one.name)
    return Exported(tuple(written), tuple(same), tuple(one.name for one in chosen if not one.finished))


def _stored(database: Database) -> list[_Stored]:
    """In the order of their numbers."""
    with database.transaction(durable=False) as transaction:
        return [
            _Stored(str(name), int(number), str(key), float(begun), int(lines), bool(finished))
            for name, number, key, begun, lines, finished in transaction.rows(
                "SELECT name, number, registry, begun, lines, finished FROM run ORDER BY number"
            )
        ]


# Import


def _headers(runs: RunStore, unreadable: dict[str, str]) -> list[RunHeader]:
    """Those of the runs that were begun, oldest first. A run of a newer version is noted as unreadable."""
    found = []
    for header in runs.headers():
        if not is_name(header.run):
            unreadable[ascii(header.run)] = "its folder has a name that no run has"
        elif header.is_newer:
            unreadable[header.run] = "a newer version wrote it: import it with a newer dregutil"
        else:
            found.append(header)
    return found


def _count(runs: RunStore, header: RunHeader) -> int:
    """The lines that a run would have in the store."""
    with suppress(JournalError):
        return sum(1 for _ in rows_of(runs.get(header.run)))
    return 0


@contextmanager
def _quiet(runs: RunStore, header: RunHeader) -> Iterator[None]:
    """While a run without an end is brought in, nobody continues it in its folder. Raises RefusedError if somebody
    does."""
    with ExitStack() as held:
        if header.is_unfinished and header.registry:
            if runs.is_locked(header.registry):
                raise RefusedError(f"the run {header.run} is being carried out")
            with suppress(JournalError):  # a folder that can only be read
                held.enter_context(runs.lock(header.registry))
        yield


def _numbers(database: Database, new: list[RunHeader]) -> dict[str, int]:
    """A number for each new run. Those of a store and those of a folder keep their own order; what began earlier comes
    first. The runs of the store get other numbers where that needs it."""
    if not new:
        return {}
    for _ in range(_TRIES):
        with suppress(ConflictError), database.transaction() as transaction:  # another run began
            return _renumbered(transaction, new)
    raise StoreError("the runs did not get numbers in the store", advice="import them again")


def _renumbered(transaction: Transaction, new: list[RunHeader]) -> dict[str, int]:
    rows = transaction.rows("SELECT name, number, begun FROM run ORDER BY number")
    old = [(str(name), float(begun)) for name, _, begun in rows]
    before = {str(name): int(number) for name, number, _ in rows}
    merged: list[str] = []
    waiting = [(header.run, header.started.timestamp()) for header in new if header.run not in before]
    while old and waiting:
        merged.append((old if old[0][1] <= waiting[0][1] else waiting).pop(0)[0])
    merged += [name for name, _ in (*old, *waiting)]
    numbers: dict[str, int] = {}
    number = 0
    for name in merged:
        # Numbers that fit stay: there may be gaps.
        number = max(number + 1, before.get(name, 0))
        numbers[name] = number
    moved = [{"name": name, "number": numbers[name]} for name in before if numbers[name] != before[name]]
    transaction.execute_many(
        "UPDATE run SET number = -:number WHERE name = :name",
        [{"name": one["name"], "number": before[str(one["name"])]} for one in moved],
    )
    transaction.execute_many("UPDATE run SET number = :number WHERE name = :name", moved)
    return {name: numbers[name] for name in numbers if name not in before}


def _insert(database: Database, record: RunRecord, numbers: dict[str, int]) -> bool:
    """Write one run, all of it or nothing. False if another process brought it in meanwhile."""
    if record.run not in numbers:
        return False
    for _ in range(_TRIES):
        try:
            with database.transaction() as transaction:
                _insert_whole(transaction, record, numbers[record.run])
            return True
        except ConflictError:
            if record.run in {one.name for one in _stored(database)}:
                return False
            header = read_header(record.folder)
            numbers |= _numbers(database, [header])
    raise StoreError(f"the run {record.run} did not get a number in the store", advice="import it again")


def _insert_whole(transaction: Transaction, record: RunRecord, number: int) -> None:
    key = registry_key(record.plan.registry) if record.plan.registry else ""
    if key:
        transaction.execute(
            "INSERT INTO registry (key, name) VALUES (:key, :name) ON CONFLICT (key) DO NOTHING",
            {"key": key, "name": record.plan.registry},
        )
    transaction.execute(
        "INSERT INTO run (name, number, registry, undoes, plan, begun, lines, finished)"
        " VALUES (:name, :number, :key, :undoes, :plan, :begun, 0, :finished)",
        {
            "name": record.run,
            "number": number,
            "key": key,
            "undoes": record.undoes,
            "plan": record.plan_sum,
            "begun": record.started.timestamp(),
            "finished": record.finished is not None,
        },
    )
    if key:
        _insert_targets(transaction, record, key)
    count = 0
    batch: list[Row] = []
    for row in rows_of(record):
        batch.append(row)
        if len(batch) >= _BATCH:
            count = _insert_lines(transaction, record.run, batch, count)
            batch = []
    count = _insert_lines(transaction, record.run, batch, count)
    transaction.execute("UPDATE run SET lines = :count WHERE name = :name", {"count": count, "name": record.run})


def _insert_targets(transaction: Transaction, record: RunRecord, key: str) -> None:
    """The repositories of its plan: those that are left can be claimed, so that other processes continue the run."""
    targets = list(record.plan.by_repository)
    transaction.execute_many(
        "INSERT INTO repository (registry, name) VALUES (:key, :name) ON CONFLICT (registry, name) DO NOTHING",
        [{"key": key, "name": name} for name in sorted(targets)],
    )
    transaction.execute_many(
        "INSERT INTO target (run, repository, place, looked) VALUES (:run, :name, :place, :looked)",
        [
            {"run": record.run, "name": name, "place": place, "looked": name in record.looked}
            for place, name in enumerate(targets)
        ],
    )


def _insert_lines(transaction: Transaction, run: str, rows: list[Row], count: int) -> int:
    """Write lines after the `count` that are there; returns how many there are then."""
    transaction.execute_many(
        "INSERT INTO line (run, n, kind, repository, step, at, body)"
        " VALUES (:run, :n, :kind, :repository, :step, {now}, :body)",
        [
            {"run": run, "n": n, "kind": row.kind, "repository": row.repository, "step": row.step, "body": row.body}
            for n, row in enumerate(rows, count + 1)
        ],
    )
    return count + len(rows)


# Export


def _chosen(every: list[_Stored], registry: str | None, names: tuple[str, ...]) -> list[_Stored]:
    if registry is not None:
        every = [one for one in every if one.registry in ("", registry_key(registry))]
    if not names:
        return every
    wanted: set[str] = set()
    for text in names:
        found = [one.name for one in every if one.name == text] or [
            one.name for one in every if one.name.startswith(text)
        ]
        if len(found) != 1:
            what = f"{len(found)} runs begin with {text!r}" if found else f"there is no run {text!r}"
            raise NotFoundError(f"{what} in the store", advice="`dregutil history` lists the runs")
        wanted |= {*found}
    return [one for one in every if one.name in wanted]


def _write(ledger: Ledger, folder: Path, run: _Stored) -> bool:
    """Write one record; False if it is there already. Raises RefusedError and JournalError."""
    if not is_name(run.name):
        raise StoreError(f"the store has a run whose name is no file's: {run.name!r}")
    place = folder / "runs" / run.name
    path = place / FILE_NAME
    try:
        lacking = _lacking(path, ledger, run.name)
        if lacking is None:
            raise RefusedError(f"{place} has another record of that run", advice="export into an empty folder")
        if lacking and path.exists() and RunStore(folder).is_locked(read_header(place).registry):
            raise RefusedError(f"{place} is being written", advice="export into an empty folder")
        if lacking:
            make_private_folder(place)
            write_atomically(path, _chunks(ledger, run.name))
        _write_number(place, run.number)
        with suppress(JournalError):  # its beginning cannot be read
            record = read_journal(place)
            if lacking and record.intents:
                write_layout(place / "layout", record.intents)
    except OSError as error:
        raise JournalError(
            f"{place} cannot be written: {error.strerror or error}", advice="name another folder"
        ) from error
    return bool(lacking)


def _write_number(place: Path, number: int) -> None:
    """Its place among the runs, where its first line does not say the same."""
    (place / NUMBER).unlink(missing_ok=True)
    with suppress(JournalError):
        if read_header(place).number != number:
            write_private(place / NUMBER, b"%d\n" % number)


def _lacking(path: Path, ledger: Ledger, run: str) -> int | None:
    """How many bytes of a record a file lacks at its end; None if it has others. Raises OSError."""
    lacking = 0
    with path.open("rb") if path.exists() else BytesIO() as file:
        for chunk in _chunks(ledger, run):
            found = file.read(len(chunk))
            if not chunk.startswith(found):
                return None
            lacking += len(chunk) - len(found)
        return None if file.read(1) else lacking


def _chunks(ledger: Ledger, run: str) -> Iterator[bytes]:
    known = 0
    while found := ledger.lines(run, known):
        yield b"".join(body for _, _, body in found)
        known = found[-1][0]
