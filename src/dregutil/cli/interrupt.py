"""Ctrl-C, SIGTERM and SIGHUP in the middle of a run: it ends in good order, and says what another one would do."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

__all__ = ["run_to_end"]

_Found = TypeVar("_Found")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIRST = "interrupted: what is under way ends first, and tags that were moved are put back"
_SECOND = "still ending; once more ends at once, and tags may stay on a placeholder until the run is resumed or undone"


def run_to_end(work: Callable[[asyncio.Event], Coroutine[None, None, _Found]]) -> _Found:
    """Run a coroutine that is given a stop event.

    The first signal sets it, the second says what a third would do, which ends the process.
    """

    async def run() -> _Found:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Who started us with nohup wants no end when the terminal closes.
        caught = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]

        is_first = True

        def end_early() -> None:
            nonlocal is_first
            stop.set()
            _tell(_FIRST if is_first else _SECOND)
            if not is_first:
                for one in caught:
                    loop.remove_signal_handler(one)
            is_first = False

        with suppress(NotImplementedError, RuntimeError):
            for one in caught:
                loop.add_signal_handler(one, end_early)
        return await work(stop)

    return asyncio.run(run())


def _tell(text: str) -> None:
    """Beside the line of progress, which is written again."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"\r\x1b[K{text}\n" if sys.stderr.isatty() else f"{text}\n")
        sys.stderr.flush()
