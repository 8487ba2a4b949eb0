"""The state of a store: its tables, leases, unfinished runs, and what a role may do in it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dregutil.store.database import Database, Transaction, first
from dregutil.store.grants import RIGHTS, ROLES, needs
from dregutil.store.migrations import NEWEST, version

__all__ = ["HeldLease", "StoreState", "TableSize", "UnfinishedRun", "WaitingPlan", "read_state"]

_COUNTED = 32 << 20  # bytes of a table whose rows are counted; of a larger one the database's estimate is taken


@dataclass(frozen=True, slots=True)
class TableSize:
    """A table with its indexes: bytes on the disk, None where that is not known, and rows; `counted` exactly, or
    estimated."""

    name: str
    size: int | None
    rows: int
    counted: bool


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that was not released; `repository` is empty for that of a whole registry. `until`: when it ends or
    ended, by the database's clock; `is_over`: it has ended, and what its holder sent may be without an answer."""

    registry: str
    repository: str
    holder: str
    until: datetime
    is_over: bool


@dataclass(frozen=True, slots=True)
class UnfinishedRun:
    """A run without an end. `left`: how many repositories are not done; `is_held`: somebody is at work on it."""

    run: str
    registry: str
    begun: datetime
    left: int
    is_held: bool


@dataclass(frozen=True, slots=True)
class WaitingPlan:
    """A plan that waits for approval."""

    sum: str
    registry: str
    made_by: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class StoreState:
    """What was found. `ahead`: seconds that the database's clock is ahead of this machine's. `may`: by what a role may
    do ("read", "plan", "approve", "work", "migrate"), whether `user` may. Everything after `may` is empty unless the
    tables are those that this program knows, and may be read."""

    server: str
    version: int
    newest: int
    user: str
    ahead: float
    may: Mapping[str, bool]
    tables: tuple[TableSize, ...] = ()
    leases: tuple[HeldLease, ...] = ()
    unfinished: tuple[UnfinishedRun, ...] = ()
    waiting: tuple[WaitingPlan, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing waits for somebody to look at it."""
        is_readable = self.version == self.newest and self.may["read"]
        is_left = any(lease.is_over for lease in self.leases) or any(not run.is_held for run in self.unfinished)
        return is_readable and not is_left


def read_state(database: Database) -> StoreState:
    """The state of a store. Raises StoreError."""
    found = version(database)
    with database.transaction(durable=False) as transaction:
        before = time.time()
        now = float(first(transaction.rows("SELECT {now}")))
        ahead = now - (before + time.time()) / 2
        server, user = _server(transaction, database)
        may = _rights(transaction, database) if found == NEWEST else {}
        if found != NEWEST or not may["read"]:
            return StoreState(server, found, NEWEST, user, ahead, may)
        return StoreState(
            server,
            found,
            NEWEST,
            user,
            ahead,
            may,
            _tables(transaction, database),
            _leases(transaction, now),
            _unfinished(transaction, now),
            _waiting(transaction, now),
        )


def _server(transaction: Transaction, database: Database) -> tuple[str, str]:
    if database.is_postgresql:
        ((number, user),) = transaction.rows("SELECT current_setting('server_version'), current_user::text")
        return f"PostgreSQL {str(number).split()[0]}", str(user)
    return f"SQLite {first(transaction.rows('SELECT sqlite_version()'))}", ""


def _rights(transaction: Transaction, database: Database) -> dict[str, bool]:
    if not database.is_postgresql:
        return {**{role.may: True for role in ROLES}, "migrate": True}
    found = {role.may: all(_has(transaction, table, right.verb) for table, right in needs(role.name)) for role in ROLES}
    may_write = first(transaction.rows("SELECT has_database_privilege(current_database(), 'TEMPORARY')"))
    found = {what: allowed and (bool(may_write) or what not in ("plan", "work")) for what, allowed in found.items()}
    owner = "SELECT pg_has_role(tableowner, 'USAGE') FROM pg_tables WHERE schemaname = 'dregutil'"
    return {**found, "migrate": bool(first(transaction.rows(f"{owner} AND tablename = 'migration'")))}


def _has(transaction: Transaction, table: str, verb: str) -> bool:
    asked = {"name": f"dregutil.{table}", "verb": verb}
    if verb == "DELETE":
        return bool(first(transaction.rows("SELECT has_table_privilege(:name, :verb)", asked)))
    return bool(first(transaction.rows("SELECT has_any_column_privilege(:name, :verb)", asked)))


_SIZES = (
    "SELECT coalesce(pg_partition_root(c.oid)::oid, c.oid)::regclass::text, sum(pg_total_relation_size(c.oid))::bigint,"
    " sum(greatest(c.reltuples, 0))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = 'dregutil' AND c.relkind = 'r' GROUP BY 1"
)


def _tables(transaction: Transaction, database: Database) -> tuple[TableSize, ...]:
    """The largest first."""
    found = []
    if database.is_postgresql:
        sizes = {str(name).rpartition(".")[2].strip('"'): (size, rows) for name, size, rows in transaction.rows(_SIZES)}
    else:
        sizes = {name: (size, 0) for name, size in _sqlite_sizes(transaction)}
    for name in RIGHTS:
        size, rows = sizes.get(name, (None, 0))
        counted = not database.is_postgresql or size is None or size <= _COUNTED
        if counted:
            rows = first(transaction.rows(f"SELECT count(*) FROM {name}"))  # noqa: S608 - a name of our own
        found.append(TableSize(name, size, int(rows), counted))
    return tuple(sorted(found, key=lambda table: (-(table.size or 0), table.name)))


def _sqlite_sizes(transaction: Transaction) -> list[tuple[str, int]]:
    """The bytes of each table with its indexes; empty where SQLite was built without its table of sizes."""
    if not transaction.rows("SELECT 1 FROM pragma_module_list WHERE name = 'dbstat'"):
        return []
    sql = "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m ON m.name = s.name GROUP BY 1"
    return [(str(name), int(size)) for name, size in transaction.rows(sql)]


def _leases(transaction: Transaction, now: float) -> tuple[HeldLease, ...]:
    rows = transaction.rows(
        "SELECT key, '' AS name, holder, until FROM registry WHERE holder <> ''"
        " UNION ALL SELECT registry, name, holder, until FROM repository WHERE holder <> '' ORDER BY 1, 2"
    )
    return tuple(
        HeldLease(str(key), str(name), str(holder), _moment(until), until <= now) for key, name, holder, until in rows
    )


def _unfinished(transaction: Transaction, now: float) -> tuple[UnfinishedRun, ...]:
    rows = transaction.rows(
        "SELECT r.name, r.registry, r.begun,"
        " (SELECT count(*) FROM target t WHERE t.run = r.name AND NOT t.looked),"
        " EXISTS (SELECT 1 FROM registry g WHERE g.key = r.registry AND g.holder <> '' AND g.until > :now)"
        " FROM run r WHERE NOT r.finished ORDER BY r.number",
        {"now": now},
    )
    return tuple(
        UnfinishedRun(str(name), str(registry), _moment(begun), int(left), bool(held))
        for name, registry, begun, left, held in rows
    )


def _waiting(transaction: Transaction, now: float) -> tuple[WaitingPlan, ...]:
    rows = transaction.rows(
        "SELECT sum, registry, made_by, expires FROM plan WHERE state = 'waiting' AND expires > :now ORDER BY made",
        {"now": now},
    )
    return tuple(WaitingPlan(str(sum_), str(name), str(who), _moment(end)) for sum_, name, who, end in rows)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
