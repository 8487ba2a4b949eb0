"""Runs the command that collects a registry's garbage. Its output goes to a file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dregutil.errors import InterruptedRunError, RefusedError
from dregutil.files import is_locked
from dregutil.oci.names import Digest
from dregutil.storage.collector_command import CollectorCommand, generation_of
from dregutil.storage.garbage_collector import Generation

__all__ = ["CollectorExit", "command_generation", "dry_run", "run_collector"]

_ELIGIBLE = "blob eligible for deletion: "
_LONGEST_VERSION = 10.0  # seconds
_BETWEEN_LOOKS = 0.05  # seconds
_LAST_LOOKS = 20  # how often it is asked whether a child of the command still runs
_LAST_LOOKS_AFTER_SIGINT = 200  # the same, once the caller was cancelled
_LONGEST_LINE = 4096  # bytes at the end of the output in which its last line is searched


@dataclass(frozen=True, slots=True)
class CollectorExit:
    """How the command ended: its exit code (negative: the signal that ended it), and the last line of its output.

    `interrupted`: it was to end early; `unheard` if it could not be sent the signal. `goes_on`: a process that the
    command started still writes to its output.
    """

    code: int
    last_line: str = ""
    interrupted: bool = False
    unheard: bool = False
    goes_on: bool = False


async def command_generation(command: CollectorCommand) -> Generation | None:
    """Which generation the command's program says that it is; None if it does not say, is a script, or other words come
    before `garbage-collect`: those may do anything, a collection too."""
    if not command.is_plain or _is_script(command.words[0]):
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


async def dry_run(command: CollectorCommand) -> frozenset[Digest] | None:
    """The blobs that the command's own dry run names; None if it is to be quiet. Raises RefusedError if it fails."""
    if command.is_quiet:
        return None
    try:
        process = await asyncio.create_subprocess_exec(
            *command.dry_run,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise _cannot_start(command.words, error) from error
    found: set[Digest] = set()
    last = ""
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            last = line.decode(errors="replace").strip() or last
            if last.startswith(_ELIGIBLE):
                found.add(Digest(last.removeprefix(_ELIGIBLE)))
        code = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    if code:
        raise RefusedError(
            f"the collector's dry run fails: {last or f'exit code {code}'}; nothing was collected",
            advice=f"`{shlex.join(command.dry_run)}` shows all of it",
        )
    return frozenset(found)


def _is_script(program: str) -> bool:
    path = shutil.which(program)
    try:
        with Path(path or program).open("rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return False


async def run_collector(words: Sequence[str], output: Path, stop: asyncio.Event) -> CollectorExit:
    """Run a command to its end; its output is appended to the file `output`. Once `stop` is set, SIGINT is sent to it.

    All its processes that write to `output` hold the lock of that file, also when this program was killed. If this is
    cancelled after `stop` was set, the command goes on; else it is sent SIGINT, and waited for a few seconds. Raises
    InterruptedRunError if `stop` is set already, RefusedError if the command cannot be started, and OSError if the file
    cannot be written.
    """
    if stop.is_set():
        raise InterruptedRunError("interrupted before the collector was started; nothing was collected")
    process = _started(words, output)
    unheard = was_sent = False
    try:
        while (code := process.poll()) is None:
            if stop.is_set() and not was_sent:
                unheard, was_sent = not _interrupt(process), True
            await asyncio.sleep(_BETWEEN_LOOKS)
    except asyncio.CancelledError:
        if not was_sent and _interrupt(process):
            await _ended(process)
        raise
    last_line = _last_line(output) if code else ""
    return CollectorExit(code, last_line, stop.is_set(), unheard, await _goes_on(output))


def _started(words: Sequence[str], output: Path) -> subprocess.Popen[bytes]:
    """Not asyncio's: its loop kills the processes that are left when it is closed."""
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)  # noqa: S603 - as given
        except OSError as error:
            raise _cannot_start(words, error) from error


def _interrupt(process: subprocess.Popen[bytes]) -> bool:
    """Send SIGINT; False if that is not permitted, because the process is another user's."""
    try:
        process.send_signal(signal.SIGINT)
    except PermissionError:
        return False
    return True


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for a few seconds until it has ended."""
    for _ in range(_LAST_LOOKS_AFTER_SIGINT):
        if process.poll() is not None:
            return
        await asyncio.sleep(_BETWEEN_LOOKS)


async def _goes_on(output: Path) -> bool:
    """Whether a process still writes to `output` once the command has ended: a child that it left running."""
    for _ in range(_LAST_LOOKS):
        if not is_locked(output):
            return False
        await asyncio.sleep(_BETWEEN_LOOKS)
    return is_locked(output)


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
