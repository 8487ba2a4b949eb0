"""Progress on a terminal: done and total, the rate, the time left. One line, removed at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self

from dregutil.apply.progress import RunProgress
from dregutil.inventory.crawl_result import ContentsProgress, CrawlProgress
from dregutil.report.terminal import over_line
from dregutil.report.units import duration_text

__all__ = ["Meter", "ProgressLine"]

_SHOWN_EVERY = 0.1  # seconds
_BELIEVED_AFTER = 2.0  # seconds
_BELIEVED_FROM = 20  # answers


class ProgressLine:
    """Draws the progress of a session on one line of standard error, and removes it at the end.

    `show`: standard error is a terminal.
    """

    def __init__(self, *, show: bool) -> None:
        self._show = show
        self._began = self._shown = 0.0
        self._meter: Meter | None = None
        self._is_drawn = False

    def __call__(self, progress: CrawlProgress | ContentsProgress | RunProgress | None) -> None:
        if not self._show:
            return
        if progress is None:
            self._end()
            return
        self._began = self._began or time.monotonic()
        self._is_drawn = True
        if isinstance(progress, CrawlProgress):
            over_line(sys.stderr, progress_text(progress, time.monotonic() - self._began))
        elif isinstance(progress, ContentsProgress):
            self._contents(progress)
        else:
            self._run(progress)

    def _contents(self, progress: ContentsProgress) -> None:
        now = time.monotonic()
        if now - self._shown >= _SHOWN_EVERY:
            self._shown = now
            over_line(sys.stderr, contents_text(progress, now - self._began))

    def _run(self, progress: RunProgress) -> None:
        if self._meter is None:
            self._meter = Meter(show=True)
            self._meter.begin(progress.noun, progress.total, progress.seconds)
        self._meter.update(progress)

    def _end(self) -> None:
        if self._is_drawn:
            over_line(sys.stderr)
        self._began = self._shown = 0.0
        self._meter, self._is_drawn = None, False


def contents_text(progress: ContentsProgress, seconds: float) -> str:
    """One line about contents; the time left is shown once it can be believed."""
    rate = progress.done / seconds if seconds > 0 else 0.0
    text = f"Contents of {progress.done:,} of {progress.total:,} digests read, {rate:,.0f}/s"
    return text + _left(progress.done, progress.total, seconds)


def _left(done: int, total: int, seconds: float) -> str:
    """The time left, from the rate so far. The first answers say little: connections are opened, logins are made."""
    if seconds < _BELIEVED_AFTER or done < _BELIEVED_FROM:
        return ""
    return f", about {duration_text((total - done) * seconds / done)} left"


def progress_text(progress: CrawlProgress, seconds: float) -> str:
    """One line; the time left is shown once the catalog has been read completely, and it can be believed."""
    rate = progress.tags_done / seconds if seconds > 0 else 0.0
    text = (
        f"{progress.repositories_done:,} of {progress.repositories_known:,} repositories, "
        f"{progress.tags_done:,} of {progress.tags_known:,} tags, {rate:,.0f}/s"
    )
    if progress.catalog_complete:
        text += _left(progress.tags_done, progress.tags_known, seconds)
    if progress.allowed_rate is not None:
        text += f"; the registry pushes back: at most {progress.allowed_rate:,.0f} requests/s"
    return text


class Meter:
    """The progress line of a run: what is counted, and the time left. As a context manager it removes the line at the
    end.

    `show`: standard error is a terminal. `clock` returns seconds.
    """

    def __init__(self, *, show: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._show = show
        self._clock = clock
        self._noun = ""
        self._total = self._done = self._swept = self._put_back = 0
        self._estimate: float | None = None
        self._began = self._first = self._shown = 0.0

    def begin(self, noun: str, total: int, seconds: float | None = None) -> None:
        """Start counting `total` of `noun`; `seconds` is the estimated duration."""
        self._noun, self._total, self._estimate = noun, total, seconds
        self._done = self._swept = self._put_back = 0
        self._began = self._clock()
        self._write(self._began)

    def update(self, progress: RunProgress) -> None:
        """Show the progress of a run."""
        if progress.done > self._done:
            self._done = progress.done - 1
            self.count()
        has_changed = (progress.swept, progress.put_back) != (self._swept, self._put_back)
        self._swept, self._put_back = progress.swept, progress.put_back
        now = self._clock()
        if has_changed and now - self._shown >= _SHOWN_EVERY:
            self._write(now)

    def count(self) -> None:
        """Count one as done."""
        now = self._clock()
        # The rate is measured from the first on: readings and a sweep of tags come before it and are not part of it.
        self._first = now if not self._done else self._first
        self._done = min(self._done + 1, self._total)
        if now - self._shown >= _SHOWN_EVERY:
            self._write(now)

    def sweep(self) -> None:
        """Count one more tag as swept: a sweep comes before the counted steps."""
        self._swept += 1
        now = self._clock()
        if now - self._shown >= _SHOWN_EVERY:
            self._write(now)

    def put_back(self) -> None:
        """Count one more swept tag as put back."""
        self._put_back += 1
        now = self._clock()
        if now - self._shown >= _SHOWN_EVERY:
            self._write(now)

    def text(self, now: float) -> str:
        """The line at `now`, a time of the clock."""
        text = f"{self._done:,} of {self._total:,} {self._noun}"
        if self._swept:
            text += f", {self._swept:,} {'tag' if self._swept == 1 else 'tags'} swept"
        if self._put_back:
            return f"{text}, {self._put_back:,} put back"
        left = self._left(now)
        return text if left is None else f"{text}, about {duration_text(left)} left"

    def _left(self, now: float) -> float | None:
        if self._done > 1:
            return (now - self._first) / (self._done - 1) * (self._total - self._done)
        if self._estimate is None or now - self._began >= self._estimate:
            return None  # no estimate would be right
        return self._estimate - (now - self._began)

    def _write(self, now: float) -> None:
        self._shown = now
        if self._show:
            over_line(sys.stderr, self.text(now))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._show:
            over_line(sys.stderr)
