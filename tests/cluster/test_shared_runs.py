"""Runs whose records are in a store, on a real registry: from any machine they are listed, resumed and undone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest

import dregutil
import dregutil.apply.recorded
import dregutil.apply.undo.recorded
import dregutil.journal.store
import dregutil.session.planning
import dregutil.session.removal
from dregutil.apply.progress import RunProgress
from dregutil.errors import NotFoundError, RefusedError, StoreError
from dregutil.journal.reader import read_journal
from dregutil.oci.names import Repository
from dregutil.registry.permit import check_permit
from dregutil.store.database import Database, first
from dregutil.store.runs import SharedRuns
from images import Pusher
from servers import DistributionServer

REPOSITORIES = [f"team/{name}" for name in "abcdef"]


def pushed(pusher: Pusher) -> dict[str, list[str]]:
    """Six repositories, each with two tags to remove and one to keep."""
    for name in REPOSITORIES:
        for tag in ("1.0", "1.1", "2.0"):
            pusher.push_image(name, tag, seed=f"{name} {tag}")
    return tags_of(pusher)


def tags_of(pusher: Pusher) -> dict[str, list[str]]:
    return {name: sorted(pusher.tags(name)) for name in REPOSITORIES}


def opened(server: DistributionServer, store: str, folder: Path) -> dregutil.Session:
    return dregutil.open(server.url, store=store, state_dir=folder, contents=None, insecure=True)


def shared(session: dregutil.Session) -> SharedRuns:
    runs = session._session.store
    assert isinstance(runs, SharedRuns)
    return runs


def test_one_machine_removes_and_another_lists_and_undoes_it(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    before = pushed(pusher)
    with opened(registry_server, store, tmp_path / "a") as here:
        plan = here.plan_removal(*REPOSITORIES, tags=["<2"])
        result = here.apply(plan)
    assert result.is_finished
    assert set(map(tuple, tags_of(pusher).values())) == {("2.0",)}
    with opened(registry_server, store, tmp_path / "b") as there:
        assert [run.run for run in there.runs()] == [result.id]
        record = there.run(result.id)
        assert record.removed_tags == 12
        there.undo()
        assert [header.undoes for header in shared(there).headers()] == ["", result.id]
    assert tags_of(pusher) == before


def test_the_mirror_is_made_again_from_the_store(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    pushed(pusher)
    with opened(registry_server, store, tmp_path / "a") as here:
        run = here.apply(here.plan_removal("team/a", tags=["1.0"])).id
        runs = shared(here)
        whole = read_journal(runs.folder / "runs" / run)
        journal = runs.folder / "runs" / run / "journal.jsonl"
        written = journal.read_bytes()
        for odd in (b"", written[: len(written) // 2], written + b"what a killed process left"):
            journal.write_bytes(odd)
            if len(odd) < len(written):
                (journal.parent / "lines").unlink()
            assert runs.get(run).intents == whole.intents
        journal.unlink()
        assert runs.get(run).outcomes == whole.outcomes


def test_who_lists_runs_asks_for_each_alone_and_sees_what_is_new_of_it(
    registry_server: DistributionServer,
    pusher: Pusher,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand runs would else be looked through a thousand times."""
    pushed(pusher)
    with (
        opened(registry_server, store, tmp_path / "a") as here,
        opened(registry_server, store, tmp_path / "b") as there,
    ):
        first_run = here.apply(here.plan_removal("team/a", tags=["1.0"])).id
        session, stop = stopping(registry_server, store, tmp_path / "c")
        with session:
            cut_off = interrupted(session, stop).id
        runs = shared(there)
        assert [one.run for one in runs.headers()] == [first_run, cut_off]
        before = len(runs.get(cut_off).outcomes)
        asked: list[str] = []
        ends = runs.ledger.ends

        def noted(run: str = "") -> dict[str, tuple[int, float]]:
            asked.append(run)
            return ends(run)

        monkeypatch.setattr(runs.ledger, "ends", noted)
        here.resume(cut_off)
        assert len(runs.get(cut_off).outcomes) > before
        assert not runs.get(first_run).is_unfinished
        assert asked == [cut_off, first_run]
        runs.ledger.remove(first_run)
        with pytest.raises(NotFoundError):
            runs.get(first_run)
        assert runs.get(cut_off[:-2]).run == cut_off


