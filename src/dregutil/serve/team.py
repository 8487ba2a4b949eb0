"""A server of a team's store: a thread of its own asks every two seconds what is new, and nobody else waits for that.

What pages show is read from this machine's copies, which the thread brings up to date. A decision asks the store
itself, within seconds; while the store does not answer, it is refused at once, and the pages say so.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dregutil.errors import DregutilError, StoreError
from dregutil.journal.record import RunHeader
from dregutil.journal.store import RunStore
from dregutil.oci.names import registry_key
from dregutil.serve.records import Records
from dregutil.store.bounded import BoundedDatabase
from dregutil.store.database import Database, first
from dregutil.store.entries import holder_of
from dregutil.store.ledger import Ledger
from dregutil.store.plan_rows import STATE
from dregutil.store.runs import SharedRuns

__all__ = ["News", "Team", "TeamRecords", "TeamRuns"]

_ASKED_EVERY = 2.0  # seconds
_WITHIN = 5.0  # seconds for the answer to a short question
_WITHIN_LONG = 60.0  # seconds for one that has much to send
_SILENT = 8.0  # seconds without an answer after which the store counts as away
_LOCKED = 10.0  # seconds to wait for another question

News = Literal["runs", "listed", "ended", "plans", "store"]
"""Runs moved on; there is another list of them, or of holds; one has ended; plans; the store went away or came back."""

_RUNS = (
    "SELECT count(*), coalesce(sum(lines), 0), coalesce(max(number), 0), count(CASE WHEN finished THEN 1 END) FROM run"
    " WHERE registry = :key"
)
_PLANS = f"SELECT sum, {STATE}, run, why FROM plan WHERE registry = :key ORDER BY sum"  # noqa: S608 - our own text
_APPROVALS = (
    "SELECT count(*), coalesce(max(at), 0) FROM approval JOIN plan ON plan.sum = approval.plan WHERE registry = :key"
)
_DOCUMENTS = "SELECT name, version FROM document WHERE registry = :key ORDER BY name"
_HOLDER = "SELECT holder FROM registry WHERE key = :key AND until > {now}"


@dataclass(frozen=True, slots=True)
class _Mark:
    """What differs once something is new. `listed` differs with the runs that there are, and not while one moves on;
    `ended`: how many runs are finished. `holder` has the registry's lease."""

    runs: Any = None
    plans: Any = None
    documents: Any = None
    listed: Any = None
    ended: int = 0
    holder: str = ""


def _news(before: _Mark, now: _Mark) -> list[News]:
    found: list[News] = []
    if (now.listed, now.documents) != (before.listed, before.documents):
        found.append("listed")
    if (now.runs, now.documents, now.holder) != (before.runs, before.documents, before.holder):
        found.append("runs")
    if now.plans != before.plans or now.runs != before.runs:
        found.append("plans")
    if now.ended != before.ended and before.runs is not None:
        found.append("ended")
    return found


