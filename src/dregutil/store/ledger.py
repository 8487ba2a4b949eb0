"""Who may write where, and what they are about to write: leases with fences, runs, and the lines of their records.

A lease is a row with a fence (a number that only rises), a holder and an end. It is claimed only when the lease before
it is over, and renewed only by the one whose fence it still has. What is recorded under a lease is refused if the fence
has risen; an intent moreover if the lease would end before the request does. All of that is decided by the database, in
one transaction, on its own clock.

A registry knows no fence. So a holder begins a write only while its lease has some time left, and whoever comes after
one that did not release its lease waits until `safe_from`: by then what the earlier one sent has an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress

from dregutil.errors import ConflictError, LeaseLostError, StoreError
from dregutil.store.database import Database, Transaction, first
from dregutil.store.entries import Entry, Fence, NewRun, Taken, append_lines, holder_of
from dregutil.store.plans import begin_plan
from dregutil.store.workers import begin_tick

__all__ = ["Entry", "Fence", "Ledger", "NewRun", "Taken", "holder_of"]

LEASE = 60.0  # seconds; renewed when a third of it is over
MARGIN = 10.0  # seconds of a lease that must be left when an intent is recorded
_TRIES = 20  # to get a number, beside other runs that begin


class Ledger:
    """The leases and runs of a store. Every method raises StoreError."""

    def __init__(self, database: Database, *, lease: float = LEASE, margin: float = MARGIN) -> None:
        """`lease`: how many seconds a claim lasts, `margin`: how many must be left for an intent."""
        self.database = database
        self.lease = lease
        self.margin = min(margin, lease / 3)

    def _transaction(self, *, durable: bool = True) -> AbstractContextManager[Transaction]:
        """Without an answer for as long as a lease lasts, the lease is over."""
        return self.database.transaction(durable=durable, within=self.lease)

    # Leases

    def now(self) -> float:
        """The time by the database's clock, in seconds since 1970."""
        with self._transaction(durable=False) as transaction:
            return float(first(transaction.rows("SELECT {now}")))

    def claim_registry(self, key: str, name: str, holder: str, *, limit: float) -> Taken | None:
        """Claim a whole registry for one run; None if another run is at work on it.

        The same holder may claim it again: processes that carry out one run have the same one. A run that ended holds
        nothing, even if a process that was killed had a share in its lease. `limit`: the longest time in seconds that a
        request may take.
        """
        values = {"key": key, "name": name, "holder": holder, "lease": self.lease, "limit": limit}
        with self._transaction() as transaction:
            _know_registry(transaction, key, name)
            found = transaction.rows(
                "UPDATE registry SET"  # noqa: S608
                " fence = CASE WHEN holder = :holder AND until > {now} THEN fence ELSE fence + 1 END,"
                " sharers = CASE WHEN holder = :holder AND until > {now} THEN sharers + 1 ELSE 1 END,"
                " safe_from = CASE WHEN until + longest > safe_from AND holder <> '' AND holder <> :holder"
                f" AND NOT {_ENDED} THEN until + longest ELSE safe_from END,"
                " holder = :holder, longest = :limit, until = {now} + :lease WHERE key = :key"
                f" AND (until <= {{now}} OR holder = :holder OR {_ENDED}) RETURNING fence, safe_from - {{now}}",
                values,
            )
            if found:
                transaction.execute(_FENCE_OFF, values)
            return _taken(found, key, "", holder)

    def claim_next(self, run: str, whole: Fence, holder: str, *, limit: float) -> Taken | None:
        """Claim the next repository of a run that is not done and that nobody holds; None if there is none now.

        `whole` is the lease of the registry, under which the run is carried out: without it nothing is claimed.
        """
        key = whole.registry
        values = {"run": run, "key": key, "holder": holder, "lease": self.lease, "limit": limit}
        with self._transaction() as transaction:
            if not transaction.rows("SELECT 1 FROM target WHERE run = :run AND NOT looked LIMIT 1", values):
                return None  # another process has done the last one, and the registry may be another run's
            _check(transaction, whole, 0)
            names = transaction.rows(_NEXT, values)
            if not names:
                return None
            name = names[0][0]
            return _taken(transaction.rows(_CLAIM_ONE, {**values, "name": name}), key, name, holder)

    def renew(self, fences: Sequence[Fence]) -> list[Fence]:
        """Renew leases; returns those that are still held. One that is over is lost, even if nobody has claimed it: who
        has locked the whole registry since relies on that."""
        held = []
        with self._transaction() as transaction:
            for fence in sorted(fences, key=lambda one: (one.registry, one.repository)):
                sql = _RENEW_REPOSITORY if fence.repository else _RENEW_REGISTRY
                if transaction.execute(sql, {**_of(fence), "lease": self.lease}):
                    held.append(fence)
        return held

    def release(self, fence: Fence, *, settled: bool) -> None:
        """End a lease; that of a registry ends with the last process that shares it.

        `settled`: nothing that was sent under it is without an answer, so that nobody need wait. Otherwise it runs out.
        """
        sql = _RELEASE_REPOSITORY if fence.repository else _RELEASE_REGISTRY
        if settled:
            with self._transaction() as transaction:
                transaction.execute(sql, _of(fence))

    def is_held(self, key: str) -> bool:
        """Whether a run is at work on a registry."""
        sql = "SELECT 1 FROM registry WHERE key = :key AND until > {now}"
        with self._transaction(durable=False) as transaction:
            return bool(transaction.rows(sql, {"key": key}))

    def at_work(self, key: str) -> list[tuple[str, str, float]]:
        """What is held of a registry, or was and may still be written to: repository, holder, seconds until it is
        safe."""
        with self._transaction(durable=False) as transaction:
            return [
                (str(name), str(holder), float(left))
                for name, holder, left in transaction.rows(
                    "SELECT name, holder, CASE WHEN holder <> '' AND until + longest > safe_from THEN until + longest"
                    " ELSE safe_from END - {now} FROM repository WHERE registry = :key"
                    " AND (safe_from > {now} OR (holder <> '' AND until + longest > {now})) ORDER BY name",
                    {"key": key},
                )
            ]

    # Runs

    def begin(self, run: NewRun, lines: Callable[[int], Sequence[Entry]], whole: Fence | None = None) -> int:
        """Begin the record of a run with its first lines, for its number; returns the number.

        `whole` is the lease of the registry. It becomes the run's own, and has its holder: others may carry it out too.
        """
        for _ in range(_TRIES):
            with suppress(ConflictError):  # another run had the number
                return self._begin(run, lines, whole)
        raise StoreError(f"the run {run.name} did not get a number in the store")

    def _begin(self, run: NewRun, lines: Callable[[int], Sequence[Entry]], whole: Fence | None) -> int:
        with self._transaction() as transaction:
            if whole is not None:
                _check(transaction, whole, 0)
                if not transaction.execute(_HAND_OVER, {**_of(whole), "other": run.holder}):
                    raise StoreError(
                        f"another process still carries out the run before on {whole.registry}",
                        advice="wait until it has ended; `dregutil store check` shows who is at work",
                    )
            if run.plan:
                begin_plan(transaction, run.plan, run.name)
            if run.tick is not None:
                begin_tick(transaction, run.tick, run.name)
            values = {"run": run.name, "key": run.registry, "undoes": run.undoes, "plan": run.plan}
            number = int(first(transaction.rows(_BEGIN, values)))
            entries = lines(number)
            targets = dict.fromkeys(entry.repository for entry in entries if entry.kind == "step")
            transaction.execute_many(
                _KNOW_REPOSITORY, [{"key": run.registry, "name": name} for name in sorted(targets)]
            )
            transaction.execute_many(
                "INSERT INTO target (run, repository, place) VALUES (:run, :repository, :place)",
                [{"run": run.name, "repository": name, "place": place} for place, name in enumerate(targets)],
            )
            append_lines(transaction, run.name, entries, {})
            return number

    def append(self, run: str, entries: Sequence[Entry], fences: Iterable[Fence]) -> None:
        """Add lines to a run's record: all of them, durably, or none.

        Raises LeaseLostError if one is about a repository whose fence has risen, or is an intent and the lease ends too
        soon.
        """
        held = {fence.repository: fence for fence in fences}
        with self._transaction() as transaction:
            for fence, left in _needed(entries, held, self.margin):
                _check(transaction, fence, left)
            numbers = {name: fence.number for name, fence in held.items()}
            append_lines(transaction, run, entries, numbers)
            for entry in entries:
                if entry.kind == "looked":
                    values = {"run": run, "repository": entry.repository}
                    transaction.execute(
                        "UPDATE target SET looked = TRUE WHERE run = :run AND repository = :repository", values
                    )

    def close(self, run: str, last: Entry, *, drops: bool = False) -> bool:
        """End a run with its last line, if no repository of it is left; returns whether it ended, now or before.

        `drops`: what is left of it is dropped, if nobody else carries it out, too; the caller holds the registry.
        """
        with self._transaction() as transaction:
            locked = transaction.rows("UPDATE run SET lines = lines WHERE name = :run RETURNING finished", {"run": run})
            if not locked or locked[0][0]:
                return bool(locked)
            if drops:
                transaction.execute(_DROP, {"run": run, "holder": holder_of(run)})
            if transaction.rows("SELECT 1 FROM target WHERE run = :run AND NOT looked LIMIT 1", {"run": run}):
                return False
            append_lines(transaction, run, [last], {})
            transaction.execute("UPDATE run SET finished = TRUE WHERE name = :run", {"run": run})
            return True

    def discard(self, run: str) -> None:
        """Remove the record of a run that has no intent; its plan or tick may be begun again.

        The run is locked first: another process may be about to record its first intent, which counts.
        """
        with self._transaction() as transaction:
            transaction.execute("UPDATE run SET lines = lines WHERE name = :run", {"run": run})
            removed = transaction.execute(
                "DELETE FROM run WHERE name = :run AND NOT EXISTS (SELECT 1 FROM line WHERE line.run = :run"
                " AND kind IN ('intent', 'restored'))",
                {"run": run},
            )
            if removed:
                transaction.execute(_UNBEGUN, {"run": run})
                transaction.execute(_TICK_UNBEGUN, {"run": run})

    def remove(self, run: str) -> None:
        """Remove the record of a finished run, when it is too old to be undone."""
        with self._transaction() as transaction:
            transaction.execute("DELETE FROM run WHERE name = :run AND finished", {"run": run})

    def runs(self) -> dict[str, int]:
        """The runs, each with the number of lines that its record has."""
        with self._transaction(durable=False) as transaction:
            return {str(name): int(lines) for name, lines in transaction.rows("SELECT name, lines FROM run")}

    def ends(self, run: str = "") -> dict[str, tuple[int, float]]:
        """The runs, each with the number of its lines, and when the last of them was recorded; or this one alone."""
        with self._transaction(durable=False) as transaction:
            rows = transaction.rows(_ENDS + (" WHERE name = :run" if run else ""), {"run": run} if run else {})
            return {str(name): (int(lines), float(at or 0)) for name, lines, at in rows}

    def numbers(self) -> dict[str, int]:
        """The place of each run among all."""
        return {name: number for name, (number, _) in self.places().items()}

    def places(self, run: str = "") -> dict[str, tuple[int, float]]:
        """The place of each run, or of one, among all, and when it began, by the database's clock."""
        sql = "SELECT name, number, begun FROM run WHERE :run = '' OR name = :run"
        with self._transaction(durable=False) as transaction:
            rows = transaction.rows(sql, {"run": run})
            return {str(name): (int(number), float(begun)) for name, number, begun in rows}

    def lines(self, run: str, after: int, most: int = 2_000) -> list[tuple[int, float, bytes]]:
        """At most `most` lines of a run's record with a number above `after`, in their order: the number, when it was
        recorded, its bytes."""
        with self._transaction(durable=False) as transaction:
            return [
                (int(n), float(at), bytes(body))
                for n, at, body in transaction.rows(
                    "SELECT n, at, body FROM line WHERE run = :run AND n > :after ORDER BY n LIMIT :most",
                    {"run": run, "after": after, "most": most},
                )
            ]

    def has_begun(self, run: str, repository: str) -> bool:
        """Whether a repository's part of a run has lines beyond its steps."""
        with self._transaction(durable=False) as transaction:
            return bool(
                transaction.rows(
                    "SELECT 1 FROM line WHERE run = :run AND repository = :repository AND kind <> 'step' LIMIT 1",
                    {"run": run, "repository": repository},
                )
            )

    def left(self, run: str, holder: str = "") -> int:
        """How many repositories of a run are not done; with `holder`, those that this one has not tried itself."""
        sql = f"SELECT count(*) FROM target t WHERE run = :run AND NOT looked AND (:holder = '' OR {_UNTRIED})"  # noqa: S608
        with self._transaction(durable=False) as transaction:
            return int(first(transaction.rows(sql, {"run": run, "holder": holder})))

    def note_tried(self, run: str, fence: Fence) -> None:
        """Its holder has done what it can in a repository: if that is not all, another one may try, or a resume."""
        values = {"run": run, "repository": fence.repository, "holder": fence.holder}
        with self._transaction(durable=False) as transaction:
            transaction.execute(
                "UPDATE target SET tried = tried || :holder || ' ' WHERE run = :run AND repository = :repository"
                " AND NOT looked",
                values,
            )


