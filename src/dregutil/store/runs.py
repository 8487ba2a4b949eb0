"""The runs of a store, with a mirror of their records on this machine: all that reads records reads the mirror.

The mirror (`mirror`) is brought up to date before it is read, and may be deleted at any time. Who writes to a registry
holds its lease; `lock` claims it.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dregutil.errors import RefusedError, StoreError
from dregutil.files import lock_file, make_private_folder
from dregutil.journal.actor import host_name, scheduled, user_name
from dregutil.journal.claims import Claims
from dregutil.journal.lines import StepLine
from dregutil.journal.record import RunHeader, RunRecord
from dregutil.journal.recording import LineWriter, first_lines
from dregutil.journal.store import RunStore
from dregutil.oci.names import Reference, registry_key
from dregutil.plan.file import plan_sum
from dregutil.plan.model import Plan
from dregutil.store.claims import SharedClaims
from dregutil.store.journal import SharedJournal, entry_of
from dregutil.store.leases import Lease, Leases
from dregutil.store.ledger import Entry, Ledger, NewRun, holder_of
from dregutil.store.mirror import COUNT, Mirror
from dregutil.store.workers import Tick

__all__ = ["SharedRuns"]


_CLOCK = 60.0  # seconds by which the clock of a machine may differ from the database's


def _started(said: datetime, begun: float) -> datetime:
    """When a run began: as its machine said, unless its clock was wrong. `begun`: by the database; 0 if not known."""
    if not begun or abs(said.timestamp() - begun) <= _CLOCK:
        return said
    return datetime.fromtimestamp(begun, UTC)


class SharedRuns(RunStore):
    """All runs of a store. `folder` is the mirror."""

    def __init__(self, folder: Path, ledger: Ledger, *, longest: float) -> None:
        """`longest`: the longest time in seconds that one request to a registry may take."""
        super().__init__(folder)
        self.ledger = ledger
        self.leases = Leases(ledger)
        self.longest = longest
        self.holder = f"{user_name()}@{host_name()} {secrets.token_hex(8)}"
        self._whole: dict[str, Lease] = {}

    @property
    def where(self) -> str:
        return f"the store {self.ledger.database.address}"

    def close(self) -> None:
        """Close the connections to the store."""
        self.ledger.database.close()

    # Writing

    def begin(self, plan: Plan, now: datetime, *, undoes: str = "", images: Sequence[Reference] = ()) -> SharedJournal:
        """Begin the record of a run, with its plan. Raises JournalError; then nothing of it is left."""
        name = f"{now:%Y%m%dT%H%M%SZ}-{now.microsecond // 1000:03d}{secrets.token_hex(3)}"
        key = registry_key(plan.registry)
        repositories = {step.number: step.repository for step in plan.steps}

        def lines(number: int) -> list[Entry]:
            found = []
            steps = iter(plan.steps)
            for line in first_lines(plan, name, number=number, started=now, undoes=undoes, images=images):
                if isinstance(line, StepLine):
                    step = next(steps)
                    found.append(Entry("step", entry_of(line).body, step.repository, step.number))
                else:
                    found.append(entry_of(line))
            return found

        new = NewRun(name, key, undoes) if undoes else NewRun(name, key, plan=plan_sum(plan), tick=_tick())
        whole = self._whole.get(key)
        if whole is None:
            number = self.ledger.begin(new, lines)
        else:
            number = self.leases.hand_over(whole, lambda fence: self.ledger.begin(new, lines, fence), new.holder)
        folder = self._runs / name
        make_private_folder(folder)
        return SharedJournal(self.leases, key, folder, repositories, number=number)

    def journal(self, record: RunRecord) -> LineWriter:
        """Continue the record of a run."""
        repositories = {step.number: step.repository for step in record.plan.steps}
        return SharedJournal(self.leases, registry_key(record.plan.registry), record.folder, repositories)

    def claims(self, plan: Plan, journal: LineWriter, earlier: RunRecord | None) -> Claims:
        """The repositories of a run that are left: other processes may carry it out too."""
        if not isinstance(journal, SharedJournal):
            return super().claims(plan, journal, earlier)
        return SharedClaims(self, journal, plan, joins=earlier is not None)

    def discard(self, journal: LineWriter) -> None:
        """Remove the record of a run that never sent a request."""
        if isinstance(journal, SharedJournal):
            with contextlib.suppress(StoreError):
                self.ledger.discard(journal.run)
            shutil.rmtree(journal.folder, ignore_errors=True)

    def mark_ended(self, journal: LineWriter) -> None:
        """Nothing can be marked beside the store: the run stays unfinished, and a resume finds nothing left to do."""

    def remove(self, header: RunHeader) -> None:
        self.ledger.remove(header.run)
        super().remove(header)

    def why_short_lived(self) -> str:
        """They are in the store; what is on this machine only mirrors them."""
        return ""

    # Exclusion

    def whole(self, key: str) -> Lease:
        """The lease of a registry that this process holds. Raises StoreError."""
        lease = self._whole.get(key)
        if lease is None:
            raise StoreError(f"the lease of {key} is not held: nothing is sent")
        return lease

    @contextlib.contextmanager
    def lock(self, registry: str, *, run: str = "") -> Iterator[None]:
        """Keep other runs on this registry out; `run` is the one that is continued: other processes may carry it out
        at the same time. Raises RefusedError and StoreError."""
        from dregutil.registry.permit import permitted  # its package reaches registries, which a reader need not

        key = registry_key(registry)
        self._check_no_collector(registry)
        found = self._claim(key, registry, run)
        if found is None:
            raise RefusedError(
                f"another run is at work on {registry}",
                advice="wait until it has ended; `dregutil history` shows it, `dregutil store check` who holds it",
            )
        lease, wait = found
        self._whole[key] = lease
        try:
            if wait > 0:
                raise RefusedError(
                    f"a process that stopped may still be changing {registry}", advice=f"wait {wait:.0f} seconds"
                )
            if not run:
                self._check_nobody_may_send(key, registry)
            with permitted(lease):
                yield
        finally:
            del self._whole[key]
            with contextlib.suppress(StoreError):  # it runs out by itself
                self.leases.release(lease, settled=True)

    def _claim(self, key: str, registry: str, run: str) -> tuple[Lease, float] | None:
        holder = holder_of(run) if run else self.holder
        return self.leases.claim(lambda: self.ledger.claim_registry(key, registry, holder, limit=self.longest))

    def _check_nobody_may_send(self, key: str, registry: str) -> None:
        """A process that lost its lease may still have a request on its way. Raises RefusedError."""
        left = self.ledger.at_work(key)
        if left:
            name, holder, seconds = max(left, key=lambda one: one[2])
            raise RefusedError(
                f"a process that stopped ({holder}) may still be changing {name} on {registry}",
                advice=f"wait {seconds:.0f} seconds, or continue its run with `dregutil apply --resume`",
            )

    def is_locked(self, registry: str) -> bool:
        """Whether a run is at work on this registry, on any machine. Raises StoreError."""
        return self.ledger.is_held(registry_key(registry))

    # Reading

    def names(self) -> list[str]:
        """The names of all runs, oldest first."""
        self.catch_up()
        return super().names()

    def now(self) -> datetime:
        """The time by the store's clock: those of machines differ."""
        return datetime.fromtimestamp(self.ledger.now(), UTC)

    def get(self, name: str) -> RunRecord:
        """As in a folder. A record that was damaged on this machine is fetched again."""
        found = super().get(name)
        if found.damaged:
            self._forget(found.run)
            found = super().get(found.run)
        _, begun = self.ledger.places(found.run).get(found.run, (0, 0.0))
        return replace(found, started=_started(found.started, begun))

    def read(self, header: RunHeader) -> RunRecord:
        """As in a folder: the store is not asked again for each run of a list."""
        found = super().read(header)
        return self.get(header.run) if found.damaged else replace(found, started=header.started)

    def headers(self, registry: str | None = None) -> list[RunHeader]:
        """As in a folder. The order is the store's: a run that was brought in has the number of its folder in its first
        line."""
        places, headers = self.ledger.places(), super().headers(registry)
        damaged = [one.run for one in headers if one.is_damaged and not one.is_newer]
        if damaged:
            self._forget(*damaged)
            headers = super().headers(registry)
        found = []
        for one in headers:
            number, begun = places.get(one.run, (one.number, 0.0))
            found.append(replace(one, number=number, started=_started(one.started, begun)))
        return sorted(found, key=lambda one: one.number)

    def _forget(self, *runs: str) -> None:
        """Fetch records again the next time."""
        for run in runs:
            with contextlib.suppress(OSError):
                (self._runs / run / COUNT).unlink()

    def _found(self, name: str) -> str:
        """As in a folder. Of a run that is here, only what is new of it is fetched: whoever looks at many gets each."""
        if Path(name).name == name and (self._runs / name / COUNT).exists():
            with self._mirror() as mirror:
                if mirror.catch_up_one(name):
                    return name
        return super()._found(name)

    def catch_up(self) -> None:
        """Bring the mirror up to date. Raises StoreError."""
        with self._mirror() as mirror:
            mirror.catch_up()

    @contextlib.contextmanager
    def _mirror(self) -> Iterator[Mirror]:
        try:
            make_private_folder(self._runs)
            with lock_file(self.folder / "mirror.lock", wait=True):
                yield Mirror(self.ledger, self.folder)
        except OSError as error:
            raise StoreError(
                f"the mirror of {self.ledger.database.address} in {self.folder} cannot be written: "
                f"{error.strerror or error}",
                advice="name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)",
            ) from error


def _tick() -> Tick | None:
    found = scheduled()
    return None if found is None else Tick(*found)
