"""A crawl's progress, on a terminal: how many of how many, the rate, the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dregutil.crawl import CrawlProgress

__all__ = ["contents_progress", "crawl_progress"]

_SHOWN_EVERY = 0.1  # seconds


@contextmanager
def crawl_progress(*, show: bool) -> Iterator[Callable[[CrawlProgress], None] | None]:
    """A callback for `crawl` that keeps one line up to date and takes it away; None where none is wanted."""
    if not show:
        yield None
        return
    started = time.monotonic()

    def update(progress: CrawlProgress) -> None:
        sys.stderr.write(f"\r\x1b[K{progress_text(progress, time.monotonic() - started)}")
        sys.stderr.flush()

    try:
        yield update
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


@contextmanager
def contents_progress(*, show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A callback for `read_contents`, as `crawl_progress` is one for `crawl`."""
    if not show:
        yield None
        return
    started = time.monotonic()
    shown = 0.0

    def update(done: int, known: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= _SHOWN_EVERY:
            shown = now
            rate = done / (now - started) if now > started else 0.0
            left = f", {(known - done) / rate:.0f} s left" if rate else ""
            sys.stderr.write(f"\r\x1b[KContents of {done:,} of {known:,} digests read, {rate:,.0f}/s{left}")
            sys.stderr.flush()

    try:
        yield update
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def progress_text(progress: CrawlProgress, seconds: float) -> str:
    """One line; the time left is not told before the catalog was read to its end."""
    rate = progress.tags_done / seconds if seconds > 0 else 0.0
    text = (
        f"{progress.repositories_done:,} of {progress.repositories_known:,} repositories, "
        f"{progress.tags_done:,} of {progress.tags_known:,} tags, {rate:,.0f}/s"
    )
    if progress.catalog_complete and rate:
        text += f", {(progress.tags_known - progress.tags_done) / rate:.0f} s left"
    return text