_TICK_UNBEGUN = "UPDATE tick SET run = '' WHERE run = :run"
_ENDS = "SELECT name, lines, (SELECT at FROM line WHERE run = run.name AND n = run.lines) FROM run"
_UNBEGUN = (  # its worker has it still, or whoever began it by hand leaves it to the next one
    "UPDATE plan SET run = '', state = CASE WHEN until <= {now} THEN 'approved' ELSE state END WHERE run = :run"
)
_ENDED = "EXISTS (SELECT 1 FROM run WHERE finished AND 'run:' || name = holder)"  # nothing of it is on its way
_CLAIM_ONE = (
    "UPDATE repository SET fence = fence + 1, safe_from = CASE WHEN holder <> '' AND until + longest > safe_from"
    " THEN until + longest ELSE safe_from END, holder = :holder, longest = :limit, until = {now} + :lease"
    " WHERE registry = :key AND name = :name AND until <= {now} RETURNING fence, safe_from - {now}"
)
_UNTRIED = "replace(t.tried, :holder, '') = t.tried"  # `tried` has the name of every process that has
_NEXT = (
    "SELECT r.name FROM target t JOIN repository r ON r.registry = :key AND r.name = t.repository"  # noqa: S608
    f" WHERE t.run = :run AND NOT t.looked AND {_UNTRIED} AND r.until <= {{now}}"
    " ORDER BY t.place LIMIT 1 {skip_locked}"
)
# What was not released and is over: whoever held it may wake up, and must not even record what became of it.
_FENCE_OFF = (
    "UPDATE repository SET fence = fence + 1 WHERE registry = :key AND holder <> '' AND until > 0 AND until <= {now}"
)
_RENEW_REPOSITORY = (
    "UPDATE repository SET until = {now} + :lease WHERE registry = :key AND name = :name AND fence = :fence"
    " AND holder = :holder AND until > {now}"
)
_RENEW_REGISTRY = (
    "UPDATE registry SET until = {now} + :lease WHERE key = :key AND fence = :fence AND holder = :holder"
    " AND until > {now}"
)
_RELEASE_REPOSITORY = (
    "UPDATE repository SET until = 0, holder = '' WHERE registry = :key AND name = :name AND fence = :fence"
    " AND holder = :holder"
)
_RELEASE_REGISTRY = (
    "UPDATE registry SET sharers = sharers - 1, until = CASE WHEN sharers > 1 THEN until ELSE 0 END,"
    " holder = CASE WHEN sharers > 1 THEN holder ELSE '' END WHERE key = :key AND fence = :fence AND holder = :holder"
)
_HAND_OVER = "UPDATE registry SET holder = :other WHERE key = :key AND fence = :fence AND sharers = 1"
_DROP = (
    "UPDATE target SET looked = TRUE WHERE run = :run AND EXISTS (SELECT 1 FROM registry JOIN run"
    " ON run.registry = registry.key WHERE run.name = :run AND holder = :holder AND sharers = 1)"
)
_KNOW_REPOSITORY = (
    "INSERT INTO repository (registry, name) VALUES (:key, :name) ON CONFLICT (registry, name) DO NOTHING"
)
_BEGIN = (
    "INSERT INTO run (name, number, registry, undoes, plan, begun)"
    " SELECT :run, coalesce(max(number), 0) + 1, :key, :undoes, :plan, {now} FROM run RETURNING number"
)


