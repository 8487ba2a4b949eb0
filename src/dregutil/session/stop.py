"""Ends a run early and in good order, from another task, a thread or a signal handler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stop"]


class Stop:
    """Once set, requests in flight are finished, moved tags are put back, and no further step starts."""

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
        """An event of the running loop that is set together with this."""
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
