"""A store, opened for one registry's work: its runs, with their mirror in the state folder."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from dregutil.store.ledger import LEASE, Ledger
from dregutil.store.migrations import check_version, migrate
from dregutil.store.runs import SharedRuns

__all__ = ["LONGEST", "mirror_folder", "open_runs"]

_SHORTEST, _LONGEST_LEASE = 1.0, 3600.0  # seconds, of a lease
LONGEST = 600.0  # seconds that one request to a registry may take, with the default time-out


def mirror_folder(address: StoreAddress, state: Path) -> Path:
    """The folder on this machine that mirrors what a store has; `state` is the state folder."""
    return state / "stores" / hashlib.sha256(address.url.encode()).hexdigest()[:24]


def open_runs(address: StoreAddress, state: Path, *, longest: float = LONGEST) -> SharedRuns:
    """The runs of a store. `longest`: the longest time in seconds that one request to a registry may take.

    The tables of a SQLite file are made where they are missing. Raises StoreError if the store cannot be used.
    """
    lease = _lease()
    database = open_database(address)
    try:
        if not address.is_postgresql:
            migrate(database)
        check_version(database)
    except BaseException:
        database.close()
        raise
    return SharedRuns(mirror_folder(address, state), Ledger(database, lease=lease), longest=longest)


def _lease() -> float:
    """The seconds that a claim lasts: a minute, and in tests what DREGUTIL_LEASE says. Raises StoreError."""
    text = os.environ.get("DREGUTIL_LEASE", str(LEASE))
    with suppress(ValueError):
        if _SHORTEST <= float(text) <= _LONGEST_LEASE:
            return float(text)
    raise StoreError(f"DREGUTIL_LEASE is {text!r}: no number of seconds from {_SHORTEST:g} to {_LONGEST_LEASE:g}")
