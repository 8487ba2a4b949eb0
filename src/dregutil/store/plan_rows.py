"""Plans as the store's rows have them: what is read of one, and what state it is in."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from dregutil.errors import NotFoundError
from dregutil.plan.approval import Approved
from dregutil.store.database import Row, Transaction, first

__all__ = [
    "COLUMNS",
    "OPEN",
    "OVER",
    "STATE",
    "STAYS_OF_PLAN",
    "PlanState",
    "StoredPlan",
    "expire",
    "no_such_plan",
    "now_of",
    "plan_of",
    "plans_of",
    "read_plan_row",
    "short",
    "sum_of",
]

STAYS_OF_PLAN = """
ALTER TABLE plan ADD COLUMN stays {bytes};
"""
"""What a policy keeps, and why, as pages show it: the sum of a plan is of what it removes alone."""

PlanState = Literal["waiting", "approved", "running", "done", "failed", "rejected", "replaced", "expired"]
OVER = (
    "(expires <= {now} AND run = '' AND (state IN ('waiting', 'approved') OR (state = 'running' AND until <= {now})))"
)
# A role that only reads cannot note that a plan is over; and who carried a run out by hand does not note its end.
STATE = (
    f"CASE WHEN {OVER} THEN 'expired' WHEN state = 'running' AND EXISTS (SELECT 1 FROM run AS begun"  # noqa: S608
    " WHERE begun.name = plan.run AND begun.finished) THEN 'done' ELSE state END"
)
_EXPIRE = f"UPDATE plan SET state = 'expired' WHERE {OVER}"  # noqa: S608 - our own text
COLUMNS = f"sum, registry, made, made_by, expires, approvals, {STATE}, tags, steps, policy, run, why"
OPEN = f"({STATE} IN ('waiting', 'approved', 'running'))"


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan in the store. `sum` is `sha256:…`; `registry` the key of its registry; `made` and `expires` are times in
    UTC. `needed`: how many people must approve it. `run`: the run that carries it out, empty before it has begun. `why`
    says why it failed or was rejected, or what was left. `given` are the approvals, in the order of their times."""

    sum: str
    registry: str
    made: datetime
    made_by: str
    expires: datetime
    needed: int
    state: PlanState
    tags: int
    steps: int
    policy: str
    run: str
    why: str
    given: tuple[Approved, ...] = ()

    @property
    def approved_by(self) -> tuple[str, ...]:
        """Who approved it."""
        return tuple(one.by for one in self.given)


def read_plan_row(transaction: Transaction, sum_: str) -> StoredPlan:
    """A plan. Raises NotFoundError."""
    rows = transaction.rows(f"SELECT {COLUMNS} FROM plan WHERE sum = :sum", {"sum": sum_})  # noqa: S608 - our own text
    found = plans_of(transaction, rows)
    if not found:
        raise no_such_plan(sum_)
    return found[0]


def plans_of(transaction: Transaction, rows: Sequence[Row]) -> list[StoredPlan]:
    """The plans of rows, with their approvals."""
    given = _given(transaction, [str(row[0]) for row in rows])
    return [plan_of(row, given.get(str(row[0]), ())) for row in rows]


def plan_of(row: Row, given: tuple[Approved, ...]) -> StoredPlan:
    sum_, registry, made, made_by, expires, needed, state, tags, steps, policy, run, why = row
    return StoredPlan(
        sum_, registry, _time(made), made_by, _time(expires), needed, state, tags, steps, policy, run, why, given
    )


def now_of(transaction: Transaction) -> datetime:
    """The time by the database's clock."""
    return _time(first(transaction.rows("SELECT {now}")))


def expire(transaction: Transaction) -> None:
    """What nobody has begun in time is over; so is what was taken and never begun."""
    transaction.execute(_EXPIRE)


def short(sum_: str) -> str:
    """The first digits of a sum."""
    return sum_.removeprefix("sha256:")[:12]


def sum_of(body: bytes) -> str:
    """The sum of a plan's file: of all but its last line."""
    end = body.rfind(b"\n", 0, len(body) - 1) + 1
    return f"sha256:{hashlib.sha256(body[:end]).hexdigest()}"


def no_such_plan(text: str) -> NotFoundError:
    return NotFoundError(f"there is no plan {text} in the store", advice="`dregutil plans` lists them")


def _given(transaction: Transaction, sums: Collection[str]) -> dict[str, tuple[Approved, ...]]:
    """The approvals of each plan."""
    found: dict[str, tuple[Approved, ...]] = {}
    for sum_ in sums:
        rows = transaction.rows("SELECT who, at FROM approval WHERE plan = :sum ORDER BY at, who", {"sum": sum_})
        found[sum_] = tuple(Approved(str(who), _time(at), sum_) for who, at in rows)
    return found


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
