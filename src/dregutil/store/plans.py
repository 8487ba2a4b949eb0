"""Plans that wait for approval, and then for a worker.

    waiting ─ approved ─ running ─ done
       └─────────┴─ rejected, expired    └─ failed
       └─ replaced

A plan is kept as its file's bytes, by their sum. Each change is one conditional UPDATE, decided by the database on its
own clock: what is not approved, or has expired, is taken by nobody; what is taken is taken by one worker, under a lease
that lapses when the worker dies. The run that carries a plan out is noted in the transaction that begins it, so no plan
is begun twice: whoever takes it after that continues the run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dregutil.errors import NotFoundError, PlanRefusedError, StoreError
from dregutil.oci.names import registry_key
from dregutil.plan import approval
from dregutil.plan.approval import Facts
from dregutil.plan.file import encode_plan
from dregutil.plan.model import Plan
from dregutil.store.database import Database, Transaction, first
from dregutil.store.plan_rows import (
    COLUMNS,
    OPEN,
    OVER,
    PlanState,
    StoredPlan,
    expire,
    no_such_plan,
    now_of,
    plan_of,
    plans_of,
    read_plan_row,
    short,
    sum_of,
)

__all__ = ["LASTS", "PlanState", "Plans", "StoredPlan", "TakenPlan", "begin_plan"]

LASTS = 24 * 3600.0  # seconds from when it is made until it expires
LEASE = 60.0  # seconds; renewed when a third of it is over
MOST_TRIES = 20  # times that a run of a plan is begun or continued
_LONGEST_PAUSE = 900.0  # seconds between two tries
_LARGEST = 256 << 20  # bytes of a plan in the store: about a million steps
_KEPT = 30 * 24 * 3600.0  # seconds that an ended plan stays
_SHORTEST_PREFIX = 4


@dataclass(frozen=True, slots=True)
class TakenPlan:
    """A plan that one worker carries out. `run` is to be continued; empty: the plan is to be begun."""

    sum: str
    registry: str
    run: str
    made_by: str
    approved_by: tuple[str, ...]


class Plans:
    """The plans of a store. Every method raises StoreError."""

    def __init__(self, database: Database, *, lease: float = LEASE) -> None:
        """`lease`: how many seconds a plan that was taken is its worker's."""
        self._database = database
        self._lease = lease

    # People

    def add(
        self, plan: Plan, *, made_by: str, needed: int = 1, lasts: float = LASTS, stays: bytes | None = None
    ) -> StoredPlan:
        """Put a plan into the store, for `needed` people to approve within `lasts` seconds. `stays`: as `stays`
        returns it."""
        lines = list(encode_plan(plan))
        return self.add_file(
            b"".join(lines),
            registry=registry_key(plan.registry),
            made_by=made_by,
            tags=plan.removed_tags,
            steps=len(plan.steps),
            policy="" if plan.policy is None else plan.policy.file,
            needed=needed,
            lasts=lasts,
            stays=stays,
        )

    def add_file(
        self,
        body: bytes,
        *,
        registry: str,
        made_by: str,
        tags: int,
        steps: int,
        policy: str = "",
        needed: int = 1,
        lasts: float = LASTS,
        stays: bytes | None = None,
    ) -> StoredPlan:
        """As `add`, with the bytes of the plan's file; `registry` is the key of its registry, `tags` how many it
        removes."""
        if len(body) > _LARGEST:
            raise StoreError(
                f"the plan has {len(body) >> 20} MB, and the store takes {_LARGEST >> 20}",
                advice="--limit makes a smaller one",
            )
        sum_ = sum_of(body)
        values = {
            "sum": sum_,
            "registry": registry,
            "made_by": made_by,
            "lasts": lasts,
            "needed": needed,
            "tags": tags,
            "steps": steps,
            "policy": policy,
            "body": body,
            "stays": stays,
        }
        with self._database.transaction() as transaction:
            transaction.execute(_ADD, values)
            return read_plan_row(transaction, sum_)

    def all(self, *, registry: str | None = None, is_open: bool = False) -> list[StoredPlan]:
        """The plans, the newest first. `is_open`: only those that wait, are approved, or are carried out."""
        where = [*(["registry = :registry"] if registry else []), *([OPEN, f"NOT {OVER}"] if is_open else [])]
        sql = f"SELECT {COLUMNS} FROM plan{' WHERE ' if where else ''}{' AND '.join(where)} ORDER BY made DESC, sum"
        with self._database.transaction(durable=False) as transaction:
            return plans_of(transaction, transaction.rows(sql, {"registry": registry} if registry else {}))

    def find(self, text: str) -> StoredPlan:
        """The plan whose sum is or begins with a text. Raises NotFoundError for none, or for several."""
        digits = text.removeprefix("sha256:").lower()
        if len(digits) < _SHORTEST_PREFIX or not set(digits) <= set("0123456789abcdef"):
            raise NotFoundError(f"{text} is not the sum of a plan", advice="`dregutil plans` lists them")
        with self._database.transaction(durable=False) as transaction:
            begin, end = f"sha256:{digits}", f"sha256:{digits}g"
            rows = transaction.rows(
                "SELECT sum FROM plan WHERE sum >= :begin AND sum < :end ORDER BY sum LIMIT 2",
                {"begin": begin, "end": end},
            )
            if len(rows) == 1:
                return read_plan_row(transaction, str(rows[0][0]))
        if rows:
            raise NotFoundError(f"several plans begin with {text}", advice="give more of the sum")
        raise no_such_plan(text)

    def body(self, sum_: str) -> bytes:
        """The bytes of a plan's file. Raises PlanRefusedError if they were altered."""
        with self._database.transaction(durable=False) as transaction:
            rows = transaction.rows("SELECT body FROM plan WHERE sum = :sum", {"sum": sum_})
        if not rows:
            raise no_such_plan(sum_)
        found = bytes(rows[0][0])
        if sum_of(found) != sum_:
            raise PlanRefusedError(f"the plan {sum_} was altered in the store", advice="make the plan again")
        return found

    def stays(self, sum_: str) -> bytes | None:
        """What the policy of a plan keeps, and why, as its maker put it there; None if it has no policy."""
        with self._database.transaction(durable=False) as transaction:
            rows = transaction.rows("SELECT stays FROM plan WHERE sum = :sum", {"sum": sum_})
        return None if not rows or rows[0][0] is None else bytes(rows[0][0])

    def approve(self, sum_: str, who: str) -> StoredPlan:
        """Approve a plan. Raises PlanRefusedError if this person may not, or it does not wait for that."""
        with self._database.transaction() as transaction:
            expire(transaction)
            plan = _locked(transaction, sum_)
            _check_waits(plan, "approved")
            why = approval.why_not_approve(_facts(plan), who, now_of(transaction))
            if why is not None:
                raise PlanRefusedError(f"the plan {short(sum_)} is not approved: {why}")
            transaction.execute(_APPROVE, {"sum": sum_, "who": who})
            if _is_approved(transaction, sum_):
                transaction.execute(_APPROVED, {"sum": sum_})
            return read_plan_row(transaction, sum_)

    def withdraw(self, sum_: str, who: str) -> StoredPlan:
        """Forget an approval. Raises PlanRefusedError if there is none, or it is too late: the plan is carried out."""
        with self._database.transaction() as transaction:
            expire(transaction)
            plan = _locked(transaction, sum_)
            _check_waits(plan, "left unapproved", or_approved=True)
            if not transaction.execute(
                "DELETE FROM approval WHERE plan = :sum AND who = :who", {"sum": sum_, "who": who}
            ):
                raise PlanRefusedError(f"{who} has not approved the plan {short(sum_)}")
            if not _is_approved(transaction, sum_):
                transaction.execute(_WAITS_AGAIN, {"sum": sum_})
            return read_plan_row(transaction, sum_)

    def replace(self, sum_: str) -> bool:
        """Let a newer plan take the place of one that nobody has approved; returns whether it does."""
        with self._database.transaction() as transaction:
            plan = _locked(transaction, sum_)
            return not plan.given and bool(transaction.execute(_REPLACE, {"sum": sum_}))

    def reject(self, sum_: str, who: str, because: str = "") -> StoredPlan:
        """Let nobody carry out a plan. Raises PlanRefusedError if it is too late."""
        why = f"{who} rejected it{f': {because}' if because else ''}"
        with self._database.transaction() as transaction:
            expire(transaction)
            if not transaction.execute(_REJECT, {"sum": sum_, "why": why}):
                plan = read_plan_row(transaction, sum_)
                _check_waits(plan, "rejected", or_approved=True)
            return read_plan_row(transaction, sum_)

    # Workers

    def take(self, registries: Collection[str], holder: str, *, busy: Collection[str] = ()) -> TakenPlan | None:
        """Take an approved plan of these registries, or one whose worker died; None if there is none. On `busy` ones no
        plan begins: another run is at work."""
        for registry in registries:
            values = {
                "registry": registry,
                "holder": holder,
                "lease": self._lease,
                "most": MOST_TRIES,
                "is_busy": registry in busy,
            }
            with self._database.transaction() as transaction:
                expire(transaction)
                sum_ = first(transaction.rows(_FIND, values))
                if sum_ is None:
                    continue
                rows = transaction.rows(_TAKE, {**values, "sum": sum_})
                if rows:
                    plan = read_plan_row(transaction, str(sum_))
                    return TakenPlan(plan.sum, plan.registry, plan.run, plan.made_by, plan.approved_by)
        return None

    def joinable(self, registries: Collection[str], holder: str) -> list[TakenPlan]:
        """The plans that others have begun, and whose run has repositories left."""
        found: list[TakenPlan] = []
        with self._database.transaction(durable=False) as transaction:
            for registry in registries:
                for (sum_,) in transaction.rows(_JOINABLE, {"registry": registry, "holder": holder}):
                    plan = read_plan_row(transaction, str(sum_))
                    found.append(TakenPlan(plan.sum, plan.registry, plan.run, plan.made_by, plan.approved_by))
        return found

    def renew(self, sum_: str, holder: str) -> bool:
        """Keep a plan that was taken; False if it is another worker's by now."""
        values = {"sum": sum_, "holder": holder, "lease": self._lease}
        with self._database.transaction() as transaction:
            return bool(transaction.execute(f"UPDATE plan SET until = {{now}} + :lease{_MINE}", values))

    def done(self, sum_: str, holder: str, *, left: str = "") -> bool:
        """A plan was carried out; `left` says what was left. False if it is another worker's by now."""
        return self._end(sum_, holder, "done", left)

    def failed(self, sum_: str, holder: str, why: str) -> bool:
        """A plan cannot be carried out. False if it is another worker's by now."""
        return self._end(sum_, holder, "failed", why)

    def put_back(self, sum_: str, holder: str, *, why: str = "", pause: float = 0.0) -> bool:
        """Leave a plan that was taken to the next worker, in `pause` seconds at the earliest.

        After too many tries it has failed, with `why`. False if it is another worker's by now.
        """
        values = {"sum": sum_, "holder": holder, "why": why, "most": MOST_TRIES, "pause": min(pause, _LONGEST_PAUSE)}
        with self._database.transaction() as transaction:
            return bool(transaction.execute(_PUT_BACK, values))

    def run_of(self, sum_: str) -> tuple[str, bool, int]:
        """The run of a plan, empty if it has not begun; whether it is finished; how many repositories are left."""
        with self._database.transaction(durable=False) as transaction:
            rows = transaction.rows(_RUN, {"sum": sum_})
            if not rows:
                return "", False, 0
            run, is_finished = str(rows[0][0]), bool(rows[0][1])
            left = first(transaction.rows("SELECT count(*) FROM target WHERE run = :run AND NOT looked", {"run": run}))
            return run, is_finished, int(left)

    def counts(self, registries: Collection[str]) -> dict[str, int]:
        """How many plans of these registries have each state."""
        found: dict[str, int] = {}
        with self._database.transaction() as transaction:
            expire(transaction)
            for registry in registries:
                values = {"registry": registry}
                sql = "SELECT state, count(*) FROM plan WHERE registry = :registry GROUP BY state"
                for state, number in transaction.rows(sql, values):
                    found[state] = found.get(state, 0) + int(number)
        return found

    def forget_old(self) -> int:
        """Remove plans that ended a month ago; returns how many."""
        with self._database.transaction() as transaction:
            expire(transaction)
            return transaction.execute(
                f"DELETE FROM plan WHERE NOT {OPEN} AND expires < {{now}} - :kept", {"kept": _KEPT}
            )

    def _end(self, sum_: str, holder: str, state: PlanState, why: str) -> bool:
        values = {"sum": sum_, "holder": holder, "state": state, "why": why}
        with self._database.transaction() as transaction:
            sql = f"UPDATE plan SET state = :state, why = :why, holder = '', until = 0{_MINE}"
            return bool(transaction.execute(sql, values))


