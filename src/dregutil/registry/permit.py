"""Until when a task may begin a write: a lease that several machines share may have passed to another process.

Whoever holds a lease says so with `permitted`; the transport asks just before each write. Without a lease, as on one
machine with its lock, everything is permitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["Permit", "check_permit", "permitted"]


class Permit(Protocol):
    """A right to write that may end."""

    def check(self) -> None:
        """Raises LeaseLostError once no write may begin."""


_PERMIT: ContextVar[Permit | None] = ContextVar("permit", default=None)


@contextmanager
def permitted(permit: Permit | None) -> Iterator[None]:
    """Within this, in this task and those that it begins, writes need `permit`; None: that of before."""
    if permit is None:
        yield
        return
    token = _PERMIT.set(permit)
    try:
        yield
    finally:
        _PERMIT.reset(token)


def check_permit() -> None:
    """Raises LeaseLostError if this task may begin no write."""
    permit = _PERMIT.get()
    if permit is not None:
        permit.check()
