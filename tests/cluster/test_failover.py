"""A store that failed over to a copy, or was restored, and lacks the last claims: it gives their numbers out again."""

from __future__ import annotations

import pytest

from dregutil.errors import LeaseLostError
from dregutil.store.database import Database
from dregutil.store.entries import Entry, Fence, NewRun, holder_of
from dregutil.store.ledger import Ledger

KEY = "registry.example.com"
INTENT = Entry("intent", b"intent", "shop/web", 1)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


def claim(ledger: Ledger, holder: str) -> Fence:
    found = ledger.claim_registry(KEY, KEY, holder, limit=0)
    assert found is not None
    return found.fence


def begin(ledger: Ledger, name: str, whole: Fence) -> None:
    lines = [Entry("run", b"header"), Entry("step", b"step", "shop/web", 1)]
    ledger.begin(NewRun(name, KEY), lambda _: lines, whole)


def forget_claims(ledger: Ledger) -> None:
    """As the copy has it: the last claim of the registry was not in it."""
    with ledger.database.transaction() as transaction:
        transaction.execute("UPDATE registry SET fence = fence - 1, holder = '', until = 0, sharers = 0")


def until(ledger: Ledger) -> float:
    with ledger.database.transaction() as transaction:
        return float(transaction.rows("SELECT until FROM registry")[0][0])


def resumed_and_lost(ledger: Ledger) -> tuple[Fence, Fence]:
    """The lease of a registry under which a run was resumed, which the store forgot, and the one that another process
    has since."""
    first = claim(ledger, "a")
    begin(ledger, "run-1", first)
    ledger.release(Fence(KEY, "", first.number, holder_of("run-1")), settled=True)
    lost = claim(ledger, holder_of("run-1"))
    forget_claims(ledger)
    new = claim(ledger, "who undoes run-1")
    assert new.number == lost.number
    return lost, new


def test_no_repository_is_claimed_under_the_registry_of_another(ledger: Ledger) -> None:
    """It would be removed from while the other one puts back."""
    lost, new = resumed_and_lost(ledger)
    with pytest.raises(LeaseLostError):
        ledger.claim_next("run-1", lost, "a", limit=10)
    ledger.append("run-1", [Entry("restored", b"restored", "shop/web")], [new])
    with pytest.raises(LeaseLostError):
        ledger.append("run-1", [Entry("restored", b"restored", "shop/web")], [lost])
    with pytest.raises(LeaseLostError):
        begin(ledger, "run-2", lost)


def test_nobody_renews_or_ends_the_lease_of_another(ledger: Ledger) -> None:
    lost, new = resumed_and_lost(ledger)
    assert ledger.renew([lost, new]) == [new]
    ledger.release(lost, settled=True)
    assert until(ledger) > ledger.now()
    ledger.release(new, settled=True)
    assert until(ledger) == 0


def test_the_registry_of_a_run_that_began_is_renewed_and_released(ledger: Ledger) -> None:
    """It is the run's by then: others may join it."""
    whole = claim(ledger, "a")
    begin(ledger, "run-1", whole)
    own = Fence(KEY, "", whole.number, holder_of("run-1"))
    assert ledger.renew([own]) == [own]
    assert claim(ledger, holder_of("run-1")) == own
    ledger.release(own, settled=True)
    assert until(ledger) > ledger.now(), "another process shares it"
    ledger.release(own, settled=True)
    assert until(ledger) == 0
