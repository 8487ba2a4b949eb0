"""One process of this program: what it prints, its progress, its errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

__all__ = ["PROGRESS", "Child", "Ended", "left", "said"]

PROGRESS = "DREGUTIL_PROGRESS_FD"
"""The variable that tells the process where its progress goes."""

_MOST_ERRORS = 64 * 1024  # bytes; of longer ones the end
_LONGEST_LINE = 4096
_DID = ("removed ", "put back ", "nothing to put back")  # how the last line of a run or an undo begins


@dataclass(frozen=True, slots=True)
class Ended:
    """`out` is the file of what it printed; it is removed with the job. `message` and `advice` are its last error,
    empty if it reported none. `errors` is what it said on standard error."""

    code: int
    out: Path
    errors: str
    message: str
    advice: str


class _Progress(msgspec.Struct):
    done: int = 0
    total: int = 0
    noun: str = ""


class Child:
    """A process with its own session, so that a Ctrl-C of the terminal does not reach it. It outlives a server that
    is killed: a run ends in good order by itself."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        out: Path,
        on_progress: Callable[[int, int, str], None],
    ) -> None:
        self._argv = argv
        self._environment = environment
        self._out = out
        self._on_progress = on_progress
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: signal.Signals | None = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; to a process that is being started, as soon as it is there."""
        if self._process is None:
            self._waiting = number
        elif self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def remove(self) -> None:
        """Remove what it printed."""
        with contextlib.suppress(OSError):
            self._out.unlink()

    async def run(self) -> Ended:
        """Run it to its end. Raises OSError if it cannot be started."""
        reading, writing = os.pipe()
        try:
            out = os.open(self._out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out,
                    stderr=asyncio.subprocess.PIPE,
                    env={**self._environment, PROGRESS: str(writing)},
                    pass_fds=(writing,),
                    start_new_session=True,
                )
            finally:
                os.close(out)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        if self._waiting is not None:
            self.signal(self._waiting)
        _, errors = await asyncio.gather(self._follow(reading), self._errors())
        code = await self._process.wait()
        message, advice = said(errors)
        if code < 0:
            message = message or f"the process was ended by signal {-code}"
        elif code and not message:
            message = f"the process ended with exit code {code}"
        return Ended(code, self._out, errors, message, advice)

    async def _errors(self) -> str:
        assert self._process is not None and self._process.stderr is not None  # noqa: PT018 - it was piped
        found = b""
        while chunk := await self._process.stderr.read(16 * 1024):
            found = (found + chunk)[-_MOST_ERRORS:]
        return found.decode(errors="replace")

    async def _follow(self, reading: int) -> None:
        """Pass the progress on: one JSON object a line."""
        stream = asyncio.StreamReader(limit=_LONGEST_LINE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
        )
        try:
            while line := await stream.readline():
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    found = msgspec.json.decode(line, type=_Progress)
                    self._on_progress(found.done, found.total, found.noun)
        except ValueError:
            pass  # a line without an end
        finally:
            transport.close()


def said(errors: str) -> tuple[str, str]:
    """The last error on standard error, and its advice; both empty if there is none."""
    message = advice = ""
    lines = errors.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("dregutil: ") and not line.startswith("dregutil: warning: "):
            message = line.removeprefix("dregutil: ")
            following = lines[number + 1] if number + 1 < len(lines) else ""
            advice = following.strip() if following.startswith("  ") else ""
    return message, advice


def left(errors: str) -> str:
    """What a run or an undo that ended well did, and what it left: tags that point to something else now. Empty if it
    did all of it."""
    lines = errors.splitlines()
    alone = [line for line in lines if line.startswith(("left: ", "left alone: "))]
    did = next((line for line in reversed(lines) if line.startswith(_DID)), "")
    return "; ".join([did, *alone]).strip("; ") if alone or did.startswith(("nothing ", "removed 0 ")) else ""
