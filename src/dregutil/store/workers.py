"""What workers share besides plans: the ticks of schedules, who is alive, and each registry's pause switch and pace.

A tick (a schedule, and a time at which it is due) is carried out by one worker at a time, under a lease that lapses
when the worker dies; then another one carries it out again. Two ticks of one schedule never run at the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from dregutil.errors import PlanRefusedError
from dregutil.store.database import Database, Transaction, first

__all__ = ["RUN_OF_TICK", "WORKERS", "RegistryState", "Tick", "Workers", "begin_tick"]

LEASE = 60.0  # seconds; renewed when a third of it is over
MOST_TRIES = 3  # times that a tick is carried out: again if its worker died
MOST_CONTINUED = 20  # times, once it has begun a run
CONTINUED = 12 * 3600.0  # seconds after its time in which the run of a tick is continued: later, images may be in use
_KEPT = 7 * 24 * 3600.0  # seconds that an ended tick stays

WORKERS = """
CREATE TABLE schedule (
    name TEXT PRIMARY KEY,
    since DOUBLE PRECISION NOT NULL,
    succeeded DOUBLE PRECISION NOT NULL DEFAULT 0
);
CREATE TABLE tick (
    schedule TEXT NOT NULL REFERENCES schedule (name),
    at DOUBLE PRECISION NOT NULL,
    state TEXT NOT NULL DEFAULT 'running',
    holder TEXT NOT NULL DEFAULT '',
    until DOUBLE PRECISION NOT NULL DEFAULT 0,
    tries BIGINT NOT NULL DEFAULT 1,
    ended DOUBLE PRECISION NOT NULL DEFAULT 0,
    why TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (schedule, at)
);
CREATE TABLE worker (
    holder TEXT PRIMARY KEY,
    until DOUBLE PRECISION NOT NULL
);
"""

RUN_OF_TICK = """
ALTER TABLE tick ADD COLUMN run TEXT NOT NULL DEFAULT '';
"""


@dataclass(frozen=True, slots=True)
class Tick:
    """A time at which a schedule is due, in seconds since 1970."""

    schedule: str
    at: float


@dataclass(frozen=True, slots=True)
class RegistryState:
    """`paused_by` is empty unless the registry is paused. `pace`: requests a second of all workers; None: no limit.
    `is_busy`: a run is at work on it."""

    paused_by: str = ""
    pace: float | None = None
    is_busy: bool = False


class Workers:
    """Every method raises StoreError."""

    def __init__(self, database: Database, *, lease: float = LEASE) -> None:
        self._database = database
        self.lease = lease

    def now(self) -> float:
        """The time by the database's clock, in seconds since 1970."""
        with self._database.transaction(durable=False) as transaction:
            return float(first(transaction.rows("SELECT {now}")))

    # Schedules

    def known(self, schedule: str) -> float:
        """The time of the newest tick of a schedule; of a new one, the time when it was first seen."""
        with self._database.transaction() as transaction:
            transaction.execute(
                "INSERT INTO schedule (name, since) VALUES (:name, {now}) ON CONFLICT (name) DO NOTHING",
                {"name": schedule},
            )
            return float(first(transaction.rows(_NEWEST, {"name": schedule})))

    def claim(self, tick: Tick, holder: str) -> bool:
        """Claim a tick; False if it has ended, or if it or another one of its schedule is being carried out."""
        values = {
            "name": tick.schedule,
            "at": tick.at,
            "holder": holder,
            "lease": self.lease,
            **_LIMITS,
        }
        with self._database.transaction() as transaction:
            # The row of the schedule is locked until the commit.
            if not transaction.execute("UPDATE schedule SET since = since WHERE name = :name", {"name": tick.schedule}):
                return False
            if transaction.rows(_BUSY, {"name": tick.schedule}):
                return False
            return bool(transaction.rows(_CLAIM, values))

    def renew(self, tick: Tick, holder: str) -> bool:
        """Keep a tick that was claimed; False if it is another worker's by now."""
        values = {"name": tick.schedule, "at": tick.at, "holder": holder, "lease": self.lease}
        with self._database.transaction() as transaction:
            return bool(transaction.execute(f"UPDATE tick SET until = {{now}} + :lease{_MINE}", values))

    def end(self, tick: Tick, holder: str, result: Literal["done", "failed"], why: str = "") -> bool:
        """Note how a tick ended. False if it is another worker's by now."""
        values = {"name": tick.schedule, "at": tick.at, "holder": holder, "state": result, "why": why}
        with self._database.transaction() as transaction:
            sql = f"UPDATE tick SET state = :state, why = :why, holder = '', until = 0, ended = {{now}}{_MINE}"
            ended = bool(transaction.execute(sql, values))
            if ended and result == "done":
                transaction.execute("UPDATE schedule SET succeeded = {now} WHERE name = :name", {"name": tick.schedule})
            return ended

    def put_back(self, tick: Tick, holder: str) -> bool:
        """Leave a tick to another worker: this one ends, and it was not to blame."""
        values = {"name": tick.schedule, "at": tick.at, "holder": holder}
        with self._database.transaction() as transaction:
            return bool(
                transaction.execute(f"UPDATE tick SET holder = '', until = 0, tries = tries - 1{_MINE}", values)
            )

    def again(self, tick: Tick, holder: str, why: str, *, pause: float) -> bool:
        """Leave a tick whose run was cut off to any worker, in `pause` seconds at the earliest."""
        values = {"name": tick.schedule, "at": tick.at, "holder": holder, "why": why, "pause": pause}
        with self._database.transaction() as transaction:
            sql = f"UPDATE tick SET holder = '', until = {{now}} + :pause, why = :why{_MINE}"
            return bool(transaction.execute(sql, values))

    def run_of(self, tick: Tick) -> tuple[str, bool]:
        """The run that a tick has begun, empty if none; and whether it is finished."""
        with self._database.transaction(durable=False) as transaction:
            rows = transaction.rows(_RUN, {"name": tick.schedule, "at": tick.at})
            return (str(rows[0][0]), bool(rows[0][1])) if rows else ("", False)

    def give_up(self, schedules: Collection[str]) -> list[tuple[Tick, str]]:
        """Let the ticks of these schedules fail that were carried out too often, or whose run was cut off too long ago;
        returns each with its run, empty if it has none that is unfinished. Each is returned to one worker."""
        found = []
        with self._database.transaction() as transaction:
            for name in schedules:
                for at, run in transaction.rows(_GIVE_UP, {"name": name, **_LIMITS}):
                    rows = transaction.rows("SELECT 1 FROM run WHERE name = :run AND NOT finished", {"run": run})
                    found.append((Tick(name, float(at)), str(run) if rows else ""))
        return found

    def lapsed(self, schedules: Collection[str]) -> list[Tick]:
        """The ticks of these schedules whose worker died or left them."""
        found = []
        with self._database.transaction(durable=False) as transaction:
            for name in schedules:
                rows = transaction.rows(_LAPSED, {"name": name, **_LIMITS})
                found += [Tick(name, float(row[0])) for row in rows]
        return found

    def succeeded(self) -> dict[str, float]:
        """When each schedule last ended well, in seconds since 1970; 0 if it never did."""
        with self._database.transaction(durable=False) as transaction:
            return {str(name): float(at) for name, at in transaction.rows("SELECT name, succeeded FROM schedule")}

    def forget_old(self) -> None:
        """Remove what workers need no more."""
        with self._database.transaction() as transaction:
            transaction.execute(_FORGET, {"kept": _KEPT})
            transaction.execute("DELETE FROM worker WHERE until < {now} - :kept", {"kept": _KEPT})

    # Workers

    def beat(self, holder: str) -> int:
        """Say that a worker is alive for the time of a lease; returns how many are."""
        with self._database.transaction(durable=False) as transaction:
            transaction.execute(_BEAT, {"holder": holder, "lease": self.lease})
            return int(first(transaction.rows("SELECT count(*) FROM worker WHERE until > {now}")))

    def leave(self, holder: str) -> None:
        """A worker ends."""
        with self._database.transaction() as transaction:
            transaction.execute("DELETE FROM worker WHERE holder = :holder", {"holder": holder})

    # Registries

    def registries(self, keys: Collection[str]) -> Mapping[str, RegistryState]:
        """The pause switch and pace of registries, by their keys."""
        found = dict.fromkeys(keys, RegistryState())
        with self._database.transaction(durable=False) as transaction:
            rows = transaction.rows("SELECT key, paused, paused_by, pace, until > {now} FROM registry")
            for key, paused, by, pace, is_busy in rows:
                if key in found:
                    found[key] = RegistryState(str(by) or "somebody" if paused else "", pace, bool(is_busy))
        return found

    def held(self, keys: Collection[str]) -> int:
        """How many leases of these registries and of their repositories are held."""
        number = 0
        with self._database.transaction(durable=False) as transaction:
            for key in keys:
                number += int(first(transaction.rows(_HELD, {"key": key})))
        return number

    def pause(self, key: str, name: str, who: str) -> None:
        """Let workers begin nothing on a registry, and end what they do there after the step in flight."""
        with self._database.transaction() as transaction:
            _know(transaction, key, name)
            values = {"key": key, "who": who}
            transaction.execute("UPDATE registry SET paused = TRUE, paused_by = :who WHERE key = :key", values)

    def resume(self, key: str) -> bool:
        """Let workers go on; returns whether the registry was paused."""
        sql = "UPDATE registry SET paused = FALSE, paused_by = '' WHERE key = :key AND paused"
        with self._database.transaction() as transaction:
            return bool(transaction.execute(sql, {"key": key}))

    def set_pace(self, key: str, name: str, pace: float | None) -> None:
        """Set the requests a second that all workers together send to a registry; None: no limit."""
        with self._database.transaction() as transaction:
            _know(transaction, key, name)
            transaction.execute("UPDATE registry SET pace = :pace WHERE key = :key", {"key": key, "pace": pace})


