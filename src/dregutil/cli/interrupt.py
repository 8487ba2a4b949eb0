"""Ctrl-C, SIGTERM and SIGHUP during a run: it ends in good order, and says what another signal would do."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from dregutil.session.stop import Stop

__all__ = ["stop_on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FIRST = "interrupted: requests in flight are finished, and moved tags are put back"
_SECOND = (
    "still finishing; another signal ends it at once, and tags may stay on a placeholder until it is resumed or undone"
)


@contextmanager
def stop_on_signals(first: str = _FIRST, second: str = _SECOND) -> Iterator[Stop]:
    """A `Stop` that the first signal sets. After the second, which says so, a third ends the process. `first` and
    `second` are what is said then.

    A signal that is ignored (nohup) stays ignored.
    """
    stop = Stop()
    before = {one: signal.getsignal(one) for one in _SIGNALS}
    caught = [one for one, handler in before.items() if handler is not signal.SIG_IGN]

    def end_early(_number: int, _frame: FrameType | None) -> None:
        is_first = not stop.is_set
        stop.set()
        _tell(first if is_first else second)
        if not is_first:
            restore()

    def restore() -> None:
        for one in caught:
            signal.signal(one, before[one] or signal.SIG_DFL)

    for one in caught:
        signal.signal(one, end_early)
    try:
        yield stop
    finally:
        restore()


def _tell(text: str) -> None:
    """Print in place of the progress line, which is drawn again."""
    with suppress(OSError, ValueError, RuntimeError):
        sys.stderr.write(f"\r\x1b[K{text}\n" if sys.stderr.isatty() else f"{text}\n")
        sys.stderr.flush()
