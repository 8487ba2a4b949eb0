"""What a ledger is given, and what it gives: leases that were claimed, runs that begin, lines of their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dregutil.errors import StoreError
from dregutil.store.database import Transaction
from dregutil.store.workers import Tick

__all__ = ["Entry", "Fence", "NewRun", "Taken", "append_lines", "holder_of"]


@dataclass(frozen=True, slots=True)
class Fence:
    """A lease that was claimed: of a repository, or of a whole registry where `repository` is empty.

    A lease is known by its fence and its holder: a store that failed over may give a number out again.
    """

    registry: str
    repository: str
    number: int
    holder: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A claim: the fence, and how many seconds to wait until what an earlier holder sent has an answer."""

    fence: Fence
    wait: float


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that begins: on the registry with the key `registry`; the run that it undoes, or the sum of its plan;
    `tick`: the time of a schedule that it is for."""

    name: str
    registry: str
    undoes: str = ""
    plan: str = ""
    tick: Tick | None = None

    @property
    def holder(self) -> str:
        """The holder of the registry's lease while this run is carried out, by as many processes as there are."""
        return holder_of(self.name)


def holder_of(run: str) -> str:
    """The holder of a registry's lease while a run is carried out."""
    return f"run:{run}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a run's record: its kind, the repository and the step that it is about, if any, and its bytes."""

    kind: str
    body: bytes
    repository: str = ""
    step: int | None = None

    @property
    def is_intent(self) -> bool:
        return self.kind == "intent"


def append_lines(transaction: Transaction, run: str, entries: Sequence[Entry], fences: dict[str, int]) -> None:
    """Add lines after the last one. The row of the run is locked until the commit, so no reader misses a line."""
    rows = transaction.rows(
        "UPDATE run SET lines = lines + :count WHERE name = :run RETURNING lines", {"run": run, "count": len(entries)}
    )
    if not rows:
        raise StoreError(f"the run {run} is not in the store", advice="`dregutil history` lists the runs")
    begin = int(rows[0][0]) - len(entries) + 1
    transaction.execute_many(
        "INSERT INTO line (run, n, kind, repository, step, fence, at, body)"
        " VALUES (:run, :n, :kind, :repository, :step, :fence, {now}, :body)",
        [
            {
                "run": run,
                "n": n,
                "kind": entry.kind,
                "repository": entry.repository,
                "step": entry.step,
                "fence": fences.get(entry.repository, fences.get("")),
                "body": entry.body,
            }
            for n, entry in enumerate(entries, begin)
        ],
    )
