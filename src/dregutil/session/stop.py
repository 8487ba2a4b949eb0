"""A way to end a run early, in good order, from anywhere: another task, thread, or a signal's handler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stop"]


class Stop:
    """Once set, what is under way ends, tags that were moved are put back, and no other step is begun."""

    def __init__(self) -> None:
        self._is_set = False
        self._listeners: list[Callable[[], None]] = []

    @property
    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for tell in tuple(self._listeners):
            tell()

    @contextmanager
    def event(self) -> Iterator[asyncio.Event]:
        """An event of the running loop that is set with it."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            loop.call_soon_threadsafe(event.set)

        self._listeners.append(tell)
        try:
            if self._is_set:
                event.set()
            yield event
        finally:
            self._listeners.remove(tell)
