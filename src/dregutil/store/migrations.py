"""The store's tables, as numbered steps that are taken once, in order, by one process at a time.

A step that was released is never changed: what comes later is a step of its own. Times are seconds since 1970, UTC, by
the database's clock. `line` has the lines of a run's journal, byte for byte as in the file of one machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from dregutil.errors import StoreError
from dregutil.store.database import Database, Transaction, first
from dregutil.store.fact_tables import facts
from dregutil.store.plan_rows import STAYS_OF_PLAN
from dregutil.store.queue_tables import QUEUE, queue_is_current, update_queue
from dregutil.store.workers import RUN_OF_TICK, WORKERS

__all__ = ["NEWEST", "check_version", "migrate", "table_names", "version"]

_ADVISORY_LOCK = 7233_2020  # a number of our own, among those of this database's other users

_RUNS = """
CREATE TABLE registry (
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT '',
    pace DOUBLE PRECISION,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    paused_by TEXT NOT NULL DEFAULT '',
    fence BIGINT NOT NULL DEFAULT 0,
    holder TEXT NOT NULL DEFAULT '',
    sharers BIGINT NOT NULL DEFAULT 0,
    until DOUBLE PRECISION NOT NULL DEFAULT 0,
    longest DOUBLE PRECISION NOT NULL DEFAULT 0,
    safe_from DOUBLE PRECISION NOT NULL DEFAULT 0
);
CREATE TABLE repository (
    registry TEXT NOT NULL REFERENCES registry (key),
    name TEXT NOT NULL,
    fence BIGINT NOT NULL DEFAULT 0,
    holder TEXT NOT NULL DEFAULT '',
    until DOUBLE PRECISION NOT NULL DEFAULT 0,
    longest DOUBLE PRECISION NOT NULL DEFAULT 0,
    safe_from DOUBLE PRECISION NOT NULL DEFAULT 0,
    PRIMARY KEY (registry, name)
);
CREATE TABLE run (
    name TEXT PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    registry TEXT NOT NULL,
    undoes TEXT NOT NULL DEFAULT '',
    plan TEXT NOT NULL DEFAULT '',
    begun DOUBLE PRECISION NOT NULL,
    lines BIGINT NOT NULL DEFAULT 0,
    finished BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX run_of_registry ON run (registry, number);
CREATE TABLE line (
    run TEXT NOT NULL REFERENCES run (name) ON DELETE CASCADE,
    n BIGINT NOT NULL,
    kind TEXT NOT NULL,
    repository TEXT NOT NULL DEFAULT '',
    step BIGINT,
    fence BIGINT,
    at DOUBLE PRECISION NOT NULL,
    body {bytes} NOT NULL,
    PRIMARY KEY (run, n)
);
CREATE INDEX line_of_repository ON line (run, repository) WHERE kind <> 'step';
CREATE TABLE target (
    run TEXT NOT NULL REFERENCES run (name) ON DELETE CASCADE,
    repository TEXT NOT NULL,
    place BIGINT NOT NULL,
    looked BOOLEAN NOT NULL DEFAULT FALSE,
    tried TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run, repository)
);
CREATE INDEX target_left ON target (run, place) WHERE NOT looked;
CREATE TABLE plan (
    sum TEXT PRIMARY KEY,
    registry TEXT NOT NULL,
    made DOUBLE PRECISION NOT NULL,
    made_by TEXT NOT NULL,
    expires DOUBLE PRECISION NOT NULL,
    approvals BIGINT NOT NULL DEFAULT 1,
    state TEXT NOT NULL DEFAULT 'waiting',
    holder TEXT NOT NULL DEFAULT '',
    until DOUBLE PRECISION NOT NULL DEFAULT 0,
    tries BIGINT NOT NULL DEFAULT 0,
    tags BIGINT NOT NULL DEFAULT 0,
    steps BIGINT NOT NULL DEFAULT 0,
    policy TEXT NOT NULL DEFAULT '',
    run TEXT NOT NULL DEFAULT '',
    why TEXT NOT NULL DEFAULT '',
    body {bytes} NOT NULL
);
CREATE INDEX plan_of_registry ON plan (registry, made);
CREATE TABLE approval (
    plan TEXT NOT NULL REFERENCES plan (sum) ON DELETE CASCADE,
    who TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (plan, who)
);
CREATE TABLE policy_version (
    hash TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    who TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
"""

_MIGRATION = """
CREATE TABLE IF NOT EXISTS migration (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL, at DOUBLE PRECISION NOT NULL
)
"""
# A text, or a function that makes it for the dialect of a database.
_STEPS: tuple[tuple[str, str | Callable[[Database], str]], ...] = (
    ("runs, leases, plans and approvals", _RUNS),
    ("what a team knows", facts),
    ("schedules, workers and their queue", WORKERS + QUEUE),
    ("runs of schedules", RUN_OF_TICK),
    ("what stays beside a plan", STAYS_OF_PLAN),
)
NEWEST = len(_STEPS)
_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)( PARTITION OF)?")
_DROPPED = re.compile(r"DROP TABLE (?:IF EXISTS )?(\w+)")


def table_names(database: Database) -> frozenset[str]:
    """The tables of the newest version, without the parts of partitioned ones and without the queue's own."""
    texts = [_MIGRATION, *(_text(step, database) for _, step in _STEPS)]
    made = (name for text in texts for name, part in _TABLE.findall(text) if not part)
    return frozenset(made) - {name for text in texts for name in _DROPPED.findall(text)}


def _text(step: str | Callable[[Database], str], database: Database) -> str:
    return step if isinstance(step, str) else step(database)


def version(database: Database) -> int:
    """The number of steps that were taken; 0 for an empty database. Raises StoreError."""
    with database.transaction() as transaction:
        return _version(transaction, database)


def check_version(database: Database) -> None:
    """Raises StoreError unless the tables are those that this program knows."""
    found = version(database)
    if found == NEWEST:
        return
    if found > NEWEST:
        raise StoreError(
            f"the store {database.address} has tables of version {found}, this program knows {NEWEST}",
            advice="use a newer dregutil",
        )
    what = f"tables of version {found}, this program needs {NEWEST}" if found else "no tables yet"
    does = "brings them up to date" if found else "makes them"
    raise StoreError(f"the store {database.address} has {what}", advice=f"`dregutil store migrate` {does}")


def migrate(database: Database) -> tuple[int, int]:
    """Take the steps that are missing, all or none; returns the version before and after. Raises StoreError.

    Two processes take turns. A store of a newer version is left as it is, and is an error.
    """
    if _is_current(database):  # a role that may not make tables need not
        return NEWEST, NEWEST
    with database.transaction(within=math.inf) as transaction:
        if database.is_postgresql:
            transaction.execute("SET LOCAL statement_timeout = 0")
            transaction.rows("SELECT pg_advisory_xact_lock(:lock)", {"lock": _ADVISORY_LOCK})
            transaction.execute("CREATE SCHEMA IF NOT EXISTS dregutil")
        before = _version(transaction, database)
        if before > NEWEST:
            raise StoreError(
                f"the store {database.address} has tables of version {before}, this program knows {NEWEST}",
                advice="use a newer dregutil",
            )
        if not before:
            transaction.execute(_MIGRATION)
        for number, (name, step) in enumerate(_STEPS[before:], before + 1):
            for statement in _text(step, database).split(";\n"):
                if statement.strip():
                    transaction.execute(statement)
            transaction.execute(
                "INSERT INTO migration (number, name, at) VALUES (:number, :name, {now})",
                {"number": number, "name": name},
            )
        if database.is_postgresql:
            update_queue(transaction)
        return before, NEWEST


def _is_current(database: Database) -> bool:
    with database.transaction(durable=False) as transaction:
        is_newest = _version(transaction, database) == NEWEST
        return is_newest and (not database.is_postgresql or queue_is_current(transaction))


def _version(transaction: Transaction, database: Database) -> int:
    if database.is_postgresql:
        is_there = first(transaction.rows("SELECT to_regclass('dregutil.migration') IS NOT NULL"))
    else:
        is_there = transaction.rows("SELECT 1 FROM sqlite_master WHERE name = 'migration'")
    return first(transaction.rows("SELECT max(number) FROM migration")) or 0 if is_there else 0
