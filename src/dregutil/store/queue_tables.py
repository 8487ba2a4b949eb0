"""The tables and functions of procrastinate, the queue of workers on PostgreSQL, in the schema `dregutil`.

Its own SQL makes them and brings them up to its version; which of its steps were taken is noted in `queue_step`.
Nothing is decided by the queue: what is lost with it is carried out at the next tick.
"""

from __future__ import annotations

from importlib import resources

from dregutil.store.database import Transaction, first

__all__ = ["QUEUE", "queue_is_current", "update_queue"]

QUEUE = """
CREATE TABLE queue_step (
    name TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL
);
"""


def update_queue(transaction: Transaction) -> None:
    """Make the queue's tables, or bring them up to the version of the library that is installed; nothing without it."""
    steps = _steps()
    if not steps:
        return
    before = first(transaction.rows("SELECT max(name) FROM queue_step"))
    sql = resources.files("procrastinate.sql")
    if before is None:
        transaction.script((sql / "schema.sql").read_text(encoding="utf-8"))
    else:
        for name in steps:
            if name > before:
                transaction.script((sql / "migrations" / name).read_text(encoding="utf-8"))
    if before is None or steps[-1] > before:
        transaction.execute("INSERT INTO queue_step (name, at) VALUES (:name, {now})", {"name": steps[-1]})


def queue_is_current(transaction: Transaction) -> bool:
    """Whether the queue's tables are those of the library that is installed, or newer; also without the library."""
    steps = _steps()
    before = first(transaction.rows("SELECT max(name) FROM queue_step"))
    return not steps or (before is not None and before >= steps[-1])


def _steps() -> list[str]:
    """The names of procrastinate's migrations, in their order; none if it is not installed."""
    try:
        folder = resources.files("procrastinate.sql") / "migrations"
        return sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    except ModuleNotFoundError:
        return []
