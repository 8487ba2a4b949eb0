"""A content database whose file was checked: nothing that is damaged or written afterwards goes unnoticed."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path

import pytest

from dregutil.errors import CacheError
from dregutil.inventory.contents import checked
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.contents.measured import UsageRow
from dregutil.inventory.tags import Inventory
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from images import CONFIG, IMAGE, LAYER

NUMBER = 12
DAMAGE = (
    "UPDATE blob SET size = size + 1024 WHERE id = (SELECT max(blob) FROM part)",
    "UPDATE blob SET digest = randomblob(32) WHERE id = (SELECT min(manifest) FROM part)",
    "DELETE FROM part WHERE role = 3 AND manifest = (SELECT max(manifest) FROM part)",
    "UPDATE part SET role = 4 WHERE role = 3",
    "DELETE FROM content WHERE id IN (SELECT blob FROM part WHERE role = 2)",
    "UPDATE content SET deflated = x'00'",
    "UPDATE manifest SET media_type = 'application/json'",
)


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The file of a small database is checked as well; what is returned are the checks of rows."""
    found: list[str] = []
    check = ContentDatabase.check

    def noted(database: ContentDatabase, rows: str) -> None:
        found.append(rows)
        check(database, rows)

    monkeypatch.setattr(ContentDatabase, "check", noted)
    monkeypatch.setattr(checked, "_LARGE", 0)
    return found


def image(number: int) -> tuple[Manifest, bytes]:
    config = json.dumps({"os": "linux", "number": number}).encode()
    parts = [(LAYER, b"x" * (number + 1)), (LAYER, b"base")]
    layers = [{"mediaType": kind, "digest": Digest.of(raw), "size": len(raw)} for kind, raw in parts]
    body = {"config": {"mediaType": CONFIG, "digest": Digest.of(config), "size": len(config)}, "layers": layers}
    raw = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, **body}).encode()
    return parse_manifest(raw, IMAGE, Digest.of(raw)), config


def add(database: ContentDatabase, numbers: range) -> None:
    found = [image(number) for number in numbers]
    configs = {Digest.of(config): config for _, config in found}
    database.add((one for one, _ in found), configs, [one.digest for one, _ in found])


def tags(number: int) -> Inventory:
    return Inventory(
        {
            Repository(f"r{part}"): {Tag(f"{one}"): image(one)[0].digest for one in range(part, number, 3)}
            for part in range(3)
        }
    )


def usage(path: Path, number: int = NUMBER) -> tuple[int, list[UsageRow]]:
    """How many digests are missing; what the tags weigh once they were read again."""
    with ContentDatabase.open(path) as database:
        found = DiskUsage(database, tags(number).keyed())
        missing = found.missing()
        if missing:
            add(database, range(number))
            assert not found.missing()
        return len(missing), [*found.measure("tag").rows()]


def test_rows_are_checked_once(tmp_path: Path, of_any_size: list[str]) -> None:
    path = tmp_path / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        add(database, range(NUMBER))
    first = usage(path)
    assert len(of_any_size) == 1
    assert usage(path) == usage(path) == first
    assert len(of_any_size) == 1
    with ContentDatabase.open(path) as database:
        add(database, range(NUMBER, NUMBER + 1))
    usage(path)
    assert len(of_any_size) == 2


@pytest.mark.parametrize("how", DAMAGE)
def test_a_row_damaged_after_the_check_is_found(tmp_path: Path, how: str) -> None:
    path = tmp_path / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        add(database, range(NUMBER))
    first = usage(path)
    usage(path)
    with sqlite3.connect(path) as connection:
        connection.execute(how)
    connection.close()
    missing, rows = usage(path)
    assert missing
    assert (0, rows) == first
    assert usage(path) == first


def test_damaged_rows_are_not_kept_as_checked(tmp_path: Path, of_any_size: list[str]) -> None:
    """Nor is what was not in the file: a connection that reads keeps what was written last beside it."""
    path = tmp_path / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        add(database, range(NUMBER))
        database.connection.execute(DAMAGE[0])
        with ContentDatabase.open(path) as reader:
            reader.connection.execute("BEGIN")
            reader.connection.execute("SELECT * FROM blob").fetchone()
            database.connection.execute("UPDATE blob SET size = size - 1024 WHERE id = (SELECT max(blob) FROM part)")
            checked.check_rows(database, "SELECT id FROM manifest WHERE whole", NUMBER)
            assert not path.with_name("contents.sqlite.checked").exists()
            reader.connection.execute("ROLLBACK")
        database.connection.execute(DAMAGE[0])
        checked.check_rows(database, "SELECT id FROM manifest WHERE whole", NUMBER)
        assert database.dropped
        assert not path.with_name("contents.sqlite.checked").exists()
    assert len(of_any_size) == 2


def test_a_flipped_bit_is_found(tmp_path: Path, of_any_size: list[str]) -> None:
    path = tmp_path / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        add(database, range(NUMBER))
    first = usage(path)
    raw, picked = path.read_bytes(), random.Random(3)
    for _ in range(25):
        at = picked.randrange(100, len(raw))
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << picked.randrange(8))]) + raw[at + 1 :])
        of_any_size.clear()
        try:
            _, rows = usage(path)
        except CacheError:
            pass  # a private one replaces it
        else:
            assert of_any_size
            assert (0, rows) == first
        for beside in (tmp_path / "contents.sqlite-wal", tmp_path / "contents.sqlite-shm"):
            beside.unlink(missing_ok=True)
