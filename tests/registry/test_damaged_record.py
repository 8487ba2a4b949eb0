"""A damaged record: its content is restored, or the damage is reported with exit 3. There is no third case."""

from __future__ import annotations

import asyncio
import copy
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_journal import begun, intent

from dregutil.apply.undo.plan import plan_undo
from dregutil.apply.undo.run import apply_undo
from dregutil.errors import DamagedRecordError
from dregutil.journal.history import RunHistory
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.oci_layout import write_layout
from dregutil.journal.reader import read_journal
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.names import Repository
from dregutil.registry import connect_writable
from images import Pusher
from program import Program
from removing import Killer, Removing
from servers import DistributionServer
from servers.memory import MemoryServer

TAGS = tuple(f"1.{number}" for number in range(4))


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def removed(program: Program, pusher: Pusher) -> dict[str, str]:
    """Push the images of three runs, and remove all but `keep` with two runs; return the tags from before."""
    for tag in ("old", "1.0", "1.1", "1.2", "keep"):
        pusher.push_image("r", tag, seed=tag)
    before = pusher.tags("r")
    for tags in (("old",), ("1.0", "1.1", "1.2")):
        found = program.run("remove-tags", "-r", "r", "-t", *tags, "--yes-remove", str(len(tags)))
        assert found.returncode == 0, found.stderr
    return before


def flip(record: Path, word: bytes, place: int = 40) -> None:
    """Flip one bit in the first line of a record that holds `word`."""
    raw = bytearray(record.read_bytes())
    start = raw.rindex(b"\n", 0, raw.index(word)) + 1 if b"\n" in raw[: raw.index(word)] else 0
    raw[start + place] ^= 1
    record.write_bytes(raw)


@pytest.mark.parametrize("is_laid_out", [True, False])
def test_an_unreadable_intent_is_reported_and_restored_from_the_layout(
    program: Program, pusher: Pusher, is_laid_out: bool
) -> None:
    before = removed(program, pusher)
    newest = program.runs[-1]
    flip(newest / FILE_NAME, b'"type":"intent"')
    if not is_laid_out:
        shutil.rmtree(newest / "layout")
    found = program.run("undo", "-y")
    assert found.returncode == 3, found.stderr
    assert f"1 line of the record of {newest.name} cannot be read: it is damaged" in found.stderr
    now = pusher.tags("r")
    assert len(before) - len(now) == 1 + (not is_laid_out), "the older run is another"
    assert now.items() <= before.items()


@pytest.mark.parametrize("word", [b'"type":"step"', b'"type":"outcome"', b'"type":"end"'])
def test_any_other_unreadable_line_is_reported_and_loses_nothing(program: Program, pusher: Pusher, word: bytes) -> None:
    before = removed(program, pusher)
    newest = program.runs[-1]
    flip(newest / FILE_NAME, word)
    shown = program.run("history", newest.name)
    assert (shown.returncode, "1 line of the record" in shown.stderr) == (3, True), shown.stderr
    listed = program.run("history")
    assert (listed.returncode, f"1 line of the record of {newest.name}" in listed.stderr) == (3, True)
    found = program.run("undo", "-y")
    assert (found.returncode, "1 line of the record" in found.stderr) == (3, True), found.stderr
    assert pusher.tags("r") == {tag: digest for tag, digest in before.items() if tag != "old"}


def test_a_run_with_an_unreadable_beginning_is_never_skipped(program: Program, pusher: Pusher) -> None:
    before = removed(program, pusher)
    older, newest = program.runs
    flip(newest / FILE_NAME, b'"type":"run"')
    found = program.run("undo", "-y")
    assert found.returncode == 3, found.stderr
    assert f"the record of {newest.name} is damaged at its beginning" in found.stderr
    assert pusher.tags("r").keys() == {"keep"}
    resumed = program.run("apply", "--resume", newest.name, "-y")
    assert (resumed.returncode, "is damaged" in resumed.stderr) == (3, True), resumed.stderr
    named = program.run("undo", newest.name, "-y")
    assert named.returncode == 3, named.stderr
    assert pusher.tags("r") == {tag: digest for tag, digest in before.items() if tag != "old"}
    assert program.run("undo", "-y").returncode == 0
    assert pusher.tags("r") == before
    assert {run["run"] for run in program.history()} >= {older.name, newest.name}


