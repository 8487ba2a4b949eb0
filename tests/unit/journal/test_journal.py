"""The record of a run: intents are complete, whatever reaches the disk of later writes."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import JournalError, NotFoundError, RefusedError
from dregutil.journal.history import RunHistory
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.mounts import why_short_lived
from dregutil.journal.oci_layout import LaidOutRecorder, write_layout
from dregutil.journal.reader import read_header, read_journal
from dregutil.journal.record import RunHeader, RunRecord
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.file import plan_sum
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.plan.outcome import Intent, Outcome, Result
from dregutil.report.runs import run_head_lines, run_object

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
REPOSITORY = Repository("shop/web")


def intent(number: int, *, placeholder: bool = False) -> Intent:
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "n": number}).encode()
    manifest = parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))
    ours = Digest.of(b"ours") if placeholder else None
    return Intent(number, REPOSITORY, (Tag(f"1.{number}"), Tag("x")), manifest, ours)


def plan(number: int) -> Plan:
    steps = tuple(
        Step(place, Action.DELETE, REPOSITORY, intent(place).manifest.digest, (Tag(f"1.{place}"),), StepKind.IMAGE, "x")
        for place in range(1, number + 1)
    )
    return Plan("registry.example.com", NOW, "remove-tags -r shop/web -t '<1.4'", steps)


def begun(folder: Path, number: int) -> Journal:
    folder.mkdir()
    journal = Journal(folder)
    journal.begin(plan(number), started=NOW)
    return journal


def record(folder: Path, number: int) -> RunRecord:
    journal = begun(folder, number)

    async def work() -> None:
        for place in range(1, number + 1):
            await journal.intend(intent(place, placeholder=place % 2 == 0))
            journal.outcome(Outcome(plan(number).steps[place - 1], Result.REMOVED, "why"))
        journal.looked(REPOSITORY)

    asyncio.run(work())
    journal.close(NOW)
    return read_journal(folder)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = record(tmp_path / "run", 3)
    assert found.plan == plan(3)
    assert found.intents == tuple(intent(place, placeholder=place % 2 == 0) for place in (1, 2, 3))
    assert [settled.result for settled in found.outcomes.values()] == [Result.REMOVED] * 3
    assert found.looked == {REPOSITORY}
    assert (found.finished, found.damaged, found.missing_steps) == (NOW, 0, False)
    assert (found.removed_tags, found.open_intents) == (3, ())


@given(
    kept=st.integers(0, 4),
    garbage=st.lists(st.one_of(st.binary(max_size=80), st.integers(0, 20)), max_size=6),
    torn=st.integers(0, 400),
)
def test_intents_before_the_last_sync_are_whole_whatever_follows(
    tmp_path_factory: pytest.TempPathFactory, kept: int, garbage: list[bytes | int], torn: int
) -> None:
    """Blocks written after the last sync may be missing, zero, garbage, or present although earlier ones are not."""
    folder = tmp_path_factory.mktemp("journal") / "run"
    record(folder, 4)
    lines = (folder / FILE_NAME).read_bytes().splitlines(keepends=True)
    durable = [place for place, line in enumerate(lines) if b'"type":"intent"' in line]
    end = durable[kept - 1] + 1 if kept else durable[0]
    later = lines[end:] or [b"\n"]
    after = [later[part % len(later)] if isinstance(part, int) else part + b"\n" for part in garbage]
    (folder / FILE_NAME).write_bytes(b"".join((*lines[:end], *after, lines[-1][:torn])))
    found = read_journal(folder)
    assert found.plan == plan(4)
    assert [one.manifest for one in found.intents][:kept] == [intent(place).manifest for place in range(1, kept + 1)]
    journal = Journal(folder)
    asyncio.run(journal.intend(intent(4)))
    journal.close(NOW)
    assert read_journal(folder).intents[-1].manifest == intent(4).manifest
    assert read_journal(folder).finished == NOW


@given(place=st.integers(0, 2000), value=st.integers(0, 255))
def test_an_altered_line_is_skipped(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    folder = tmp_path_factory.mktemp("journal") / "run"
    whole = record(folder, 2)
    raw = bytearray((folder / FILE_NAME).read_bytes())
    place %= len(raw)
    raw[place] = value
    (folder / FILE_NAME).write_bytes(raw)
    try:
        found = read_journal(folder)
    except JournalError:
        assert place < raw.index(b"\n") + 1
        return
    assert all(one in whole.intents for one in found.intents)
    assert all(step in whole.plan.steps for step in found.plan.steps)


def test_concurrent_writes_share_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(tmp_path / "run", 60)
    syncs: list[int] = []
    sync = journal._sync

    def counted() -> None:
        syncs.append(1)
        sync()

    monkeypatch.setattr(journal, "_sync", counted)

    async def work() -> None:
        await asyncio.gather(*(journal.intend(intent(place)) for place in range(1, 61)))

    asyncio.run(work())
    journal.close(None)
    assert len(syncs) <= 4
    assert len(read_journal(tmp_path / "run").intents) == 60


def test_a_full_disk_leaves_no_partial_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(tmp_path / "run", 1)
    before = (tmp_path / "run" / FILE_NAME).read_bytes()

    write, sizes = os.write, iter((10, 0))

    def full(file: int, data: memoryview) -> int:
        size = next(sizes)
        if not size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:size])

    with monkeypatch.context() as patch:
        patch.setattr("dregutil.journal.writer.os.write", full)
        with pytest.raises(JournalError, match="No space left"):
            asyncio.run(journal.intend(intent(1)))
        with pytest.raises(JournalError):
            asyncio.run(journal.intend(intent(2)))
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before
    journal.close(None)


def test_a_record_says_which_plan_it_carries_out_who_planned_it_and_who_approved_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREGUTIL_PLANNED_BY", "ann")
    monkeypatch.setenv("DREGUTIL_APPROVED_BY", "bob\ncy")
    found = record(tmp_path / "run", 2)
    assert found.plan_sum == plan_sum(plan(2)) == read_header(tmp_path / "run").plan_sum
    assert (found.planned_by, found.approved_by) == ("ann", ("bob", "cy"))
    shown = run_object(found, {})
    assert (shown["plan"], shown["planned_by"], shown["approved_by"]) == (found.plan_sum, "ann", ["bob", "cy"])
    assert "planned by ann · approved by bob, cy" in "\n".join(run_head_lines(found, {}, command="x"))


def test_an_undo_has_no_plan_and_no_approvals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREGUTIL_APPROVED_BY", "bob")
    (tmp_path / "run").mkdir()
    journal = Journal(tmp_path / "run")
    journal.begin(plan(1), started=NOW, undoes="20260301T020000Z-00001")
    journal.close(NOW)
    found = read_journal(tmp_path / "run")
    assert (found.plan_sum, found.approved_by) == ("", ())


def test_a_header_is_read_without_the_rest(tmp_path: Path) -> None:
    record(tmp_path / "done", 2)
    begun(tmp_path / "open", 2).close(None)
    assert not read_header(tmp_path / "done").is_unfinished
    assert read_header(tmp_path / "open").is_unfinished
    assert read_header(tmp_path / "open").registry == "registry.example.com"


def test_runs_are_found_by_a_prefix_of_their_name_and_pruned_by_age(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for day in (1, 2, 3):
        journal = store.new(datetime(2026, 3, day, tzinfo=UTC))
        journal.begin(plan(1), started=datetime(2026, 3, day, tzinfo=UTC))
        journal.close(None if day == 2 else NOW)
    assert store.get("20260301").started.day == 1
    with pytest.raises(NotFoundError, match="3 runs"):
        store.get("2026")
    with pytest.raises(NotFoundError, match="no run"):
        store.get("2027")
    assert [name[:8] for name in store.prune(datetime(2026, 3, 3, tzinfo=UTC))] == ["20260301"]
    assert [name[:8] for name in store.names()] == ["20260302", "20260303"]


def test_an_index_that_a_run_saw_is_known(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    index = parse_manifest(raw, OCI_INDEX, Digest.of(raw))
    journal = store.new(NOW)
    journal.begin(plan(2), started=NOW)
    asyncio.run(journal.intend(intent(1), Intent(2, REPOSITORY, (), index)))
    journal.close(None)
    assert RunHistory(store, "registry.example.com").known_indexes() == {REPOSITORY: {index.digest}}
    assert RunHistory(store, "another").known_indexes() == {}


def test_one_run_at_a_time_on_a_registry(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with (
        store.lock("a"),
        store.lock("b"),
        pytest.raises(RefusedError, match="another run"),
        RunStore(tmp_path).lock("a"),
    ):
        pass
    with store.lock("a"):
        pass


@pytest.mark.parametrize("why", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_no_run_begins_where_the_file_system_has_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(JournalError, match=f"cannot be recorded in .*: {os.strerror(why)}"),
        RunStore(tmp_path).lock("a"),
    ):
        pass


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    with RunStore(tmp_path).lock("a"):
        (lock,) = (tmp_path / "locks").iterdir()
    lock.unlink()
    (tmp_path / "theirs").write_text("theirs")
    lock.symlink_to(tmp_path / "theirs")
    with pytest.raises(JournalError, match="cannot be recorded"), RunStore(tmp_path).lock("a"):
        pass
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_the_layout_is_readable_by_other_tools(tmp_path: Path) -> None:
    write_layout(tmp_path / "layout", [intent(1), intent(2)])
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    named = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in index["manifests"]}
    assert named["shop/web:1.1"] == intent(1).manifest.digest
    blob = tmp_path / "layout" / "blobs" / "sha256" / intent(1).manifest.digest.hex
    assert blob.read_bytes() == intent(1).manifest.raw


def laid_out(journal: Journal, *, earlier: tuple[Intent, ...] = ()) -> Path:
    folder = journal.folder / "layout"
    recorder = LaidOutRecorder(journal, folder, earlier)
    asyncio.run(recorder.intend(intent(2)))
    recorder.finish()
    journal.close(NOW)
    return folder


def test_the_layout_grows_beside_the_record_and_keeps_what_an_earlier_part_removed(tmp_path: Path) -> None:
    folder = laid_out(begun(tmp_path / "run", 2), earlier=(intent(1),))
    write_layout(tmp_path / "whole", [intent(1), intent(2)])
    found, whole = ({path.relative_to(top): path for path in top.rglob("*")} for top in (folder, tmp_path / "whole"))
    assert found.keys() == whole.keys()
    assert all(path.is_dir() or path.read_bytes() == whole[name].read_bytes() for name, path in found.items())


def test_a_layout_that_cannot_be_written_is_given_up_and_the_record_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Derived data must not use the last space on the disk, which the record needs."""

    def full(path: Path, _: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dregutil.journal.oci_layout.write_private", full)
    journal = begun(tmp_path / "run", 2)
    assert not laid_out(journal).exists()
    assert read_journal(journal.folder).intents == (intent(2),)


@given(damage=st.lists(st.tuples(st.integers(0, 10), st.one_of(st.none(), st.binary(max_size=40))), max_size=6))
def test_a_layout_is_rebuilt_from_any_state(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, bytes | None]]
) -> None:
    """It is not synced: after a power failure its files may be empty, torn, outdated or missing, in any order."""
    folder = tmp_path_factory.mktemp("state") / "layout"
    intents = [intent(number) for number in (1, 2, 3)]
    write_layout(folder, intents)
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    for place, content in damage:
        path = list(whole)[place % len(whole)]
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    write_layout(folder, intents)
    assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == whole


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("/home/me/.local/state", ""),
        ("/run/user/0", "in memory"),
        ("/run", "in memory"),
        ("/srv", "container's own layer"),
        ("/runner", "container's own layer"),
    ],
)
def test_a_folder_that_is_not_persistent_is_reported(folder: str, why: str) -> None:
    mounts = (
        "1 0 0:1 / / rw - overlay overlay rw\n"
        "2 1 0:2 / /home rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "3 1 0:3 / /run rw - tmpfs tmpfs rw\n"
        "nonsense\n"
    )
    assert why in why_short_lived(Path(folder), mounts)
    assert bool(why_short_lived(Path(folder), mounts)) == bool(why)


