"""Python's regular expressions with a time limit.

`re` backtracks: `(a+)+$` on forty letters practically never ends. It handles signals while it matches, so a timer can
stop it. The timer costs 2 µs for each tag, and is not used for expressions too simple to need it. (`regex` has a time
limit of its own, but took 5 µs and parses some expressions differently; RE2 has no lookahead.)
"""

from __future__ import annotations

import re
import signal
import threading
import warnings
from collections.abc import Mapping
from types import FrameType

from dregutil.errors import UsageError

__all__ = ["BoundedRegex"]

# Without a repetition of a group, and with two repetitions or alternatives: at most quadratic in the tag's length.
_SIMPLE = re.compile(r"[^*+?{|()]*(?:[*+?{|][^*+?{|()]*){0,2}")
_GROUP = re.compile(r"\((?:\?:|\?P<\w+>)?|\)(?![*+?{])")
_SLOW = 0.01  # seconds


class _TooLongError(Exception):
    pass


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _TooLongError


class BoundedRegex:
    """A compiled expression with `match` and `fullmatch`.

    Raises re.error, OverflowError or RecursionError if the text is not an expression. Only the main thread receives
    signals: in other threads there is no time limit.
    """

    __slots__ = ("_compiled", "_in_all", "_is_simple", "_most", "_slow")

    def __init__(self, text: str, *, most: float = 1.0, in_all: float = 10.0) -> None:
        """`most`: seconds of CPU time for one text; `in_all`: for all slow ones together."""
        self._most, self._in_all = most, in_all
        with warnings.catch_warnings():  # `[[a]` keeps its meaning, whatever a later Python makes of it
            warnings.simplefilter("ignore")
            self._compiled = re.compile(text)
        self._is_simple = _SIMPLE.fullmatch(_GROUP.sub("", text)) is not None
        self._slow = 0.0

    @property
    def pattern(self) -> str:
        return self._compiled.pattern

    @property
    def groupindex(self) -> Mapping[str, int]:
        return self._compiled.groupindex

    def match(self, text: str) -> re.Match[str] | None:
        """Match at the start. Raises UsageError if it takes too long."""
        return self._matched(text, whole=False)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """Match the whole text. Raises UsageError if it takes too long."""
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
                advice="avoid a repetition inside a repetition, such as (a+)+",
            ) from None

    def _count(self, seconds: float) -> None:
        """Add up the time of slow matches. Raises _TooLongError if it is too much."""
        if seconds > _SLOW:
            self._slow += seconds
            if self._slow > self._in_all:
                raise _TooLongError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundedRegex) and self._compiled == other._compiled

    def __hash__(self) -> int:
        return hash(self._compiled)
