"""Worker processes for the tests: the real program, with a configuration, a store and a registry."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from servers.http import Answer, Proxy, Request

EVERY_SECOND = """
[schedule.often]
run = "refresh"
cron = "* * * * * *"
args = ["--quiet"]
"""
PROGRAM = (sys.executable, "-m", "dregutil")
_PATIENCE = 40.0
_READY = re.compile(r"(http://\S+/)healthz")


def wait_until(what: Callable[[], object], patience: float = _PATIENCE) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


class SlowRegistry(Proxy):
    """A registry where the DELETE of one of `images` takes `seconds`; `deleted` are those, in order."""

    seconds = 0.4

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream, before=self._wait)
        self.images: set[str] = set()
        self.deleted: list[str] = []

    def _wait(self, request: Request) -> Answer | None:
        if request.method == "DELETE" and request.reference in self.images:
            self.deleted.append(request.target)
            time.sleep(self.seconds)
        return None


class Team:
    """A store and a registry that several machines use; `folder` has a state folder and a configuration of each."""

    def __init__(self, folder: Path, store: str, registry: str, *, lease: float = 3.0) -> None:
        self.folder = folder
        self.store = store
        self.registry = registry
        self.lease = lease
        self.schedules = ""
        self.timeout = 30.0  # a new holder waits 20 times as long for what a dead one may still have sent
        self._workers: list[WorkerProcess] = []

    def environment(self, **more: str) -> dict[str, str]:
        left = {key: value for key, value in os.environ.items() if not key.startswith(("DREGUTIL_STORE", "REGISTRY"))}
        own = {"DREGUTIL_STORE": self.store, "DREGUTIL_LEASE": f"{self.lease}", "PYTHONUNBUFFERED": "1"}
        return {**left, **own, **more}

    def configured(self, machine: str) -> Path:
        folder = self.folder / machine
        folder.mkdir(exist_ok=True)
        path = folder / "config.toml"
        path.write_text(
            f'default = "prod"\n[registries.prod]\naddress = "{self.registry}"\ncache = false\ninsecure = true\n'
            f"concurrency = 2\ntimeout = {self.timeout}\n" + self.schedules
        )
        return path

    def argv(self, machine: str, *words: str) -> list[str]:
        path = self.configured(machine)
        return [*PROGRAM, f"--config={path}", f"--state-dir={path.parent / 'state'}", *words]

    def run(self, machine: str, *words: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """A command on a machine."""
        done = subprocess.run(
            self.argv(machine, *words), env=self.environment(**more), capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        return done

    def plan(self, machine: str, *words: str) -> str:
        """Put a plan into the store that waits for approval; its sum. `words` are the command that makes it."""
        done = self.run(machine, *words, "--approve", "--format=json", DREGUTIL_ACTOR=f"{machine}@laptop")
        (found,) = json.loads(done.stdout)
        assert found["state"] == "waiting"
        return str(found["sum"])

    def plan_of(self, sum_: str) -> dict[str, Any]:
        """What the store says of a plan."""
        listed = json.loads(self.run("cy", "plans", "--all", "--format=json").stdout)
        return next(one for one in listed if one["sum"] == sum_)

    def worker(self, machine: str, *words: str) -> WorkerProcess:
        found = WorkerProcess(self, machine, words)
        self._workers.append(found)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()


class WorkerProcess:
    """A worker. `said` is what it has written so far."""

    def __init__(self, team: Team, machine: str, words: Sequence[str]) -> None:
        self._log = team.folder / machine / "work.log"
        argv = team.argv(machine, "work", "--addr=127.0.0.1:0", *words)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                argv, env=team.environment(DREGUTIL_ACTOR=f"worker@{machine}"), stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until(lambda: _READY.search(self.said) or self.process.poll() is not None)
        found = _READY.search(self.said)
        assert found is not None, self.said
        self.address = found[1]

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, patience: float = 30.0) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(patience)

    def end(self) -> None:
        """End it at once, and the processes of its jobs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)

    def get(self, path: str) -> tuple[int, str]:
        """The status and the text of `healthz` or `metrics`."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
