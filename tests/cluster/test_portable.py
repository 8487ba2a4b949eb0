"""Runs of state folders in a store, and back: on both dialects, and whatever a crash has left of a journal."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import JournalError, NotFoundError, RefusedError
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.oci_layout import write_layout
from dregutil.journal.reader import ENDED, read_journal
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.manifest import OCI_MANIFEST, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.plan.outcome import Intent, Outcome, Result
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.ledger import Ledger
from dregutil.store.migrations import migrate
from dregutil.store.open import open_runs
from dregutil.store.portable import export_runs, import_runs

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
REGISTRY = "registry.example.com"
WEB, API = Repository("shop/web"), Repository("shop/api")
OLDER = Path(__file__).parents[1] / "upgrade"


def intent(number: int) -> Intent:
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "n": number}).encode()
    manifest = parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))
    return Intent(number, WEB if number % 2 else API, (Tag(f"1.{number}"),), manifest)


def plan(steps: int, registry: str = REGISTRY) -> Plan:
    every = (intent(number) for number in range(1, steps + 1))
    made = (
        Step(one.step, Action.DELETE, one.repository, one.manifest.digest, one.tags, StepKind.IMAGE, "x")
        for one in every
    )
    return Plan(registry, NOW, "remove-tags", tuple(made))


def recorded(
    state: Path, at: datetime, *, steps: int = 4, ended: bool = True, undoes: str = "", registry: str = REGISTRY
) -> RunRecord:
    """A run in a state folder; one that was cut off in the middle of its second repository, unless it ended."""
    journal = RunStore(state).begin(plan(steps, registry), at, undoes=undoes)

    async def work() -> None:
        for step in plan(steps).steps:
            await journal.intend(intent(step.number))
            journal.outcome(Outcome(step, Result.REMOVED))
        journal.looked(WEB)
        await journal.flush()

    asyncio.run(work())
    journal.close(at + timedelta(minutes=5) if ended else None)
    return read_journal(journal.folder)


def same(one: RunRecord, other: RunRecord) -> bool:
    """Whether two records say the same, wherever they lie."""
    return replace(one, folder=Path()) == replace(other, folder=Path())


def lines_of(database: Database, run: str) -> bytes:
    return b"".join(body for _, _, body in Ledger(database).lines(run, 0))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A store in a file, for many examples."""
    found = open_database(StoreAddress.parse(f"sqlite://{tmp_path_factory.mktemp('store')}/store.sqlite"))
    migrate(found)
    yield found
    found.close()


def test_a_run_comes_back_byte_for_byte_with_its_layout(database: Database, tmp_path: Path) -> None:
    record = recorded(tmp_path / "state", NOW)
    found = import_runs(database, tmp_path / "state")
    assert (found.new, found.unfinished, found.unreadable) == ((record.run,), (), {})
    assert export_runs(database, tmp_path / "copy").written == (record.run,)
    copied = tmp_path / "copy" / "runs" / record.run
    raw = (record.folder / FILE_NAME).read_bytes()
    assert (copied / FILE_NAME).read_bytes() == raw == lines_of(database, record.run)
    assert same(RunStore(tmp_path / "copy").get(record.run), record)
    assert json.loads((copied / "layout" / "index.json").read_text())["manifests"]
    assert {path.name for path in copied.iterdir()} == {FILE_NAME, "layout"}


def test_what_is_imported_again_is_there_once(database: Database, tmp_path: Path) -> None:
    record = recorded(tmp_path / "state", NOW)
    import_runs(database, tmp_path / "state")
    later = recorded(tmp_path / "state", NOW + timedelta(hours=1))
    found = import_runs(database, tmp_path / "state")
    assert (found.new, found.known) == ((later.run,), (record.run,))
    assert lines_of(database, record.run) == (record.folder / FILE_NAME).read_bytes()
    again = export_runs(database, tmp_path / "copy"), export_runs(database, tmp_path / "copy")
    assert [one.written for one in again] == [(record.run, later.run), ()]
    assert again[1].same == (record.run, later.run)