def test_a_record_that_was_damaged_on_this_machine_is_fetched_again(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    """Else an undo would leave an image out, or a run be continued that was undone."""
    pushed(pusher)
    with opened(registry_server, store, tmp_path / "a") as here:
        run = here.apply(here.plan_removal("team/a", tags=["<2"])).id
        undo = here.undo(run).id
        runs = shared(here)
        for name in (run, undo):
            path = runs.folder / "runs" / name / "journal.jsonl"
            whole = path.read_bytes()
            path.write_bytes(whole.replace(b"sha256", b"sha255").replace(b"undoes", b"undoez"))
            assert not runs.get(name).damaged
            path.write_bytes(whole.replace(b"undoes", b"undoez"))
            assert [one.undoes for one in runs.headers()] == ["", run]
            assert path.read_bytes() == whole


def test_another_run_on_the_registry_is_refused_while_one_is_at_work(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    pushed(pusher)
    with (
        opened(registry_server, store, tmp_path / "a") as here,
        opened(registry_server, store, tmp_path / "b") as there,
    ):
        plan = there.plan_removal("team/a", tags=["1.0"])
        with here.lock(), pytest.raises(RefusedError, match="another run is at work"):
            there.apply(plan)
        assert there.apply(plan).is_finished


async def test_two_processes_carry_out_one_run_each_repository_once(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    before = pushed(pusher)

    async def begin() -> tuple[str, dregutil.RunResult]:
        async with dregutil.connect(
            registry_server.url, store=store, state_dir=tmp_path / "a", contents=None, insecure=True
        ) as session:
            plan = await session.plan_removal(*REPOSITORIES, tags=["<2"])
            result = await session.apply(plan)
            return result.id, result

    async def join() -> dregutil.RunResult | None:
        async with dregutil.connect(
            registry_server.url, store=store, state_dir=tmp_path / "b", contents=None, insecure=True
        ) as session:
            while True:
                headers = session.store.headers(session.identity)
                if headers and not headers[0].is_unfinished:
                    return None
                if headers:
                    return await session.resume(headers[0].run)
                await asyncio.sleep(0.01)

    (run, first), second = await asyncio.gather(begin(), join())
    assert first.is_finished
    assert second is None or second.is_finished, second.error
    assert set(map(tuple, tags_of(pusher).values())) == {("2.0",)}
    async with dregutil.connect(
        registry_server.url, store=store, state_dir=tmp_path / "c", contents=None, insecure=True
    ) as session:
        record = session.store.get(run)
        assert record.looked == {Repository(name) for name in REPOSITORIES}
        assert not record.is_unfinished
        assert len(record.outcomes) == len(record.plan.steps)
        await session.undo()
    assert tags_of(pusher) == before


def test_without_a_store_every_write_is_permitted() -> None:
    check_permit()


def interrupted(session: dregutil.Session, stop: dregutil.Stop) -> dregutil.RunResult:
    """A run in six repositories, interrupted when its first step is done."""
    return session.apply(session.plan_removal(*REPOSITORIES, tags=["<2"]), stop=stop)


def stopping(server: DistributionServer, store: str, folder: Path) -> tuple[dregutil.Session, dregutil.Stop]:
    stop = dregutil.Stop()

    def on_progress(progress: object) -> None:
        if isinstance(progress, RunProgress) and progress.done:
            stop.set()

    session = dregutil.open(
        server.url, store=store, state_dir=folder, contents=None, insecure=True, concurrency=1, on_progress=on_progress
    )
    return session, stop


def test_a_run_that_is_not_there_is_missed_in_the_store_and_not_in_its_mirror(
    registry_server: DistributionServer, store: str, tmp_path: Path
) -> None:
    with (
        opened(registry_server, store, tmp_path) as session,
        pytest.raises(NotFoundError, match=r"there is no run '2026' in the store (sqlite|postgresql)://"),
    ):
        session.run("2026")


def test_no_run_goes_unrecorded_on_a_store(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    before = pushed(pusher)
    with opened(registry_server, store, tmp_path) as session:
        plan = session.plan_removal(*REPOSITORIES, tags=["<2"])
        with pytest.raises(dregutil.UsageError, match="is recorded there"):
            session.apply(plan, record=False)
    assert tags_of(pusher) == before


def test_a_run_is_not_resumed_that_another_machine_has_undone_meanwhile(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    before = pushed(pusher)
    here, stop = stopping(registry_server, store, tmp_path / "a")
    with here, opened(registry_server, store, tmp_path / "b") as there:
        run = interrupted(here, stop).id
        record = there.to_resume(run)
        assert record is not None
        here.undo(run)
        with pytest.raises(RefusedError, match="was undone"):
            there._run(there._session._run(record.plan, record, record=True, stop=None, ends_at=None))
    assert tags_of(pusher) == before


def test_an_undo_leaves_out_nothing_that_the_run_removed_since_it_was_planned(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    before = pushed(pusher)
    here, stop = stopping(registry_server, store, tmp_path / "a")
    with here, opened(registry_server, store, tmp_path / "b") as there:
        run = interrupted(here, stop).id
        record = there.to_undo(run)
        plan = there.plan_undo(record)
        assert here.resume(run).is_finished
        with pytest.raises(RefusedError, match="removed more since"):
            there.apply_undo(record, plan)
        with pytest.raises(RefusedError, match="removed more since"):
            there.mark_undone(record, plan)
        there.undo(run)
    assert tags_of(pusher) == before


def forgotten(database: Database, run: str) -> int:
    """Bring the store to where it was before the first intent of a run, as an older backup does; returns its lines."""
    with database.transaction() as transaction:
        lines = int(
            first(transaction.rows("SELECT min(n) - 1 FROM line WHERE run = :run AND kind = 'intent'", {"run": run}))
        )
        values = {"run": run, "lines": lines}
        transaction.execute("DELETE FROM line WHERE run = :run AND n > :lines", values)
        transaction.execute("UPDATE run SET lines = :lines, finished = FALSE WHERE name = :run", values)
        transaction.execute("UPDATE target SET looked = FALSE, tried = '' WHERE run = :run", values)
    return lines


def kept(folder: Path) -> Path:
    """The state folder with what one machine knew, and the restored store does not."""
    (found,) = folder.glob("stores/*/newer-*")
    return found


def test_what_a_restored_store_forgot_is_kept_by_the_machine_that_did_it(
    registry_server: DistributionServer, pusher: Pusher, store: str, database: Database, tmp_path: Path
) -> None:
    before = pushed(pusher)
    with (
        opened(registry_server, store, tmp_path / "a") as here,
        opened(registry_server, store, tmp_path / "b") as there,
    ):
        run = here.apply(here.plan_removal(*REPOSITORIES, tags=["<2"])).id
        whole = here.run(run)
        assert len(whole.intents) == 12
        forgotten(database, run)
        there.resume(run)
        records = [shared(one).folder / "runs" / run / "journal.jsonl" for one in (here, there)]
        assert [here.run(run).intents, there.run(run).intents] == [(), ()], "both know what the store does"
        assert records[0].read_bytes() == records[1].read_bytes()
    state = kept(tmp_path / "a")
    assert read_journal(state / "runs" / run).intents == whole.intents
    with dregutil.open(registry_server.url, state_dir=state, contents=None, insecure=True) as alone:
        alone.undo(run)
    assert tags_of(pusher) == before


def test_a_restored_store_that_has_as_many_lines_again_is_noticed(
    registry_server: DistributionServer, pusher: Pusher, store: str, database: Database, tmp_path: Path
) -> None:
    pushed(pusher)
    with opened(registry_server, store, tmp_path / "a") as here:
        run = here.apply(here.plan_removal("team/a", tags=["<2"])).id
        here.run(run)
        with database.transaction() as transaction:
            transaction.execute(
                "UPDATE line SET at = at + 1, body = :body WHERE n = (SELECT max(n) FROM line)", {"body": b"other\n"}
            )
        here.runs()
        assert (shared(here).folder / "runs" / run / "journal.jsonl").read_bytes().endswith(b"other\n")


def test_a_run_that_a_restored_store_does_not_have_is_kept_and_a_pruned_one_is_not(
    registry_server: DistributionServer, pusher: Pusher, store: str, database: Database, tmp_path: Path
) -> None:
    pushed(pusher)
    with opened(registry_server, store, tmp_path / "a") as here:
        runs = [here.apply(here.plan_removal("team/a", tags=[tag])).id for tag in ("1.0", "1.1")]
        here.runs()
        for gone in runs[:1], runs[1:]:
            with database.transaction() as transaction:
                transaction.execute("DELETE FROM run WHERE name = :run", {"run": gone[0]})
            assert gone[0] not in [one.run for one in here.runs()]
    assert [one.name for one in (kept(tmp_path / "a") / "runs").iterdir()] == runs[1:], "the oldest go first"


@pytest.mark.parametrize("name", ["../../../outside", "/tmp/outside", "..", ".hidden"])
def test_no_name_of_a_run_leads_out_of_the_mirror(
    registry_server: DistributionServer, store: str, database: Database, tmp_path: Path, name: str
) -> None:
    with opened(registry_server, store, tmp_path / "a") as here:
        shared(here).catch_up()
        with database.transaction() as transaction:
            values = {"name": name, "key": "registry.example.com"}
            transaction.execute("INSERT INTO run (name, number, registry, begun) VALUES (:name, 1, :key, 1)", values)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(StoreError, match="no file's"):
            here.runs()
    assert sorted(tmp_path.rglob("*")) == before


def clock(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """The clock of this machine is so many days off."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(days=days)

    for module in (dregutil.session.removal, dregutil.session.planning, dregutil.journal.store):
        if hasattr(module, "datetime"):
            monkeypatch.setattr(module, "datetime", Wrong)
    monkeypatch.setattr(dregutil.apply.undo.recorded, "datetime", Wrong)
    monkeypatch.setattr(dregutil.apply.recorded, "datetime", Wrong)


@pytest.mark.parametrize(("undone", "planned"), [(-20, 0), (0, 20)])
def test_what_an_undo_put_back_is_held_also_if_the_clock_of_a_machine_is_wrong(
    registry_server: DistributionServer,
    pusher: Pusher,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    undone: int,
    planned: int,
) -> None:
    pushed(pusher)
    with opened(registry_server, store, tmp_path / "a") as here:
        here.apply(here.plan_removal("team/a", tags=["<2"]))
        clock(monkeypatch, undone)
        here.undo()
    clock(monkeypatch, planned)
    with opened(registry_server, store, tmp_path / "b") as there:
        assert not there.plan_removal("team/a", tags=["<2"]).steps
        assert shared(there).prune(shared(there).now() - timedelta(days=10)) == []


def test_a_hold_lasts_as_long_as_was_asked_also_if_the_clock_of_a_machine_is_wrong(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(pusher)
    for days in (-20, 20):
        clock(monkeypatch, days)
        with opened(registry_server, store, tmp_path / f"{days}") as here:
            here.hold("team/a:1.0" if days < 0 else "team/a:1.1", for_="10d")
    clock(monkeypatch, 0)
    with opened(registry_server, store, tmp_path / "c") as there:
        assert [str(one.tag) for one in there.holds()] == ["1.0", "1.1"]
        ends = [one.until - datetime.now(UTC) for one in there.holds() if one.until is not None]
        assert all(timedelta(days=9) < left <= timedelta(days=10) for left in ends)
