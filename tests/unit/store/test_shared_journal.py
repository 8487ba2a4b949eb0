"""Under which leases a process records: what it removed in a repository counts only under that repository's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dregutil.oci.names import Repository
from dregutil.store.journal import SharedJournal
from dregutil.store.leases import Lease, Leases
from dregutil.store.ledger import Fence, Ledger

KEY = "registry.example.com"
WHOLE, PART = Fence(KEY, "", 3, "run:run-1"), Fence(KEY, "shop/web", 7, "me")


class Holding(Leases):
    def __init__(self) -> None:
        super().__init__(Ledger.__new__(Ledger))
        self._held = {(one.registry, one.repository): Lease(one, float("inf")) for one in (WHOLE, PART)}


@pytest.mark.parametrize(
    ("repositories", "fences"), [({1: Repository("shop/web")}, [PART]), ({}, [WHOLE, PART])], ids=["removal", "undo"]
)
def test_the_lease_of_the_registry_counts_for_an_undo_only(
    tmp_path: Path, repositories: dict[int, Repository], fences: list[Fence]
) -> None:
    assert SharedJournal(Holding(), KEY, tmp_path, repositories)._fences() == fences
