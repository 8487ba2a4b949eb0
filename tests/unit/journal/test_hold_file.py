"""The file of holds: whole or refused, for its owner alone, and two writers lose nothing."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.errors import DamagedRecordError, JournalError, NotFoundError
from dregutil.journal.holds import HoldFile, RegistryHolds
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.holds import Hold

REGISTRY = "registry.example.com"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DIGEST = Digest("sha256:" + "a" * 64)
TAG_HOLD = Hold(
    Repository("app"), NOW, Tag("1.0"), until=NOW + timedelta(days=30), by="nele@build", because="why: “so”"
)
DIGEST_HOLD = Hold(Repository("app"), NOW, digest=DIGEST)


def holds(folder: Path, registry: str = REGISTRY) -> RegistryHolds:
    return RegistryHolds(RunStore(folder), registry)


def test_holds_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = holds(tmp_path)
    assert found.now(NOW).all == ()
    found.add(TAG_HOLD)
    found.add(DIGEST_HOLD)
    assert holds(tmp_path).now(NOW).all == (TAG_HOLD, DIGEST_HOLD)
    assert holds(tmp_path, "other.example.com").now(NOW).all == ()
    assert holds(tmp_path).now(NOW + timedelta(days=30)).all == (DIGEST_HOLD,)


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    holds(tmp_path / "state").add(TAG_HOLD)
    path = HoldFile(tmp_path / "state", REGISTRY).path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_hold_of_the_same_name_is_replaced(tmp_path: Path) -> None:
    found = holds(tmp_path)
    found.add(TAG_HOLD)
    later = Hold(Repository("app"), NOW, Tag("1.0"), by="kim@build")
    found.add(later)
    assert found.now(NOW).all == (later,)


def test_a_hold_is_ended_and_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    found = holds(tmp_path)
    found.add(TAG_HOLD)
    found.add(DIGEST_HOLD)
    with pytest.raises(NotFoundError, match=r"2\.0 is not held"):
        found.end({"1.0": lambda hold: hold.tag == "1.0", "2.0": lambda hold: hold.tag == "2.0"}, NOW)
    assert found.end({"1.0": lambda hold: hold.tag == "1.0"}, NOW) == (TAG_HOLD,)
    assert found.now(NOW).all == (DIGEST_HOLD,)
    with pytest.raises(NotFoundError):
        found.end({"1.0": lambda hold: hold.tag == "1.0"}, NOW)
    assert found.now(NOW).all == (DIGEST_HOLD,)


def test_any_damage_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    found = holds(tmp_path)
    found.add(TAG_HOLD)
    path = HoldFile(tmp_path, REGISTRY).path
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole) - 1)]
    damaged += [
        whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :] for place in range(len(whole) - 1)
    ]
    for raw in damaged:
        path.write_bytes(raw)
        with pytest.raises(DamagedRecordError, match=str(path)):
            found.now(NOW)
        with pytest.raises(DamagedRecordError):
            found.add(DIGEST_HOLD)
        assert path.read_bytes() == raw, "it is not replaced"


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    from dregutil.journal.holds import _sum

    holds(tmp_path).add(TAG_HOLD)
    path = HoldFile(tmp_path, REGISTRY).path
    payload = path.read_bytes().rstrip().partition(b" ")[2].replace(b'"version":1', b'"version":2')
    path.write_bytes(_sum(payload) + b" " + payload)
    with pytest.raises(JournalError, match="version 2"):
        holds(tmp_path).now(NOW)


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    program = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from dregutil.journal.holds import RegistryHolds
from dregutil.journal.store import RunStore
from dregutil.oci.names import Repository, Tag
from dregutil.retention.holds import Hold
found = RegistryHolds(RunStore(Path(sys.argv[1])), "registry.example.com")
for number in range(20):
    found.add(Hold(Repository("app"), datetime.now(UTC), Tag(f"{sys.argv[2]}.{number}")))
"""
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)]) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert {hold.tag for hold in holds(tmp_path).now(NOW).all} == {
        f"{one}.{two}" for one in range(3) for two in range(20)
    }


def test_a_run_sees_a_hold_that_is_made_meanwhile(tmp_path: Path) -> None:
    found = holds(tmp_path)
    current = found.watched(NOW)
    before = current()
    assert before.all == ()
    assert current() is before
    found.add(TAG_HOLD)
    assert current().all == (TAG_HOLD,)
    HoldFile(tmp_path, REGISTRY).path.write_bytes(b"damaged")
    with pytest.raises(DamagedRecordError):
        current()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.journal.holds.others_link", lambda path: path)
    with pytest.raises(JournalError, match="another user"):
        holds(tmp_path).add(TAG_HOLD)