def test_runs_of_one_millisecond_have_names_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["aa", "aa", "aa", "bb"])
    monkeypatch.setattr("dregutil.journal.store.secrets.token_hex", lambda _: next(drawn))
    store = RunStore(tmp_path)
    for _ in range(2):
        store.begin(plan(1), NOW).close(NOW)
    assert [name[-2:] for name in store.names()] == ["aa", "bb"]
    monkeypatch.setattr("dregutil.journal.store.secrets.token_hex", lambda _: "aa")
    with pytest.raises(JournalError, match="too many runs begin at once"):
        store.begin(plan(1), NOW)


def test_one_run_is_shown_without_the_records_of_others_and_a_list_of_removals_reads_each_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path)
    for number in range(1, 5):
        journal = store.begin(plan(number), NOW)
        asyncio.run(journal.intend(intent(1)))
        journal.close(NOW)
    removals = [header.run for header in store.headers()]
    for run in removals[:2]:
        store.begin(plan(1), NOW, undoes=run).close(NOW)
    undo = next(header.run for header in store.headers() if header.undoes == removals[0])
    with (tmp_path / "runs" / undo / FILE_NAME).open("ab") as file:
        file.write(b"no line\n")
    read: list[str] = []
    real = RunStore.read

    def noted(self: RunStore, header: RunHeader) -> RunRecord:
        read.append(header.run)
        return real(self, header)

    monkeypatch.setattr(RunStore, "read", noted)
    history = RunHistory(store, "registry.example.com")
    assert [one.run for one in history.with_undos(store.get(removals[0]))] == [removals[0], undo]
    assert read == [undo]
    read.clear()
    assert [record.run for record, _ in history.not_undone()] == [removals[3], removals[2]]
    assert [record.run for record in history.damaged()] == [undo]
    assert sorted(read) == sorted(header.run for header in store.headers())
