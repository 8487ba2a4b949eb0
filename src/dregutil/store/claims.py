"""The repositories of a run that many processes carry out: each is claimed, done, and released."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from dregutil.errors import StoreError
from dregutil.journal.claims import Claim, Part, parts_of
from dregutil.journal.reader import read_journal
from dregutil.journal.record import Settled
from dregutil.oci.names import Repository
from dregutil.plan.model import Plan
from dregutil.store.journal import SharedJournal
from dregutil.store.leases import Lease
from dregutil.store.ledger import Taken

if TYPE_CHECKING:
    from dregutil.store.runs import SharedRuns

__all__ = ["SharedClaims"]

_POLL = 1.0  # seconds between two questions whether a repository that another process holds is free


class SharedClaims:
    """The claims of one process on the repositories of a run."""

    def __init__(self, runs: SharedRuns, journal: SharedJournal, plan: Plan, *, joins: bool) -> None:
        """`joins`: the run was begun before, perhaps by another process."""
        self.joins = joins
        self._holder = f"{runs.holder}/{secrets.token_hex(4)}"  # another run of this process may try again
        self._runs = runs
        self._journal = journal
        self.left = tuple(plan.by_repository)

    async def next(self, stop: asyncio.Event) -> Claim | None:
        """The next repository. While others hold all that are left, wait: one of them may end without having done its
        part. None once none is left, or `stop` is set."""
        while not stop.is_set():
            found = await asyncio.to_thread(self._claim)
            if found is not None:
                return await self._settled(*found, stop)
            if not await asyncio.to_thread(self._left):
                return None
            await _wait(stop, _POLL)
        return None

    def _claim(self) -> tuple[Lease, float] | None:
        runs, journal = self._runs, self._journal
        whole = runs.whole(journal.registry)

        def ask() -> Taken | None:
            return runs.ledger.claim_next(journal.run, whole.fence, self._holder, limit=runs.longest)

        return runs.leases.patiently(lambda: runs.leases.claim(ask))

    def _left(self) -> int:
        return self._runs.leases.patiently(lambda: self._runs.ledger.left(self._journal.run, self._holder))

    async def _settled(self, lease: Lease, wait: float, stop: asyncio.Event) -> Claim | None:
        """Wait until what an earlier holder sent has an answer, and read what it recorded."""
        repository = Repository(lease.fence.repository)
        try:
            await _wait(stop, wait)
            if not stop.is_set():
                return Claim(repository, await asyncio.to_thread(self._earlier, repository), lease)
        except BaseException:
            await asyncio.to_thread(self._give_up, lease)
            raise
        await asyncio.to_thread(self._give_up, lease)
        return None

    def _give_up(self, lease: Lease) -> None:
        """End a lease under which nothing was sent; how long others must wait stays as it is."""
        with suppress(StoreError):  # it runs out by itself
            self._runs.leases.release(lease, settled=True)

    def _earlier(self, repository: Repository) -> Part:
        return self._runs.leases.patiently(lambda: self._read(repository))

    def _read(self, repository: Repository) -> Part:
        run = self._journal.run
        if not self._runs.ledger.has_begun(run, repository):
            return Part()
        self._runs.catch_up()
        record = read_journal(self._journal.folder)
        return replace(parts_of(record).get(repository, Part()), outcomes=record.outcomes)

    async def release(self, claim: Claim, *, settled: bool) -> None:
        lease = claim.permit
        assert isinstance(lease, Lease)  # it was claimed here
        try:
            await self._journal.flush()
        except StoreError:
            settled = False
            raise
        finally:
            await asyncio.to_thread(self._release, lease, settled)

    def _release(self, lease: Lease, settled: bool) -> None:  # noqa: FBT001 - given to a thread
        with suppress(StoreError):  # else this process may be given it again
            self._runs.ledger.note_tried(self._journal.run, lease.fence)
        self._runs.leases.release(lease, settled=settled)

    async def latest(self) -> Mapping[int, Settled]:
        def read() -> Mapping[int, Settled]:
            self._runs.catch_up()
            return read_journal(self._journal.folder).outcomes

        return await asyncio.to_thread(read)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until `stop` is set."""
    if seconds > 0:
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
