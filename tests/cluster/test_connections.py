"""Connections to a store are closed with it."""

from __future__ import annotations

import threading
import warnings

import pytest

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.migrations import migrate
from dregutil.store.postgres import _SETTINGS


def test_what_is_asked_after_the_end_keeps_no_connection_open(database: Database) -> None:
    database.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with database.transaction() as transaction:
            assert transaction.rows("SELECT 1 WHERE 1 = 1") == [(1,)]
        assert database._idle == []  # type: ignore[attr-defined]


def test_a_thread_that_is_still_asking_at_the_end_keeps_no_connection_open(database: Database) -> None:
    begun, closed = threading.Event(), threading.Event()

    def ask() -> None:
        with database.transaction() as transaction:
            begun.set()
            assert closed.wait(10)
            transaction.rows("SELECT 1 WHERE 1 = 1")

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(10)
    database.close()
    closed.set()
    thread.join()
    assert database._idle == []  # type: ignore[attr-defined]


def test_whoever_stands_still_in_a_transaction_keeps_no_row_from_others(
    shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that the system stopped would else keep a run from all who resume it."""
    monkeypatch.setitem(_SETTINGS, "idle_in_transaction_session_timeout", 300)  # milliseconds
    stopped, other = (open_database(StoreAddress.parse(shared_url)) for _ in "ab")
    migrate(other)
    lock = "INSERT INTO registry (key, name) VALUES ('a', :name) ON CONFLICT (key) DO UPDATE SET name = :name"

    def stand_still() -> None:
        with stopped.transaction() as first:
            first.execute(lock, {"name": "stopped"})
            with other.transaction(within=20) as second:
                second.execute(lock, {"name": "other"})
            first.rows("SELECT 1")

    with pytest.raises(StoreError) as ended:
        stand_still()
    assert ended.value.may_repeat
    with stopped.transaction(pauses=True) as first:
        assert first.rows("SELECT name FROM registry WHERE key = 'a'") == [("other",)]
        with other.transaction() as second:
            second.rows("SELECT pg_sleep(0.6)")
        assert first.rows("SELECT 1") == [(1,)]
    stopped.close()
    other.close()
