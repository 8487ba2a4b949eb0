"""What a process waits for before it works on a registry: each refusal, and the permit, by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from dregutil.errors import LeaseLostError, RefusedError
from dregutil.registry.permit import check_permit
from dregutil.store.ledger import Fence, Ledger, Taken
from dregutil.store.runs import SharedRuns

NAME = "registry.example.com"


class Paper(Ledger):
    def __init__(self) -> None:
        self.lease, self.margin, self.wait = 60.0, 10.0, 0.0
        self.still: list[tuple[str, str, float]] = []

    def claim_registry(self, key: str, name: str, holder: str, *, limit: float) -> Taken | None:
        return Taken(Fence(key, "", 1, holder), self.wait)

    def at_work(self, key: str) -> list[tuple[str, str, float]]:
        return self.still

    def release(self, fence: Fence, *, settled: bool) -> None:
        pass


@pytest.fixture
def ledger() -> Paper:
    return Paper()


@pytest.fixture
def runs(ledger: Paper, tmp_path: Path) -> SharedRuns:
    return SharedRuns(tmp_path, ledger, longest=5)


def test_what_was_sent_under_the_lost_lease_of_the_registry_is_waited_for(runs: SharedRuns, ledger: Paper) -> None:
    ledger.wait = 7
    with pytest.raises(RefusedError, match="may still be changing"), runs.lock(NAME):
        pass


def test_what_was_sent_under_the_lost_lease_of_a_repository_is_waited_for(runs: SharedRuns, ledger: Paper) -> None:
    ledger.still = [("shop/web", "ann@laptop", 7)]
    with pytest.raises(RefusedError, match="may still be changing shop/web"), runs.lock(NAME):
        pass
    with runs.lock(NAME, run="run-1"):
        pass  # who continues that run waits in the repository


def test_what_is_written_under_a_lock_needs_its_lease(runs: SharedRuns) -> None:
    with runs.lock(NAME):
        check_permit()
        runs.whole(NAME).is_lost = True
        with pytest.raises(LeaseLostError):
            check_permit()
