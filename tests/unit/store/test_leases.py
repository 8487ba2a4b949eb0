"""Until when a lease permits writes, by this machine alone: each condition by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from dregutil import clock
from dregutil.errors import LeaseLostError, StoreError
from dregutil.store.leases import Lease, Leases
from dregutil.store.ledger import Fence, Ledger, Taken

FENCE = Fence("registry.example.com", "shop/web", 1, "me")
LEASE, MARGIN = 60.0, 10.0


class Paper(Ledger):
    """A ledger that renews what it is told to, and takes its time over it."""

    def __init__(self, clock_: Clock) -> None:
        self.lease, self.margin = LEASE, MARGIN
        self.renews: list[Fence] | None = []
        self.takes = 0.0
        self.released: list[bool] = []
        self._clock = clock_

    def renew(self, fences: Sequence[Fence]) -> list[Fence]:
        self._clock.at += self.takes
        if self.renews is None:
            raise StoreError("it is away")
        return self.renews

    def release(self, fence: Fence, *, settled: bool) -> None:
        self.released.append(settled)


class Clock:
    at = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(clock, "_clock", lambda: found.at)
    return found


@pytest.fixture
def ledger(time: Clock) -> Paper:
    return Paper(time)


def taking(time: Clock, seconds: float) -> Callable[[], Taken]:
    def ask() -> Taken:
        time.at += seconds
        return Taken(FENCE, 0.0)

    return ask


def claimed(leases: Leases, ask: Callable[[], Taken]) -> Lease:
    found = leases.claim(ask)
    assert found is not None
    return found[0]


def last_moment(lease: Lease, time: Clock) -> float:
    """Seconds from 1000 until which it permits a write."""
    for second in range(200):
        time.at = 1000.0 + second
        try:
            lease.check()
        except LeaseLostError:
            return second - 1
    raise AssertionError("it never ends")


def test_it_ends_before_the_database_thinks_so_by_the_margin(time: Clock, ledger: Paper) -> None:
    lease = claimed(leases := Leases(ledger), taking(time, 0))
    assert last_moment(lease, time) == LEASE - MARGIN
    leases.release(lease, settled=True)


def test_it_counts_from_before_it_was_asked_for(time: Clock, ledger: Paper) -> None:
    """The database may have counted from then, and the answer may have come late."""
    lease = claimed(leases := Leases(ledger), taking(time, 15))
    assert last_moment(lease, time) == LEASE - MARGIN
    leases.release(lease, settled=True)


def test_what_is_renewed_counts_from_before_that_was_asked_for(time: Clock, ledger: Paper) -> None:
    lease = claimed(leases := Leases(ledger), taking(time, 0))
    time.at, ledger.takes, ledger.renews = 1020.0, 15.0, [FENCE]
    assert leases._renew([lease])
    assert last_moment(lease, time) == 20 + LEASE - MARGIN
    leases.release(lease, settled=True)


def test_what_the_store_no_longer_renews_is_lost_at_once(time: Clock, ledger: Paper) -> None:
    lease = claimed(leases := Leases(ledger), taking(time, 0))
    assert leases._renew([lease])
    with pytest.raises(LeaseLostError):
        lease.check()
    assert leases.fences(FENCE.registry) == [], "nothing is recorded under it either"
    leases.release(lease, settled=True)
    assert ledger.released == [], "it may be another's by now"


def test_a_store_that_does_not_answer_makes_it_no_longer(time: Clock, ledger: Paper) -> None:
    lease = claimed(leases := Leases(ledger), taking(time, 0))
    time.at, ledger.renews = 1020.0, None
    assert not leases._renew([lease])
    assert last_moment(lease, time) == LEASE - MARGIN
    leases.release(lease, settled=True)


def test_what_was_released_permits_nothing(time: Clock, ledger: Paper) -> None:
    lease = claimed(leases := Leases(ledger), taking(time, 0))
    leases.release(lease, settled=False)
    with pytest.raises(LeaseLostError):
        lease.check()
    assert ledger.released == [False]