def _of(fence: Fence) -> dict[str, object]:
    return {"key": fence.registry, "name": fence.repository, "fence": fence.number, "holder": fence.holder}


def _needed(entries: Sequence[Entry], held: dict[str, Fence], margin: float) -> list[tuple[Fence, float | None]]:
    """The leases under which lines are recorded, and how many seconds must be left of each; that of the registry first,
    as whoever renews them locks them. Raises LeaseLostError if one is not held."""
    about_to_send = {entry.repository for entry in entries if entry.is_intent}
    needed: dict[str, tuple[Fence, float | None]] = {}
    for name in {entry.repository for entry in entries if entry.repository}:
        fence = held.get(name) or (None if name in about_to_send else held.get(""))
        if fence is None:
            raise LeaseLostError(f"no lease of {name} is held: nothing more was sent")
        needed[fence.repository] = fence, margin if name in about_to_send else None
    return [needed[name] for name in sorted(needed)]


def _taken(rows: Sequence[Sequence[float]], key: str, repository: str, holder: str) -> Taken | None:
    if not rows:
        return None
    number, wait = rows[0]
    return Taken(Fence(key, repository, int(number), holder), max(0.0, float(wait)))


def _know_registry(transaction: Transaction, key: str, name: str) -> None:
    transaction.execute(
        "INSERT INTO registry (key, name) VALUES (:key, :name) ON CONFLICT (key) DO NOTHING", {"key": key, "name": name}
    )


def _check(transaction: Transaction, fence: Fence, left: float | None) -> None:
    """Raises LeaseLostError unless the fence is still the newest; `left`: and its lease lasts so many seconds more.

    Until the transaction ends nobody can claim it.
    """
    # A store that failed over to a copy which lacks the last claim gives its number out again: to another holder.
    where = "repository WHERE registry = :key AND name = :name" if fence.repository else "registry WHERE key = :key"
    lasts = "" if left is None else " AND until > {now} + :left"
    sql = f"SELECT 1 FROM {where} AND fence = :fence AND holder = :holder{lasts} {{for_share}}"  # noqa: S608 - our own text
    if not transaction.rows(sql, {**_of(fence), **({} if left is None else {"left": left})}):
        what = fence.repository or fence.registry
        raise LeaseLostError(
            f"the lease of {what} is over: another process may write there",
            advice="nothing more was sent; run it again",
        )
