"""Connections to a store are closed with it."""

from __future__ import annotations

import threading
import warnings

from dregutil.store.database import Database


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