def test_two_imports_at_once_bring_each_run_once(store_url: str, tmp_path: Path) -> None:
    """Two machines with the same folder, and runs that begin meanwhile."""
    opened = [open_database(StoreAddress.parse(store_url)) for _ in range(2)]
    migrate(opened[0])
    names = [recorded(tmp_path / "state", NOW + timedelta(hours=hour)).run for hour in range(12)]
    start = threading.Barrier(2)
    found: list[tuple[str, ...]] = []
    failed: list[Exception] = []

    def bring(database: Database) -> None:
        start.wait()
        try:
            found.append(import_runs(database, tmp_path / "state").new)
        except Exception as error:  # noqa: BLE001 - the thread has nowhere to raise it
            failed.append(error)

    threads = [threading.Thread(target=bring, args=(one,)) for one in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(name for one in found for name in one) == sorted(names)
    assert export_runs(opened[0], tmp_path / "copy").written == tuple(names)
    for one in opened:
        one.close()


def test_runs_of_two_machines_are_in_the_order_of_their_time(database: Database, tmp_path: Path) -> None:
    """Each machine numbers its own runs; the numbers of one say nothing about the other's."""
    hours = {"one": (1, 2, 5), "two": (0, 3, 4, 6)}
    names: dict[int, str] = {}
    for machine, at in hours.items():
        for hour in at:
            names[hour] = recorded(tmp_path / machine, NOW + timedelta(hours=hour)).run
        import_runs(database, tmp_path / machine)
    export_runs(database, tmp_path / "copy")
    assert [header.run for header in RunStore(tmp_path / "copy").headers()] == [names[hour] for hour in range(7)]
    mirror = open_runs(database.address, tmp_path / "reader")
    assert [header.run for header in mirror.headers()] == [names[hour] for hour in range(7)]
    mirror.close()
    later = RunStore(tmp_path / "copy").begin(plan(1), NOW)  # a clock that went back
    assert RunStore(tmp_path / "copy").headers()[-1].run == later.run
    later.close(None)


def test_a_run_without_an_end_can_be_continued_in_the_store(database: Database, tmp_path: Path) -> None:
    record = recorded(tmp_path / "state", NOW, ended=False)
    found = import_runs(database, tmp_path / "state")
    assert found.unfinished == (record.run,)
    ledger = Ledger(database)
    assert ledger.left(record.run) == 1, "one repository was looked at, the other was not"
    assert ledger.has_begun(record.run, API)
    assert export_runs(database, tmp_path / "copy").unfinished == (record.run,)
    assert RunStore(tmp_path / "copy").get(record.run).is_unfinished


def test_a_run_that_is_being_written_is_left_out(database: Database, tmp_path: Path) -> None:
    state = RunStore(tmp_path / "state")
    ended, going = recorded(state.folder, NOW), recorded(state.folder, NOW + timedelta(hours=1), ended=False)
    with state.lock(REGISTRY):
        found = import_runs(database, state.folder)
    assert (found.new, found.busy) == ((ended.run,), (going.run,))
    assert import_runs(database, state.folder).new == (going.run,)
    journal = state.journal(going)
    asyncio.run(journal.intend(intent(1)))
    journal.close(NOW)
    assert import_runs(database, state.folder).longer == (going.run,), "it was continued where it was"


def test_only_the_named_runs_and_those_of_a_registry_are_exported(database: Database, tmp_path: Path) -> None:
    one = recorded(tmp_path / "state", NOW)
    other = recorded(tmp_path / "state", NOW + timedelta(hours=1), registry="other.example.com")
    import_runs(database, tmp_path / "state")
    assert export_runs(database, tmp_path / "a", names=[one.run[:16]]).written == (one.run,)
    assert export_runs(database, tmp_path / "b", registry="https://other.example.com").written == (other.run,)
    with pytest.raises(NotFoundError, match="2 runs begin"):
        export_runs(database, tmp_path / "c", names=["2026"])
    with pytest.raises(NotFoundError, match="there is no run"):
        export_runs(database, tmp_path / "c", names=[other.run], registry=REGISTRY)


def test_another_record_in_the_folder_is_never_overwritten(database: Database, tmp_path: Path) -> None:
    record = recorded(tmp_path / "state", NOW, ended=False)
    import_runs(database, tmp_path / "state")
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    path = tmp_path / "copy" / "runs" / record.run / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])  # an earlier export
    assert export_runs(database, tmp_path / "copy").written == (record.run,)
    assert path.read_bytes() == whole
    for other in (whole + b"more\n", b"other\n"):
        path.write_bytes(other)
        with pytest.raises(RefusedError, match="another record"):
            export_runs(database, tmp_path / "copy")
        assert path.read_bytes() == other
    path.write_bytes(whole[:-40])
    with RunStore(tmp_path / "copy").lock(REGISTRY), pytest.raises(RefusedError, match="being written"):
        export_runs(database, tmp_path / "copy")


def test_the_end_that_had_no_space_is_an_end(database: Database, tmp_path: Path) -> None:
    record = recorded(tmp_path / "state", NOW, ended=False)
    (record.folder / ENDED).touch()
    record = RunStore(tmp_path / "state").get(record.run)
    assert import_runs(database, tmp_path / "state").unfinished == ()
    export_runs(database, tmp_path / "copy")
    found = RunStore(tmp_path / "copy")
    assert same(found.get(record.run), record)
    assert not found.headers()[0].is_unfinished