_NEWEST = (
    "SELECT CASE WHEN newest IS NULL OR newest < since THEN since ELSE newest END FROM schedule,"
    " (SELECT max(at) AS newest FROM tick WHERE schedule = :name) AS found WHERE name = :name"
)
_BUSY = "SELECT 1 FROM tick WHERE schedule = :name AND state = 'running' AND until > {now} LIMIT 1"
_AGAIN = (
    "((tick.run = '' AND tick.tries < :most)"
    " OR (tick.run <> '' AND tick.tries < :most_continued AND tick.at > {now} - :continued))"
)
_LIMITS = {"most": MOST_TRIES, "most_continued": MOST_CONTINUED, "continued": CONTINUED}
_CLAIM = (
    "INSERT INTO tick (schedule, at, holder, until) VALUES (:name, :at, :holder, {now} + :lease)"
    " ON CONFLICT (schedule, at) DO UPDATE SET holder = :holder, until = {now} + :lease, tries = tick.tries + 1"
    f" WHERE tick.state = 'running' AND tick.until <= {{now}} AND {_AGAIN} RETURNING at"
)
_MINE = " WHERE schedule = :name AND at = :at AND state = 'running' AND holder = :holder AND until > {now}"
_LAPSED = (
    f"SELECT at FROM tick WHERE schedule = :name AND state = 'running' AND until <= {{now}} AND {_AGAIN} ORDER BY at"
)
_GIVE_UP = (
    "UPDATE tick SET state = 'failed', holder = '', until = 0, ended = {now}"
    f" WHERE schedule = :name AND state = 'running' AND until <= {{now}} AND NOT ({_AGAIN}) RETURNING at, run"
)
_BEGIN = "UPDATE tick SET run = :run WHERE schedule = :name AND at = :at AND state = 'running' AND run = ''"
_RUN = (
    "SELECT tick.run, coalesce(run.finished, TRUE) FROM tick LEFT JOIN run ON run.name = tick.run"
    " WHERE tick.schedule = :name AND tick.at = :at"
)
_FORGET = (
    "DELETE FROM tick WHERE until <= {now} AND at < {now} - :kept"
    " AND at < (SELECT max(other.at) FROM tick AS other WHERE other.schedule = tick.schedule)"
)
_BEAT = (
    "INSERT INTO worker (holder, until) VALUES (:holder, {now} + :lease)"
    " ON CONFLICT (holder) DO UPDATE SET until = {now} + :lease"
)
_HELD = (
    "SELECT (SELECT count(*) FROM registry WHERE key = :key AND until > {now})"
    " + (SELECT count(*) FROM repository WHERE registry = :key AND until > {now})"
)


def begin_tick(transaction: Transaction, tick: Tick, run: str) -> None:
    """Note that a run begins to carry out a tick, in the transaction that begins the run. Raises PlanRefusedError for a
    tick that has begun one, or that is over: another worker did that meanwhile."""
    values = {"name": tick.schedule, "at": tick.at, "run": run}
    if not transaction.execute(_BEGIN, values):
        other = first(transaction.rows("SELECT run FROM tick WHERE schedule = :name AND at = :at", values))
        by = f" by the run {other}" if other else ""
        raise PlanRefusedError(
            f"this time of the schedule {tick.schedule} was carried out already{by}: nothing was removed",
            advice="`dregutil history` lists the runs",
        )


def _know(transaction: Transaction, key: str, name: str) -> None:
    transaction.execute(
        "INSERT INTO registry (key, name) VALUES (:key, :name) ON CONFLICT (key) DO NOTHING", {"key": key, "name": name}
    )
