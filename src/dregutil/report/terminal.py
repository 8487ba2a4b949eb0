"""Output streams: control characters from a registry are escaped, and a closed pipe does not end the work."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from dregutil.errors import escaped

__all__ = ["SafeStream", "over_line", "write_as_is"]

_STRUCTURE = "\n\t"


class SafeStream:
    """Stands in for `sys.stdout` or `sys.stderr`.

    Control characters are escaped on a terminal, and elsewhere if `always` is set (what a program reads is data).
    After an error, output is dropped and `failure` holds the error: the work continues.
    """

    def __init__(self, stream: TextIO | None, *, always: bool = False) -> None:
        """`stream` is None if the process was started without one."""
        self._stream = stream
        self._escapes = always or self.isatty()
        self.failure: OSError | None = None
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        with suppress(ValueError, OSError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError(errno.EBADF, "it is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        return self.write_as_is(escaped(text, keep=_STRUCTURE) if self._escapes else text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def write_as_is(self, text: str) -> int:
        """Write text of this program without escaping: colors, and codes that clear a line."""
        if self.failure is None:
            try:
                if self._stream is None:
                    raise OSError(errno.EBADF, "it is closed")
                self._stream.write(text)
            except (OSError, ValueError) as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None and self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def _fail(self, error: OSError | ValueError) -> None:
        self.failure = error if isinstance(error, OSError) else OSError(errno.EBADF, "it is closed")
        # Otherwise the rest of the buffer would fail again when the process ends.
        with suppress(OSError, ValueError):
            place, nowhere = self.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, place)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write_as_is(stream: TextIO, text: str) -> None:
    """Write control codes to a stream, whether it is a `SafeStream` or not."""
    getattr(stream, "write_as_is", stream.write)(text)


def over_line(stream: TextIO, text: str = "") -> None:
    """Replace the last line on a terminal; without text, only clear it."""
    write_as_is(stream, f"\r\x1b[K{escaped(text)}")
    stream.flush()