def test_what_only_the_layout_has_comes_along(database: Database, tmp_path: Path) -> None:
    """A line of an intent was damaged on the disk; `undo` takes its manifest from the layout."""
    record = recorded(tmp_path / "state", NOW)
    write_layout(record.folder / "layout", record.intents)
    path = record.folder / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"intent","step":2', b'"intent","step":7'))
    damaged = RunStore(tmp_path / "state").get(record.run)
    assert damaged.damaged == 1
    assert len(damaged.intents) == 4
    import_runs(database, tmp_path / "state")
    shutil.rmtree(tmp_path / "state")
    export_runs(database, tmp_path / "copy")
    found = read_journal(tmp_path / "copy" / "runs" / record.run)
    assert {one.manifest.digest for one in found.intents} == {one.manifest.digest for one in record.intents}
    assert (found.damaged, found.finished, found.outcomes) == (1, record.finished, record.outcomes)


@pytest.mark.parametrize("version", sorted(path.name for path in OLDER.iterdir() if path.is_dir()))
def test_the_runs_of_every_released_version_come_along(version: str, database: Database, tmp_path: Path) -> None:
    state = shutil.copytree(OLDER / version / "state", tmp_path / "state")
    before = RunStore(state)
    headers = before.headers()
    assert headers
    found = import_runs(database, state)
    assert (found.new, found.unreadable) == (tuple(header.run for header in headers), {})
    assert found.unfinished == tuple(header.run for header in headers if header.is_unfinished)
    export_runs(database, tmp_path / "copy")
    after = RunStore(tmp_path / "copy")
    assert [header.run for header in after.headers()] == [header.run for header in headers]
    for header in headers:
        assert same(after.get(header.run), before.get(header.run))


_GARBAGE = st.one_of(st.integers(0, 30), st.binary(max_size=60), st.just(b"\0" * 40), st.just(b"\0\0\n"))


@given(kept=st.integers(0, 12), after=st.lists(_GARBAGE, max_size=6), cut=st.integers(0, 400), ended=st.booleans())
def test_an_odd_journal_is_the_same_record_afterwards(
    tmp_path_factory: pytest.TempPathFactory,
    local: Database,
    kept: int,
    after: list[bytes | int],
    cut: int,
    *,
    ended: bool,
) -> None:
    """Blocks that a crash left missing, zero, garbage, or in another order; and a last line that is cut off."""
    folder = tmp_path_factory.mktemp("odd")
    record = recorded(folder / "state", datetime.now(UTC), steps=3)
    path = record.folder / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    later = [lines[part % len(lines)] if isinstance(part, int) else part for part in after]
    path.write_bytes(b"".join((*lines[:kept], *later, lines[-1][:cut])))
    if ended:
        (record.folder / ENDED).touch()
    _check_round_trip(local, folder, record.run)


@given(place=st.integers(0, 5000), value=st.integers(0, 255))
def test_an_altered_byte_is_the_same_damage_afterwards(
    tmp_path_factory: pytest.TempPathFactory, local: Database, place: int, value: int
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    record = recorded(folder / "state", datetime.now(UTC), steps=2)
    path = record.folder / FILE_NAME
    raw = bytearray(path.read_bytes())
    raw[place % len(raw)] = value
    path.write_bytes(raw)
    _check_round_trip(local, folder, record.run)


def test_a_torn_line_in_the_middle_is_no_damage_afterwards(tmp_path: Path, local: Database) -> None:
    """A run that was killed while it wrote a line, and resumed."""
    record = recorded(tmp_path / "state", datetime.now(UTC), ended=False)
    path = record.folder / FILE_NAME
    path.write_bytes(path.read_bytes()[:-30])
    journal = Journal(record.folder)
    asyncio.run(journal.intend(intent(4)))
    journal.close(NOW)
    assert read_journal(record.folder).damaged == 0
    _check_round_trip(local, tmp_path, record.run)


def _check_round_trip(database: Database, folder: Path, run: str) -> None:
    try:
        before = RunStore(folder / "state").get(run)
    except JournalError:
        before = None
    found = import_runs(database, folder / "state")
    if before is None:
        assert run not in found.new
        return
    assert found.new == (run,), found
    export_runs(database, folder / "copy", names=[run])
    assert same(RunStore(folder / "copy").get(run), before)
    assert (folder / "copy" / "runs" / run / FILE_NAME).read_bytes() == lines_of(database, run)


@pytest.mark.parametrize("name", [b".hidden", b"-x", b"a\nb", b"odd \xff", b"n" * 200])
def test_a_folder_whose_name_no_run_has_is_left_out(database: Database, tmp_path: Path, name: bytes) -> None:
    """Brought in, it would stop every machine of the team."""
    whole = recorded(tmp_path / "state", NOW).folder
    shutil.copytree(whole, whole.parent / os.fsdecode(name))
    found = import_runs(database, tmp_path / "state")
    assert found.new == (whole.name,)
    assert len(found.unreadable) == 1
    assert Ledger(database).runs().keys() == {whole.name}
