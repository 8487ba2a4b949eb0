"""Progress for the program that started this one: a JSON object a line, through a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from dregutil.apply.progress import RunProgress
from dregutil.inventory.crawl_result import ContentsProgress, CrawlProgress

__all__ = ["VARIABLE", "ProgressPipe", "progress_pipe"]

VARIABLE = "DREGUTIL_PROGRESS_FD"
_WRITTEN_EVERY = 0.2  # seconds


def progress_pipe() -> ProgressPipe | None:
    """The pipe that the environment names, None if it names none. The variable is removed: it is for this process
    alone."""
    text = os.environ.pop(VARIABLE, "")
    if not text.isascii() or not text.isdigit() or int(text) < 3:
        return None
    with contextlib.suppress(OSError):
        os.set_blocking(int(text), False)
        os.set_inheritable(int(text), False)  # noqa: FBT003 - it takes no keyword
        return ProgressPipe(int(text))
    return None


class ProgressPipe:
    """Writes `{"done": 5, "total": 20, "noun": "tags"}`. What a full pipe does not take is left out: the work goes on,
    also if nobody reads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written = 0.0
        self._waiting: CrawlProgress | ContentsProgress | RunProgress | None = None

    def __call__(self, progress: CrawlProgress | ContentsProgress | RunProgress | None) -> None:
        """None at the end: what was not written yet is written then."""
        now = time.monotonic()
        if progress is not None and now - self._written < _WRITTEN_EVERY:
            self._waiting = progress
            return
        written = progress or self._waiting
        self._waiting, self._written = None, now
        if written is not None:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, (json.dumps(_counted(written)) + "\n").encode())


def _counted(progress: CrawlProgress | ContentsProgress | RunProgress) -> dict[str, Any]:
    if isinstance(progress, CrawlProgress):
        return {"done": progress.tags_done, "total": progress.tags_known, "noun": "tags"}
    noun = "digests" if isinstance(progress, ContentsProgress) else progress.noun
    return {"done": progress.done, "total": progress.total, "noun": noun}