class Team:
    """The store of a team, as a server of one registry sees it.

    `watchers` are called in the thread that found something new, with what that is. `plans` brings the plans up to
    date.
    """

    def __init__(self, folder: Path, database: Database, identity: str) -> None:
        """`folder` is this machine's copy of the store, `identity` that of the registry."""
        self.address = str(database.address)
        self.database = BoundedDatabase(database, within=_WITHIN, why_away=lambda: self.problem)
        self.key = registry_key(identity)
        self.watchers: list[Callable[[News], None]] = []
        self.plans: Callable[[], None] = lambda: None
        self.folder = folder
        self.asked = BoundedDatabase(database, within=_WITHIN)
        """For who asks though the store was away a moment ago."""
        self.asked_long = BoundedDatabase(database, within=_WITHIN_LONG)
        self._mirror = SharedRuns(folder, Ledger(self.asked), longest=0.0)
        self._numbers: dict[str, int] = {}
        self._mark = _Mark()
        self._version = 0
        self._failed = ""
        self._answered = datetime.now(UTC)
        self._since: float | None = None  # when the question was asked that has no answer yet
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._was_away = False

    @property
    def problem(self) -> str:
        """Why the store cannot be asked now; empty if it can."""
        if self._failed:
            return self._failed
        since = self._since
        if since is not None and time.monotonic() - since > _SILENT:
            return (
                f"the store {self.address} does not answer: what is shown is of {self._answered:%Y-%m-%d %H:%M:%S} UTC"
            )
        return ""

    @property
    def holder(self) -> str:
        """Who holds the lease of the registry; empty if nobody does."""
        return self._mark.holder

    @property
    def version(self) -> int:
        """Grows with each change."""
        return self._version

    @property
    def numbers(self) -> dict[str, int]:
        """The place of each run among all."""
        return self._numbers

    def begin(self) -> None:
        """Look once, and then again and again in a thread, until `end`. Raises StoreError."""
        self.look()
        threading.Thread(target=self._watch, name="store", daemon=True).start()  # a database that hangs ends nobody

    def end(self) -> None:
        self._ending.set()

    def look(self) -> None:
        """Bring what is known up to date. Raises StoreError."""
        if not self._lock.acquire(timeout=_LOCKED):
            raise StoreError(self.problem or f"the store {self.address} does not answer")
        try:
            told = self._looked()
        finally:
            self._lock.release()
        for what in told:
            for watcher in self.watchers:
                watcher(what)

    def _watch(self) -> None:
        while not self._ending.wait(_ASKED_EVERY):
            with contextlib.suppress(StoreError):
                self.look()
            self._tell_away()

    def _looked(self) -> list[News]:
        self._since = time.monotonic()
        try:
            before, now = self._mark, self._asked()
            if now.runs != before.runs:
                self._mirror.catch_up()
                self._numbers = self._mirror.ledger.numbers()
            if now.plans != before.plans:
                self.plans()
        except Exception as error:  # whatever it is, the pages say that they are not renewed
            said = error.message if isinstance(error, DregutilError) else f"the store cannot be read: {error}"
            self._failed = f"{said}; what is shown is of {self._answered:%Y-%m-%d %H:%M:%S} UTC"
            if isinstance(error, DregutilError):
                raise
            raise StoreError(said) from error
        finally:
            self._since = None
        self._failed, self._answered = "", datetime.now(UTC)
        if now == before:
            return []
        self._mark, self._version = now, self._version + 1
        return _news(before, now)

    def _asked(self) -> _Mark:
        values = {"key": self.key}
        with self.asked.transaction(durable=False) as transaction:
            count, lines, newest, ended = map(int, transaction.rows(_RUNS, values)[0])
            return _Mark(
                (count, lines, newest, ended),
                (transaction.rows(_PLANS, values), transaction.rows(_APPROVALS, values)),
                transaction.rows(_DOCUMENTS, values),
                (count, newest, ended),
                ended,
                str(first(transaction.rows(_HOLDER, values)) or ""),
            )

    def _tell_away(self) -> None:
        is_away = bool(self._failed)
        if is_away != self._was_away:
            self._was_away = is_away
            for watcher in self.watchers:
                watcher("store")


class TeamRuns(RunStore):
    """The runs of the store, read from this machine's copy: nobody waits for the store. Nothing is recorded here."""

    def __init__(self, team: Team) -> None:
        super().__init__(team.folder)
        self._team = team

    def headers(self, registry: str | None = None) -> list[RunHeader]:
        """In the order of the store."""
        numbers = self._team.numbers
        found = (replace(one, number=numbers.get(one.run, one.number)) for one in super().headers(registry))
        return sorted(found, key=lambda one: one.number)

    def is_locked(self, registry: str) -> bool:  # noqa: ARG002 - a team is of one registry
        """Whether a run is at work on the team's registry, on any machine, as far as is known."""
        return bool(self._team.holder)


class TeamRecords(Records):
    """What the records of a team say: runs of all machines, by the time of their start."""

    by_start = True

    def __init__(self, team: Team, identity: str) -> None:
        super().__init__(TeamRuns(team), identity)
        self._team = team

    def renew(self) -> None:
        self._team.look()

    def mark(self) -> object:
        return self._team.version, super().mark()

    def _ordered(self, headers: list[RunHeader]) -> list[RunHeader]:
        return sorted(headers, key=lambda one: (one.started, one.run))

    def _running(self, headers: Sequence[RunHeader]) -> str | None:
        holder = self._team.holder
        return next((one.run for one in headers if holder == holder_of(one.run)), None)