def begin_plan(transaction: Transaction, sum_: str, run: str) -> None:
    """Note that a run begins to carry out a plan, in the transaction that begins the run. A plan that is not in the
    store is none of its business. Raises PlanRefusedError for one that nobody may begin, or that was begun."""
    if transaction.execute(_BEGIN, {"sum": sum_, "run": run}):
        return
    rows = transaction.rows(f"SELECT {COLUMNS} FROM plan WHERE sum = :sum", {"sum": sum_})
    if not rows:
        return
    plan = plan_of(rows[0], ())
    if plan.run:
        raise PlanRefusedError(
            f"the plan {short(sum_)} was begun already, as the run {plan.run}",
            advice=f"`dregutil apply --resume {plan.run}` continues it",
        )
    what = "is not approved" if plan.state == "waiting" else f"is {plan.state}"
    advice = f"`dregutil plans approve {short(sum_)}`" if plan.state == "waiting" else "make the plan again"
    raise PlanRefusedError(f"the plan {short(sum_)} {what}: nothing was removed", advice=advice)


_MINE = " WHERE sum = :sum AND state = 'running' AND holder = :holder AND until > {now}"
_ADD = (
    "INSERT INTO plan (sum, registry, made, made_by, expires, approvals, tags, steps, policy, body, stays)"
    " VALUES (:sum, :registry, {now}, :made_by, {now} + :lasts, :needed, :tags, :steps, :policy, :body, :stays)"
    " ON CONFLICT (sum) DO NOTHING"
)
_APPROVE = (
    "INSERT INTO approval (plan, who, at) VALUES (:sum, :who, {now}) ON CONFLICT (plan, who) DO UPDATE SET at = {now}"
)
_APPROVED = "UPDATE plan SET state = 'approved' WHERE sum = :sum AND state = 'waiting' AND expires > {now}"
_WAITS_AGAIN = "UPDATE plan SET state = 'waiting' WHERE sum = :sum AND state = 'approved'"
_REPLACE = (
    "UPDATE plan SET state = 'replaced', why = 'a newer plan takes its place' WHERE sum = :sum AND state = 'waiting'"
)
_REJECT = (
    "UPDATE plan SET state = 'rejected', why = :why WHERE sum = :sum AND state IN ('waiting', 'approved')"
    " AND expires > {now}"
)
_TAKEABLE = (
    "((state = 'approved' AND expires > {now} AND until <= {now})"
    " OR (state = 'running' AND until <= {now} AND (run <> '' OR expires > {now})))"
)
_FIND = (
    f"SELECT sum FROM plan WHERE registry = :registry AND {_TAKEABLE} AND tries < :most AND (run <> '' OR NOT :is_busy)"
    " ORDER BY run = '', made LIMIT 1 {skip_locked}"
)
_TAKE = (
    "UPDATE plan SET state = 'running', holder = :holder, until = {now} + :lease, tries = tries + 1"
    f" WHERE sum = :sum AND {_TAKEABLE} RETURNING sum"
)
_JOINABLE = (
    "SELECT sum FROM plan WHERE registry = :registry AND state = 'running' AND holder <> :holder AND run <> ''"
    " AND EXISTS (SELECT 1 FROM target WHERE target.run = plan.run AND NOT looked) ORDER BY made"
)
_PUT_BACK = (
    "UPDATE plan SET holder = '', until = {now} + :pause, why = :why,"
    " state = CASE WHEN tries >= :most THEN 'failed' WHEN run = '' THEN 'approved' ELSE 'running' END"
) + _MINE
_RUN = "SELECT run.name, run.finished FROM plan JOIN run ON run.name = plan.run WHERE plan.sum = :sum"
_BEGIN = (
    "UPDATE plan SET run = :run, state = 'running' WHERE sum = :sum AND run = '' AND expires > {now}"
    " AND state IN ('approved', 'running')"
)


def _locked(transaction: Transaction, sum_: str) -> StoredPlan:
    """A plan whose row is locked until the commit: what several decide at once is decided one after the other."""
    transaction.execute("UPDATE plan SET state = state WHERE sum = :sum", {"sum": sum_})
    return read_plan_row(transaction, sum_)


def _is_approved(transaction: Transaction, sum_: str) -> bool:
    plan = read_plan_row(transaction, sum_)
    return len(approval.standing(_facts(plan), now_of(transaction))) >= plan.needed


def _facts(plan: StoredPlan) -> Facts:
    return Facts(plan.sum, plan.made_by, plan.needed, plan.given, is_empty=not plan.steps)


def _check_waits(plan: StoredPlan, what: str, *, or_approved: bool = False) -> None:
    if plan.state == "waiting" or (or_approved and plan.state == "approved"):
        return
    why = {
        "approved": "it is approved already",
        "running": "it is being carried out",
        "done": "it was carried out already",
        "failed": "it failed",
        "rejected": "it was rejected",
        "replaced": "a newer plan takes its place",
        "expired": "it has expired: make the plan again",
    }[plan.state]
    raise PlanRefusedError(f"the plan {short(plan.sum)} cannot be {what}: {why}")
