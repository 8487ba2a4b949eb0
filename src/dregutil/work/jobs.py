"""What the jobs of a worker share: their processes, a lane for each registry, the leases that are kept meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from dregutil.errors import StoreError
from dregutil.serve.child import Ended
from dregutil.work.account import Account
from dregutil.work.asking import Asking
from dregutil.work.children import Children
from dregutil.work.site import Site

__all__ = ["DONE", "INSIST", "Bench", "is_refused", "kept", "since"]

DONE = (0, 3)  # exit codes; 3: done, but something was left, or went wrong and is said
_REFUSED = (2, 5)  # exit codes with which a command refuses what it has not begun
_LATER = ("is at work on", "may still be changing")  # of messages that another run has the registry
INSIST = 90.0  # seconds for the store to note how a job ended


@dataclass(slots=True)
class Bench:
    """`holder` names this worker in leases; it is new at each start. `tell` writes a line for people."""

    site: Site
    asking: Asking
    children: Children
    account: Account
    holder: str
    tell: Callable[[str], None]
    is_ending: bool = False
    paused: frozenset[str] = frozenset()
    _lanes: set[tuple[str, bool]] = field(default_factory=set)

    def is_free(self, key: str, *, writes: bool) -> bool:
        """Whether a job may begin on a registry: one that writes and one that reads at a time."""
        return not self.is_ending and key not in self.paused and (key, writes) not in self._lanes

    @contextlib.contextmanager
    def lane(self, key: str, kind: str, *, writes: bool) -> Iterator[None]:
        """A job is at work on a registry."""
        self._lanes.add((key, writes))
        self.account.running[kind] += 1
        try:
            yield
        finally:
            self._lanes.discard((key, writes))
            self.account.running[kind] -= 1


@contextlib.asynccontextmanager
async def kept(asking: Asking, lease: float, renew: Callable[[], bool]) -> AsyncIterator[None]:
    """Renew a lease of `lease` seconds meanwhile. One that is lost does not end the job: another worker may do the
    same, and the leases of the registry and its repositories decide who writes."""

    async def again() -> None:
        while True:
            await asyncio.sleep(lease / 3)
            with contextlib.suppress(StoreError):
                await asking.ask(renew)

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def is_refused(ended: Ended) -> bool:
    """Whether a command refused to begin, and would again."""
    return ended.code in _REFUSED and not any(one in ended.message for one in _LATER)


def since(started: float) -> float:
    """Seconds since a time of `time.monotonic`."""
    return time.monotonic() - started