def test_the_newest_run_is_the_last_to_begin_regardless_of_the_clock(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """The clock is set back between two removals."""
    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "1.1", seed="two")
    removing = Removing(registry_server.url, tmp_path)
    now = datetime.now(UTC)

    async def remove(tag: str, when: datetime) -> str:
        plan = await removing.plan(tag)
        journal = removing.store.new(when)
        await removing._run(plan, journal, None, Killer(None), None)
        return journal.run

    first = asyncio.run(remove("1.0", now))
    second = asyncio.run(remove("1.1", now - timedelta(days=30)))
    assert second < first
    newest = RunHistory(removing.store, registry_server.host).to_be_undone()
    assert newest is not None
    assert newest.run == second
    assert [header.run for header in removing.store.headers()] == [first, second]


def test_a_torn_line_is_not_damage_once_the_run_continues(tmp_path: Path) -> None:
    """It was truncated during the write: its request was not sent yet."""
    begun(tmp_path / "run", 2).close(None)
    record = tmp_path / "run" / FILE_NAME
    whole = record.read_bytes()
    for cut in (1, 20, 60):
        record.write_bytes(whole + whole.splitlines()[0][:cut])
        assert read_journal(tmp_path / "run").damaged == 0
        journal = Journal(tmp_path / "run")
        asyncio.run(journal.intend(intent(1)))
        journal.close(None)
        assert (read_journal(tmp_path / "run").damaged, len(read_journal(tmp_path / "run").intents)) == (0, 1)
    record.write_bytes(whole + bytes(4096))
    assert read_journal(tmp_path / "run").damaged == 0


# Any single bit


class Removed:
    """A removal of images, an index with a shared child and a signature, on a server in memory: the state before, the
    state now, and the record of the run."""

    def __init__(self, server: MemoryServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        with Pusher(server.url) as pusher:
            for tag in TAGS:
                pusher.push_image("r", tag, seed=tag)
            child = pusher.push_image("r", seed="child")
            index = pusher.push_index("r", "1.9", children=[child])
            pusher.push_index("r", "2.0", children=[child])
            pusher.push_image("r", f"sha256-{index['digest'][7:]}.sig", seed="signature")
        self.before = copy.deepcopy(server.repositories)
        removing = Removing(server.url, folder)
        assert asyncio.run(removing.remove("<2")) is not None
        self.after = copy.deepcopy(server.repositories)
        (self.run,) = removing.store.names()
        self.record = folder / "runs" / self.run / FILE_NAME
        self.raw = self.record.read_bytes()
        self.registry = server.host
        write_layout(self.record.parent / "layout", removing.record().intents)
        self.layout = self.record.parent / "layout"

    def undo(self) -> RunRecord:
        """Undo the run that `undo` without a RUN takes, or, if that is refused, the given one."""
        store = RunStore(self.folder)
        try:
            found = RunHistory(store, self.registry).to_be_undone()
        except DamagedRecordError:
            found = store.get(self.run)
        assert found is not None

        async def work() -> None:
            async with connect_writable(self.server.url) as registry:
                result = await apply_undo(registry, await plan_undo(registry, found))
                assert result.error is None

        asyncio.run(work())
        return found


@pytest.fixture(scope="module")
def one_removed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Removed]:
    with MemoryServer() as server:
        yield Removed(server, tmp_path_factory.mktemp("state"))


@pytest.mark.property
@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), is_laid_out=st.booleans())
def test_one_flipped_bit_loses_nothing_or_is_reported(
    one_removed: Removed, place: float, bit: int, is_laid_out: bool
) -> None:
    server = one_removed.server
    server.repositories = copy.deepcopy(one_removed.after)
    raw = bytearray(one_removed.raw)
    raw[int(place * len(raw))] ^= 1 << bit
    one_removed.record.write_bytes(raw)
    aside = one_removed.layout.with_name("aside")
    if not is_laid_out:
        one_removed.layout.rename(aside)
    try:
        record = one_removed.undo()
    finally:
        if not is_laid_out:
            aside.rename(one_removed.layout)
    now, before = server.repositories["r"], one_removed.before["r"]
    assert (now.tags or {}).items() <= (before.tags or {}).items(), "nothing else comes"
    is_back = (now.tags, now.manifests.keys()) == (before.tags, before.manifests.keys())
    assert record.damaged or is_back
    assert is_back or not is_laid_out, "the layout has what the record lost"
    assert Repository("r") in {intent.repository for intent in record.intents}
