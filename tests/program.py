"""The command `dregutil` in a separate process, with its own state folder."""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("dregutil")


@dataclass(frozen=True)
class Program:
    """`url` is that of the registry; commands run in `folder`, without a cache file."""

    url: str
    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def named(self) -> str:
        """The options that a command in advice repeats because only this command line has them."""
        return f" -reg {self.url} --state-dir {self.state}"

    @property
    def runs(self) -> list[Path]:
        folder = self.state / "runs"
        return sorted(folder.iterdir()) if folder.exists() else []

    def run(
        self, *arguments: str, longest_file: int | None = None, state: Path | None = None, piped: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, with `piped` on standard input. `longest_file`: no file may grow beyond so many bytes, as on
        a full disk."""
        return subprocess.run(
            self.command(arguments, state),
            cwd=self.folder,
            env=self.environment(),
            input=piped,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            preexec_fn=None if longest_file is None else _limit(longest_file),
        )

    def start(self, *arguments: str, state: Path | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(arguments, state),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def history(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("history", "--format", "json").stdout)
        return found

    def command(self, arguments: tuple[str, ...], state: Path | None = None) -> list[str]:
        return [str(PROGRAM), "-reg", self.url, "-c", "None", "--state-dir", str(state or self.state), *arguments]

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL"))}


def _limit(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def on_terminal(program: Program, answer: str, *arguments: str) -> tuple[int, str]:
    """Run on a new terminal and type `answer` at the question; return the exit code and the whole output."""
    environment = {**program.environment(), "TERM": "xterm", "COLUMNS": "100"}
    return run_on_terminal(program.command(arguments), program.folder, environment, answer)


def run_on_terminal(
    command: list[str],
    folder: Path,
    environment: Mapping[str, str],
    answer: str,
    *,
    questions: tuple[bytes, ...] = (b"[y/N]", b":"),
) -> tuple[int, str]:
    """Run any command on a new terminal; `answer` is typed at its first question, which has one of these endings."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        command, cwd=folder, env=dict(environment), stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        shown = b""
        asked = False
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:  # on Linux this means that the other side is closed
                break
            if not part:
                break
            shown += part
            if not asked and shown.rstrip(b" ").endswith(questions) and b"\n" in shown:
                os.write(leader, answer.encode() + b"\n")
                asked = True
        process.wait(60)
    os.close(leader)
    return process.returncode, shown.decode().replace("\r\n", "\n")
