"""The process list, as every user of the machine sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

__all__ = ["CommandLines"]


class CommandLines:
    """Meanwhile, the command lines of all processes of this machine, as its users see them, that have a text."""

    def __init__(self, *texts: str) -> None:
        self.seen: set[str] = set()
        self._texts = texts
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.01):
            for line in _command_lines():
                if any(text in line for text in self._texts):
                    self.seen.add(line)


def _command_lines() -> Iterator[str]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                yield (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
