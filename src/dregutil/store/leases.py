"""The leases that this process holds: renewed in a thread, and each the permit of the writes under it.

A lease counts from just before it was asked for, by `clock`, which nobody sets and which goes on while the machine
sleeps. So neither a wrong time of day nor a process or laptop that was stopped for a while makes it longer than
the database thinks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from dregutil import clock
from dregutil.errors import LeaseLostError, StoreError
from dregutil.store.ledger import Fence, Ledger, Taken

__all__ = ["Lease", "Leases"]

T = TypeVar("T")

_log = logging.getLogger("dregutil.store")
_SHARES = 3  # a lease is renewed when this part of it is over
_SHARES_OF_RETRY = 15  # and again after this part, where the store did not answer


class Lease:
    """One lease that was claimed: it permits writes until it ends, or is lost."""

    def __init__(self, fence: Fence, until: float) -> None:
        """`until`: the last moment at which a write may begin, by `clock.now`."""
        self.fence = fence
        self.until = until
        self.is_lost = False

    def check(self) -> None:
        """Raises LeaseLostError if no write may begin under it."""
        if self.is_lost or clock.now() > self.until:
            what = self.fence.repository or self.fence.registry
            raise LeaseLostError(
                f"the lease of {what} ended: the store did not renew it, so nothing more is sent there",
                advice="`dregutil history` shows the run; `dregutil apply --resume` continues it",
            )


class Leases:
    """Keeps leases while their work goes on. `claim` and `release` may be called from any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._held: dict[tuple[str, str], Lease] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, ask: Callable[[], Taken | None]) -> tuple[Lease, float] | None:
        """Ask for a lease and keep it; returns it with the seconds to wait before anything is decided under it.

        None if another process holds it. Raises StoreError.
        """
        asked = clock.now()
        taken = ask()
        if taken is None:
            return None
        lease = Lease(taken.fence, self._until(asked))
        with self._lock:
            self._held[taken.fence.registry, taken.fence.repository] = lease
            if self._thread is None:
                self._wake = threading.Event()
                self._thread = threading.Thread(target=self._renew_all, args=[self._wake], daemon=True)
                self._thread.start()
        return lease, taken.wait

    def hand_over(self, lease: Lease, how: Callable[[Fence], T], holder: str) -> T:
        """Let a lease become that of another holder; `how` does it in the store. It is not renewed meanwhile."""
        with self._renewing:
            found = how(lease.fence)
            lease.fence = replace(lease.fence, holder=holder)
            return found

    def release(self, lease: Lease, *, settled: bool) -> None:
        """Give a lease up; one that is not `settled` runs out by itself. Raises StoreError."""
        with self._lock:
            place = (lease.fence.registry, lease.fence.repository)
            if self._held.get(place) is lease:  # one that was lost may have been claimed again by this process
                del self._held[place]
            thread = self._thread if not self._held else None
            if thread is not None:
                self._thread = None
                self._wake.set()
        if thread is not None:
            thread.join()
        if not lease.is_lost:
            self.ledger.release(lease.fence, settled=settled)
        lease.is_lost = True

    def fences(self, registry: str) -> list[Fence]:
        """The fences that are held of a registry and its repositories."""
        with self._lock:
            return [lease.fence for (key, _), lease in self._held.items() if key == registry and not lease.is_lost]

    def patiently(self, what: Callable[[], T]) -> T:
        """Do `what`, again and again for as long as a lease lasts, where the store is away and nothing was done.

        So a store that is restarted ends no run. Raises StoreError.
        """
        end = clock.now() + self.ledger.lease
        while True:
            try:
                return what()
            except StoreError as error:
                if not error.may_repeat or clock.now() > end:
                    raise
            time.sleep(self.ledger.lease / _SHARES_OF_RETRY)

    def _until(self, asked: float) -> float:
        return asked + self.ledger.lease - self.ledger.margin

    def _renew_all(self, wake: threading.Event) -> None:
        """Renew what is held, until nothing is. If the store cannot be asked, the leases run out by themselves."""
        shares = _SHARES
        while not wake.wait(self.ledger.lease / shares):
            with self._lock:
                leases = [lease for lease in self._held.values() if not lease.is_lost]
            shares = _SHARES if self._renew(leases) else _SHARES_OF_RETRY

    def _renew(self, leases: list[Lease]) -> bool:
        """Renew leases; False if the store did not answer."""
        with self._renewing:
            asked = clock.now()
            try:
                held = set(self.ledger.renew([lease.fence for lease in leases]))
            except StoreError as error:
                _log.warning("leases could not be renewed: %s", error.message)
                return False
            for lease in leases:
                if lease.fence in held:
                    lease.until = self._until(asked)
                else:
                    lease.is_lost = True
            return True
