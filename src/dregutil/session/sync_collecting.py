"""The methods of the session without an event loop that are about garbage collections."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from datetime import timedelta

    from dregutil.journal.collections import CollectionRecord
    from dregutil.plan.collection import CollectionPlan
    from dregutil.session.results import CollectionRun
    from dregutil.session.session import AsyncSession
    from dregutil.session.stop import Stop

__all__ = ["CollectionVerbs"]

_Found = TypeVar("_Found")


class CollectionVerbs:
    """A part of `Session`."""

    _session: AsyncSession

    def _run(self, work: Coroutine[Any, Any, _Found]) -> _Found:
        raise NotImplementedError

    def plan_collection(
        self,
        command: Sequence[str],
        *,
        keep_undo: str | timedelta = "7d",
        assume_read_only: bool = False,
    ) -> CollectionPlan:
        return self._run(self._session.plan_collection(command, keep_undo=keep_undo, assume_read_only=assume_read_only))

    def collect(self, plan: CollectionPlan, *, stop: Stop | None = None) -> CollectionRun:
        return self._run(self._session.collect(plan, stop=stop))

    def collections(self) -> tuple[CollectionRecord, ...]:
        return self._session.collections()
