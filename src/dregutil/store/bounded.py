"""A database for who must not wait for ever: each transaction has a time limit, and none begins while it is away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from dregutil.errors import StoreError
from dregutil.store.database import Database, Transaction

__all__ = ["BoundedDatabase"]


def _is_there() -> str:
    return ""


class BoundedDatabase:
    """As a `Database`; closed with the one that it is made of."""

    def __init__(self, database: Database, *, within: float, why_away: Callable[[], str] = _is_there) -> None:
        """`within`: seconds that a transaction may wait for an answer. `why_away` says why the database cannot be asked
        now; empty if it can."""
        self.address = database.address
        self.is_postgresql = database.is_postgresql
        self._database = database
        self._within = within
        self._why_away = why_away

    @property
    def is_pooled(self) -> bool:
        return self._database.is_pooled

    def transaction(
        self, *, durable: bool = True, within: float | None = None, pauses: bool = False
    ) -> contextlib.AbstractContextManager[Transaction]:
        """Raises StoreError at once while the database is away."""
        self._check()
        least = self._within if within is None else min(within, self._within)
        return self._database.transaction(durable=durable, within=least, pauses=pauses)

    def snapshot(self) -> contextlib.AbstractContextManager[Transaction]:
        """Raises StoreError at once while the database is away."""
        self._check()
        return self._database.snapshot()

    def close(self) -> None:
        self._database.close()

    def _check(self) -> None:
        why = self._why_away()
        if why:
            raise StoreError(why, advice="it is asked again every few seconds")
