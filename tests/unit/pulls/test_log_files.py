"""Files of logs are read once, whatever a rotation does with them."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dregutil
from dregutil.errors import StorageError
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.pulls.agents import IgnoredAgents
from dregutil.pulls.log_files import LogRead, log_name, read_log
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import LogPosition

NOON = int(datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp())
NOW = NOON + 1_000_000


def line(number: int, agent: str = "docker/28") -> str:
    moment = datetime.fromtimestamp(NOON + number, UTC)
    request = f'"GET /v2/shop/web/manifests/{number} HTTP/1.1" 200 5 "" "{agent}"'
    return f"10.0.0.9 - - [{moment:%d/%b/%Y:%H:%M:%S} +0000] {request}\n"


class Reader:
    """Remembers positions as the store does."""

    def __init__(self) -> None:
        self.positions: dict[bytes, LogPosition] = {}
        self.seen: list[str] = []

    def read(self, path: Path) -> LogRead:
        found = read_log(str(path), self.positions.get, ignored=IgnoredAgents(), now=NOW)
        if found.position is not None:
            self.positions[found.position.head] = found.position
        self.seen += [str(reference) for _, reference in found.batch.pulls]
        return found


def lines(*numbers: int) -> str:
    return "".join(map(line, numbers))


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    path, reader = tmp_path / "access.log", Reader()
    path.write_text(lines(1, 2))
    assert reader.read(path).span == (NOON + 1, NOON + 2)
    assert reader.read(path).lines == 0
    path.write_text(lines(1, 2, 3))
    found = reader.read(path)
    assert (found.lines, found.pulls) == (1, 1)
    assert found.span == (NOON + 2, NOON + 3), "it follows what was read before"
    assert reader.seen == ["1", "2", "3"]


@pytest.mark.parametrize("how", ["renamed", "compressed", "copied and cut"])
def test_a_rotation_loses_nothing_and_doubles_nothing(tmp_path: Path, how: str) -> None:
    path, rotated, reader = tmp_path / "access.log", tmp_path / "access.log.1", Reader()
    path.write_text(lines(*range(20)))
    reader.read(path)
    path.write_text(lines(*range(30)))
    if how == "renamed":
        path.rename(rotated)
    elif how == "compressed":
        rotated = tmp_path / "access.log.1.gz"
        rotated.write_bytes(gzip.compress(path.read_bytes()))
    else:
        rotated.write_bytes(path.read_bytes())
    path.write_text(lines(30, 31))
    for one in (path, rotated, path, rotated):
        reader.read(one)
    assert sorted(map(int, reader.seen)) == list(range(32))
    assert log_name(str(rotated)) == log_name(str(path))


def test_a_line_that_is_not_complete_waits(tmp_path: Path) -> None:
    path, reader = tmp_path / "access.log", Reader()
    whole = lines(1, 2)
    for end in (5, len(line(1)) - 1):
        path.write_text(whole[:end])
        reader.read(path)
    path.write_text(whole[: len(line(1)) + 70])
    reader.read(path)
    path.write_text(whole)
    reader.read(path)
    assert set(reader.seen) == {"1", "2"}


def test_another_file_with_the_same_first_line_is_read_whole(tmp_path: Path) -> None:
    path, reader = tmp_path / "access.log", Reader()
    path.write_text(lines(1, 2, 3, 4, 5))
    reader.read(path)
    path.write_text(lines(1, 6))
    reader.read(path)
    path.write_text(lines(1, 7, 8, 9, 10, 11, 12))
    reader.read(path)
    assert set(reader.seen) == {str(number) for number in range(1, 13)}


@pytest.mark.property
@given(st.lists(st.sampled_from(["write", "read", "rotate", "compress", "read all"]), max_size=12), st.integers())
def test_whatever_happens_every_line_is_read(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    folder, reader, chance = tmp_path_factory.mktemp("logs"), Reader(), random.Random(seed)
    path, written, number = folder / "access.log", 0, 1
    path.write_text("")
    for step in (*steps, "read all"):
        if step == "write":
            new = chance.randint(1, 5)
            with path.open("a") as file:
                file.write(lines(*range(written, written + new)))
            written += new
        elif step == "read":
            reader.read(path)
        elif step == "rotate":
            path.rename(folder / f"access.log-{number:04}")
            path.write_text("")
            number += 1
        elif step == "compress":
            for one in [*folder.glob("access.log-????")]:
                (folder / f"{one.name}.gz").write_bytes(gzip.compress(one.read_bytes()))
                one.unlink()
        else:
            for one in chance.sample([*folder.iterdir()], len([*folder.iterdir()])):
                reader.read(one)
    assert sorted(map(int, reader.seen)) == list(range(written))


def test_odd_files(tmp_path: Path) -> None:
    path, reader = tmp_path / "access.log", Reader()
    for raw in (b"", b"\n", b"\0" * 1000, b"x" * 5_000_000, b"\xff\n" * 1000, lines(1).encode() + b"\0\xff\n"):
        path.write_bytes(raw)
        reader.read(path)
    assert reader.seen == ["1"]
    path.write_bytes(gzip.compress(lines(1, 2).encode())[:-9])
    with pytest.raises(StorageError, match="cannot be read"):
        reader.read(path)
    with pytest.raises(StorageError, match="No such file"):
        reader.read(tmp_path / "absent")
    with pytest.raises(StorageError):
        reader.read(tmp_path)


def test_agents_that_do_not_count_and_times_to_come(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(line(1, "dregutil") + line(2, "trivy/0.60") + line(2_000_000))
    found = Reader().read(path)
    assert (found.lines, found.pulls) == (3, 1)
    assert [at for at, _ in found.batch.pulls.values()] == [NOW]


def test_a_line_of_a_time_to_come_says_nothing_of_what_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(line(3_000_000) + line(1) + line(2) + line(3_000_000))
    assert Reader().read(path).span == (NOON + 1, NOON + 2)
    path.write_text(line(1) + line(1_000_060))
    assert Reader().read(path).span == (NOON + 1, NOW), "clocks differ"


@pytest.mark.parametrize(
    "user", ["[01/Jan/2020:00:00:00 +0000]", "2020-01-01T00:00:00Z", "[01/Jan/2020:00:00:00 +0000] \\x22GET"]
)
def test_the_name_of_a_user_is_no_time(tmp_path: Path, user: str) -> None:
    path = tmp_path / "access.log"
    path.write_text(line(1).replace(" - - ", f" - {user} ") + line(2))
    assert Reader().read(path).span == (NOON + 1, NOON + 2)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/l/access.log", "/l/access.log"),
        ("/l/access.log.1", "/l/access.log"),
        ("/l/access.log.12.gz", "/l/access.log"),
        ("/l/access.log-20261126", "/l/access.log"),
        ("/l/access.log-20261126.gz", "/l/access.log"),
        ("/l/access_log.2026-11-26", "/l/access_log"),
        ("/l/access-20261126.log", "/l/access.log"),
        ("/l/access.2026-11-26.log.gz", "/l/access.log"),
        ("/l/node7.log", "/l/node7.log"),
        ("/l/node-7.log", "/l/node-7.log"),
        ("-", "standard input"),
    ],
)
def test_the_files_of_a_rotation_are_one_source(path: str, name: str) -> None:
    assert log_name(path) == name


def test_what_is_read_is_recorded_with_its_span(tmp_path: Path) -> None:
    paths = [tmp_path / "access.log", tmp_path / "access.log.1"]
    paths[0].write_text(lines(500, 501))
    paths[1].write_text(lines(1, 2))
    with dregutil.open("registry.example.com", state_dir=tmp_path / "state", contents=None) as session:
        first, second = session.read_pulls(*map(str, paths))
        assert (first.pulls, second.pulls) == (2, 2)
        assert [one.lines for one in session.read_pulls(*map(str, paths))] == [0, 0]
    store = PullStore(tmp_path / "state", RegistryAddress.parse("registry.example.com").identity)
    (source,) = store.sources()
    assert source.kind is SourceKind.LOG
    assert [(int(one.since.timestamp()), int(one.until.timestamp())) for one in source.spans] == [
        (NOON + 1, NOON + 2),
        (NOON + 500, NOON + 501),
    ]
    assert store.pulls(Repository("shop/web")).tags.keys() == {"1", "2", "500", "501"}


def test_a_pull_by_tag_counts_for_the_digest_that_the_records_know(tmp_path: Path) -> None:
    from dregutil.inventory.tag_history import TagHistory
    from dregutil.inventory.tags import Inventory

    one = Digest.of(b"one")
    identity = RegistryAddress.parse("registry.example.com").identity
    web = Repository("shop/web")
    history = TagHistory(tmp_path / "state", identity)
    history.record(Inventory({web: {Tag("1"): one}}), now=datetime.fromtimestamp(NOON - 9, UTC))
    history.record(Inventory({web: {Tag("1"): one, Tag("9"): one}}), now=datetime.fromtimestamp(NOON + 20, UTC))
    path = tmp_path / "access.log"
    path.write_text(lines(1, 9, 30))
    with dregutil.open("registry.example.com", state_dir=tmp_path / "state", contents=None) as session:
        session.read_pulls(str(path))
    found = PullStore(tmp_path / "state", identity).pulls(web)
    assert found.tags.keys() == {"1", "9", "30"}
    assert {digest: int(pull.at.timestamp()) for digest, pull in found.digests.items()} == {one: NOON + 1}
