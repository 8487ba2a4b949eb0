"""Runs the command that collects a registry's garbage. Its output goes to a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dregutil.errors import RefusedError
from dregutil.storage.collector_command import CollectorCommand, generation_of
from dregutil.storage.garbage_collector import Generation

__all__ = ["CollectorExit", "command_generation", "run_collector"]

_LONGEST_VERSION = 10.0  # seconds
_LONGEST_LINE = 4096  # bytes at the end of the output in which its last line is searched


@dataclass(frozen=True, slots=True)
class CollectorExit:
    """How the command ended: its exit code (negative: the signal that ended it), and the last line of its output."""

    code: int
    last_line: str = ""
    interrupted: bool = False


async def command_generation(command: CollectorCommand) -> Generation | None:
    """Which generation the command's program says that it is; None if it does not say, or other words come before
    `garbage-collect`: those may do anything."""
    if not command.is_plain:
        return None
    try:
        process = await asyncio.create_subprocess_exec(
            command.words[0],
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise _cannot_start(command.words, error) from error
    try:
        shown, _ = await asyncio.wait_for(process.communicate(), _LONGEST_VERSION)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return None
    return generation_of(shown.decode(errors="replace"))


async def run_collector(words: Sequence[str], output: Path, stop: asyncio.Event) -> CollectorExit:
    """Run a command to its end; its output is appended to the file `output`. Once `stop` is set, SIGINT is sent to it.

    Raises RefusedError if it cannot be started, and OSError if the file cannot be written.
    """
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "wb") as file:
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file
            )
        except OSError as error:
            raise _cannot_start(words, error) from error
        stopping = asyncio.ensure_future(_pass_on(process, stop))
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            await process.wait()  # no collector goes on behind the back of its caller
            raise
        finally:
            stopping.cancel()
    return CollectorExit(code, _last_line(output) if code else "", stop.is_set())


async def _pass_on(process: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    await stop.wait()
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LONGEST_LINE))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _cannot_start(words: Sequence[str], error: OSError) -> RefusedError:
    return RefusedError(
        f"{words[0]} cannot be run: {error.strerror or error}; nothing was collected",
        advice="give the command that runs the registry's collector on this machine",
    )
