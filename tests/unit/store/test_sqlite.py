"""A store in a SQLite file: what one process commits, others see."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from dregutil.store.address import StoreAddress
from dregutil.store.sqlite import SqliteDatabase

LOOK = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(c.execute('SELECT n FROM t').fetchall()); c.close()"
)


def test_nothing_is_lost_that_is_written_after_another_connection_was_opened(tmp_path: Path) -> None:
    """To open and close a database's file beside SQLite would end SQLite's locks on it: another process that then
    closes its connection takes itself for the last one, and deletes the log that this one goes on writing to."""
    address = StoreAddress.parse(f"sqlite://{tmp_path}/store.sqlite")
    one, other = SqliteDatabase(address), SqliteDatabase(address)
    with one.transaction() as transaction:
        transaction.execute("CREATE TABLE t (n INT)")
    with other.transaction() as transaction:
        transaction.execute("INSERT INTO t VALUES (1)")
    assert looked(address.path) == "[(1,)]"
    with other.transaction() as transaction:
        transaction.execute("UPDATE t SET n = 2")
    assert looked(address.path) == "[(2,)]"
    one.close()
    other.close()
    with closing(sqlite3.connect(address.path)) as found:
        assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def looked(path: Path) -> str:
    """What another process sees."""
    done = subprocess.run([sys.executable, "-c", LOOK, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip()
