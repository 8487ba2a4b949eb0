"""Small files that a team shares, each as a whole, with a version that grows with each change."""

from __future__ import annotations

from collections.abc import Callable

from dregutil import clock
from dregutil.journal.actor import host_name, user_name
from dregutil.store.database import Database, Transaction

__all__ = ["POLLED_EVERY", "StoredDocument"]

POLLED_EVERY = 0.2  # seconds: who asks more often gets the answer of the last time
_ASKED_AGAIN = 5  # times, where the store is slow
_WITHIN = 10.0  # seconds: a run waits for the answer before each step


class StoredDocument:
    """One file of a registry, in the store. Every method raises StoreError if the store cannot be asked.

    Two who change it take turns, wherever they are: none overwrites what the other wrote.
    """

    def __init__(self, database: Database, registry: str, name: str) -> None:
        """`registry` is its key, `name` that of the file."""
        self._database = database
        self._values = {"registry": registry, "name": name}
        self._known: tuple[float, int] | None = None

    def version(self) -> int:
        """Grows with each change; 0 if it was never written. It is asked for at most each `POLLED_EVERY` seconds.

        Whoever changed it relies on that: an answer that took longer may be from before, and is asked for again.
        """
        for _ in range(_ASKED_AGAIN):
            now = clock.now()
            if self._known is not None and now - self._known[0] < POLLED_EVERY:
                break
            self._known = (now, self._asked())
        assert self._known is not None
        return self._known[1]

    def _asked(self) -> int:
        with self._database.transaction(durable=False, within=_WITHIN) as transaction:
            rows = transaction.rows(
                "SELECT version FROM document WHERE registry = :registry AND name = :name", self._values
            )
        return int(rows[0][0]) if rows else 0

    def read(self) -> bytes | None:
        """None if it was never written."""
        with self._database.transaction(durable=False, within=_WITHIN) as transaction:
            rows = transaction.rows(
                "SELECT body FROM document WHERE registry = :registry AND name = :name", self._values
            )
        return None if not rows or rows[0][0] is None else bytes(rows[0][0])

    def change(self, how: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace it by what `how` makes of it, and return that. None leaves it as it is. An error of `how` changes
        nothing."""
        with self._database.transaction() as transaction:
            former = self._locked(transaction)
            new = how(former)
            if new is not None:
                transaction.execute(
                    "UPDATE document SET version = version + 1, body = :body, who = :who, at = {now}"
                    " WHERE registry = :registry AND name = :name",
                    {**self._values, "body": new, "who": f"{user_name()}@{host_name()}"},
                )
        self._known = None
        return former if new is None else new

    def write(self, body: bytes) -> None:
        """Replace it."""
        self.change(lambda _: body)

    def _locked(self, transaction: Transaction) -> bytes | None:
        """What it has; nobody else changes it until the transaction ends."""
        transaction.execute(
            "INSERT INTO document (registry, name, version, at) VALUES (:registry, :name, 0, {now})"
            " ON CONFLICT (registry, name) DO NOTHING",
            self._values,
        )
        rows = transaction.rows(
            "UPDATE document SET version = version WHERE registry = :registry AND name = :name RETURNING body",
            self._values,
        )
        return None if rows[0][0] is None else bytes(rows[0][0])
