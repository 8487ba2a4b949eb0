"""Regular expressions of Python's own, of which none can take a command's time away.

`re` tries all ways there are: `(a+)+$` on forty letters takes longer than anybody waits. It looks for signals while it
does so, so that a timer ends it. Measured: 2 µs for a tag that is matched under the timer, none where the expression is
too simple to need it. (`regex`, with a time-out, took 5 µs and reads some expressions otherwise; RE2 has no lookahead.)
"""

from __future__ import annotations

import re
import signal
import threading
import warnings
from types import FrameType

from dregutil.errors import UsageError

__all__ = ["BoundedRegex"]

_SIMPLE = re.compile(r"[^*+?{|()]*(?:[*+?|][^*+?{|()]*){0,2}")  # no more than the square of a tag's length
_SLOW = 0.01  # seconds


class _TooLongError(Exception):
    pass


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _TooLongError


class BoundedRegex:
    """As `re.compile`, with `match` and `fullmatch`.

    Raises re.error, OverflowError or RecursionError for what is no expression. Only the main thread of a process is
    told by signals: in another one nothing is bounded.
    """

    __slots__ = ("_compiled", "_in_all", "_is_simple", "_most", "_slow")

    def __init__(self, text: str, *, most: float = 1.0, in_all: float = 10.0) -> None:
        """`most`: seconds of computing for one text; `in_all`: for all that are slow."""
        self._most, self._in_all = most, in_all
        with warnings.catch_warnings():  # `[[a]` is what it was, whatever Python may make of it one day
            warnings.simplefilter("ignore")
            self._compiled = re.compile(text)
        self._is_simple = _SIMPLE.fullmatch(text) is not None
        self._slow = 0.0

    @property
    def pattern(self) -> str:
        return self._compiled.pattern

    @property
    def groupindex(self) -> dict[str, int]:
        return dict(self._compiled.groupindex)

    def match(self, text: str) -> re.Match[str] | None:
        """From the start. Raises UsageError where it takes too long."""
        return self._matched(text, whole=False)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """All of it. Raises UsageError where it takes too long."""
        return self._matched(text, whole=True)

    def _matched(self, text: str, *, whole: bool) -> re.Match[str] | None:
        method = self._compiled.fullmatch if whole else self._compiled.match
        if self._is_simple or threading.current_thread() is not threading.main_thread():
            return method(text)
        try:
            before = signal.signal(signal.SIGVTALRM, _end)
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, self._most)
                return method(text)
            finally:
                left, _ = signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                signal.signal(signal.SIGVTALRM, before)
                self._count(self._most - left)
        except _TooLongError:
            raise UsageError(
                f"the regular expression {self.pattern[:150]!r} takes too long on {text[:150]!r}",
                advice="a repetition within a repetition, such as (a+)+, tries too many ways: write it with one",
            ) from None

    def _count(self, seconds: float) -> None:
        """Many tags that take long each are too many, too."""
        if seconds > _SLOW:
            self._slow += seconds
            if self._slow > self._in_all:
                raise _TooLongError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundedRegex) and self._compiled == other._compiled

    def __hash__(self) -> int:
        return hash(self._compiled)
