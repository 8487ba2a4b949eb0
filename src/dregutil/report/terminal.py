"""Output streams: what is written is escaped and laid out for the terminal, and a closed pipe does not end the work."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from dregutil.errors import UsageError, escaped
from dregutil.report.layout import cut, laid_out

__all__ = ["SafeStream", "over_line", "width_of", "write_bytes", "write_data"]

_STRUCTURE = "\n\t"


class SafeStream:
    """Stands in for `sys.stdout` or `sys.stderr`.

    Control characters are escaped on a terminal, and elsewhere if `always` is set (what a program reads is data). On a
    terminal prose is wrapped at words, and with `is_colored` the words that say what happens are in color. After an
    error, output is dropped and `failure` holds the error: the work continues.
    """

    def __init__(self, stream: TextIO | None, *, always: bool = False) -> None:
        """`stream` is None if the process was started without one."""
        self._stream = stream
        self._escapes = always or self.isatty()
        self.failure: OSError | None = None
        self.is_colored = self.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def width(self) -> int | None:
        """The width of the terminal in cells; None if this is no terminal, or one that does not know."""
        given = os.environ.get("COLUMNS", "")
        if not self.isatty():
            return None
        with suppress(ValueError, OSError):
            return (int(given) if given.isdecimal() else os.get_terminal_size(self.fileno()).columns) or None
        return None

    def isatty(self) -> bool:
        with suppress(ValueError, OSError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError(errno.EBADF, "it is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        shown = self._escaped(text)
        if self.is_colored or self._escapes:
            shown = laid_out(shown, width=self.width, is_colored=self.is_colored)
        return self.write_as_is(shown)

    def write_data(self, text: str) -> int:
        """Write text that a program may read, without layout."""
        return self.write_as_is(self._escaped(text))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def write_as_is(self, text: str | bytes) -> int:
        """Write codes of this program, such as those that clear a line, or the bytes of a file, without escaping."""
        if self.failure is None:
            try:
                if self._stream is None:
                    raise OSError(errno.EBADF, "it is closed")
                if isinstance(text, bytes):
                    self._stream.flush()
                    self._stream.buffer.write(text)
                else:
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

    def _escaped(self, text: str) -> str:
        return escaped(text, keep=_STRUCTURE) if self._escapes else text

    def _fail(self, error: OSError | ValueError) -> None:
        self.failure = error if isinstance(error, OSError) else OSError(errno.EBADF, "it is closed")
        # Otherwise the rest of the buffer would fail again when the process ends.
        with suppress(OSError, ValueError):
            place, nowhere = self.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, place)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def width_of(stream: TextIO) -> int | None:
    """The width of a stream's terminal in cells; None if it is no terminal."""
    return getattr(stream, "width", None)


def write_data(stream: TextIO, text: str) -> None:
    """Write text that a program may read to a stream, whether it is a `SafeStream` or not."""
    getattr(stream, "write_data", stream.write)(text)


def write_bytes(stream: TextIO, raw: bytes) -> None:
    """Write bytes to a stream unchanged. Raises UsageError if they could control the terminal that shows them."""
    if stream.isatty() and not _is_harmless(raw):
        raise UsageError("this is no plain text: a terminal may take it for commands", advice="redirect it to a file")
    getattr(stream, "write_as_is", stream.buffer.write)(raw)


def _is_harmless(raw: bytes) -> bool:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return False
    return escaped(text, keep="\n\r\t") == text


def over_line(stream: TextIO, text: str = "") -> None:
    """Replace the last line on a terminal; without text, only clear it."""
    width = width_of(stream)
    shown = escaped(text)
    # A line that wraps could not be removed.
    getattr(stream, "write_as_is", stream.write)(f"\r\x1b[K{shown if width is None else cut(shown, width - 1)}")
    stream.flush()
