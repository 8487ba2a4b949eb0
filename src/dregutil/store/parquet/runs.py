"""The rows of runs and their steps, from the lines of their records."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import msgspec

from dregutil.errors import UsageError
from dregutil.journal.lines import EndLine, OutcomeLine, RestoredLine, RunLine, StepLine, decode_line
from dregutil.plan.file import decode_step
from dregutil.plan.model import Action, Step
from dregutil.plan.outcome import Result
from dregutil.store.database import Row, Transaction, first
from dregutil.store.parquet.partitions import Writer
from dregutil.store.parquet.tags import moment

__all__ = ["StoredRun", "export_run", "stored_runs"]

_RESULTS = tuple(Result)
_NONE = -1
_COUNT = "SELECT count(*) FROM line WHERE run = :run AND kind = 'step'"
_SETTLED = (
    "SELECT kind, step, at, fence, CASE WHEN kind = 'outcome' THEN body END FROM line"
    " WHERE run = :run AND kind IN ('intent', 'outcome') ORDER BY n"
)
_OTHERS = "SELECT at, fence, body FROM line WHERE run = :run AND kind NOT IN ('intent', 'outcome') ORDER BY n"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run of the store. `registry` is a key, empty if its record does not say it."""

    name: str
    number: int
    registry: str
    undoes: str
    plan: str
    begun: datetime

    @property
    def day(self) -> date:
        return self.begun.date()


def stored_runs(transaction: Transaction, registry: str | None) -> list[StoredRun]:
    """In the order of their registries and days. `registry`: only those of one, by its key."""
    rows = transaction.rows("SELECT name, number, registry, undoes, plan, begun FROM run ORDER BY registry, number")
    found = [
        StoredRun(str(name), int(number), str(key), str(undoes), str(plan), datetime.fromtimestamp(begun, UTC))
        for name, number, key, undoes, plan, begun in rows
        if registry is None or key == registry
    ]
    return sorted(found, key=lambda one: (one.registry, one.day))


def export_run(transaction: Transaction, run: StoredRun, runs: Writer, steps: Writer) -> None:
    """Write a run and its steps. In memory are some 30 bytes for each step. Raises StoreError."""
    read = _Reading(run, int(first(transaction.rows(_COUNT, {"run": run.name}))))
    for row in transaction.each(_SETTLED, {"run": run.name}):
        read.settle(row)
    for row in transaction.each(_OTHERS, {"run": run.name}):
        for found in read.rows(row):
            steps.add(found)
    runs.add(read.row())


