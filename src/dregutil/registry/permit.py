"""Until when a task may begin a write: a lease that several machines share may have passed to another process, and what
the write rests on may be old by now.

Whoever holds a lease says so with `permitted`; without one, as on one machine with its lock, a write may begin at any
time. The transport says with `begun_by` until when one write may begin. It asks just before each write, and again once
there is a connection: to wait for one may take long, and the machine may sleep.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from dregutil import clock
from dregutil.errors import PushedBackError

__all__ = ["Permit", "begun_by", "check_permit", "check_write", "permitted"]


class Permit(Protocol):
    """A right to write that may end."""

    def check(self) -> None:
        """Raises LeaseLostError once no write may begin."""


_PERMIT: ContextVar[Permit | None] = ContextVar("permit", default=None)
_BEGUN_BY: ContextVar[tuple[float, str] | None] = ContextVar("begun_by", default=None)


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


@contextmanager
def begun_by(moment: float, what: str) -> Iterator[None]:
    """Within this, a write is not begun after a `moment` of `clock.now`; `what` names it."""
    token = _BEGUN_BY.set((moment, what))
    try:
        yield
    finally:
        _BEGUN_BY.reset(token)


def check_write() -> None:
    """Raises LeaseLostError if this task may begin no write, and PushedBackError if it is too late for this one."""
    check_permit()
    limit = _BEGUN_BY.get()
    if limit is not None and clock.now() > limit[0]:
        raise PushedBackError(f"{limit[1]} was held back for too long: it was not sent")