@dataclass
class _Reading:
    """What is known of a run while its lines are read. The arrays have a place for each step, from 1."""

    run: StoredRun
    count: int
    header: RunLine | None = None
    finished: datetime | None = None
    damaged: int = 0
    steps: int = 0
    tags: int = 0
    manifests: int = 0
    restored: int = 0
    frees: int = 0
    results: dict[Result, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = self.count + 1
        self._result = array("b", [_NONE]) * places
        self._intended, self._settled = array("d", [0.0]) * places, array("d", [0.0]) * places
        self._fence = array("q", [_NONE]) * places
        self._policy = array("i", [0]) * places
        self._policies = [""]  # their names; a step has a place in it
        self._why: dict[int, str] = {}

    def settle(self, row: Row) -> None:
        """An intent or an outcome; the last one of a step counts. An imported one has no fence, and its time is that of
        the import."""
        kind, step, at, fence, body = row
        if step is None or not 1 <= step <= self.count:
            return
        if kind == "intent":
            self._intended[step], self._fence[step] = (0.0, _NONE) if fence is None else (at, fence)
            return
        line = decode_line(bytes(body))
        if not isinstance(line, OutcomeLine):
            self.damaged += 1
            return
        try:
            self._result[step] = _RESULTS.index(Result(line.result))
        except ValueError:  # of a newer version
            self.damaged += 1
            return
        self._settled[step] = 0.0 if fence is None else at
        self._why.pop(step, None)
        if line.why:
            self._why[step] = line.why

    def rows(self, row: Row) -> Iterator[tuple[object, ...]]:
        """The rows of `steps` that come of another line."""
        at, fence, body = row
        line = decode_line(bytes(body))
        if line is None:
            self.damaged += 1
        elif isinstance(line, RunLine):
            self.header = line
        elif isinstance(line, EndLine):
            self.finished = line.finished
        elif isinstance(line, StepLine):
            yield from self._step(line)
        elif isinstance(line, RestoredLine):
            self.restored += not line.why
            outcome = Result.FAILED.value if line.why else "restored"
            settled = None if fence is None else moment(at)
            last = (None, None, None, None, None, None, None, outcome, line.why or None, settled)
            yield self.run.name, None, line.repository, "restore", None, line.digest, line.tags, *last

    def _step(self, line: StepLine) -> Iterator[tuple[object, ...]]:
        try:
            step = decode_step(bytes(line.plan))
        except (UsageError, ValueError, msgspec.MsgspecError):
            self.damaged += 1
            return
        if not 1 <= step.number <= self.count:
            self.damaged += 1
            return
        self.steps += 1
        result = self._counted(step)
        intended, settled, fence = self._intended[step.number], self._settled[step.number], self._fence[step.number]
        yield (
            self.run.name,
            step.number,
            str(step.repository),
            step.action.value,
            step.kind.value,
            str(step.digest),
            [str(tag) for tag in step.tags],
            step.because,
            self._policy_of(step) or None,
            step.size,
            step.frees,
            step.created,
            moment(intended or None),
            None if fence == _NONE else fence,
            None if result is None else result.value,
            self._why.get(step.number),
            moment(settled or None),
        )

    def _counted(self, step: Step) -> Result | None:
        code = self._result[step.number]
        if code == _NONE:
            return None
        result = _RESULTS[code]
        self.results[result] = self.results.get(result, 0) + 1
        if result is Result.REMOVED:
            self.tags += len(step.tags)
            self.manifests += step.action is Action.DELETE
            self.frees += step.frees
        return result

    def _policy_of(self, step: Step) -> str:
        """The policy that selects a step, or one that it comes after, as a child comes after its index."""
        if self.header is None or self.header.policy is msgspec.UNSET:
            return ""
        before = next((number for number in step.needs if self._policy[number]), 0)
        name, found, _ = step.because.partition(": ")
        if before:
            self._policy[step.number] = self._policy[before]
        elif found:
            if name not in self._policies:
                self._policies.append(name)
            self._policy[step.number] = self._policies.index(name)
        return self._policies[self._policy[step.number]]

    def row(self) -> tuple[object, ...]:
        """The row of `runs`."""
        header, of = self.header, self.results.get
        policy = None if header is None or header.policy is msgspec.UNSET else header.policy.file
        is_whole = of(Result.REMOVED, 0) == self.steps == (0 if header is None else header.steps)
        frees = header.reclaimable if is_whole and header is not None else self.frees
        user, host = ("", "") if header is None else (header.user, header.host)
        return (
            self.run.name,
            self.run.number,
            self.run.begun,
            self.finished,
            "@".join(one for one in (user, host) if one) or None,
            None if header is None else header.command,
            policy,
            self.run.undoes or None,
            self.run.plan or None,
            (None if header is None else header.planned_by) or None,
            [] if header is None else header.approved_by,
            self.steps,
            of(Result.REMOVED, 0),
            of(Result.GONE, 0),
            of(Result.LEFT, 0),
            of(Result.FAILED, 0),
            self.steps - sum(self.results.values()),
            self.tags,
            self.manifests,
            self.restored,
            None if self.run.undoes else frees,
            header is not None and header.exact and is_whole and not self.run.undoes,
            self.damaged,
        )
