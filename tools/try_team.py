"""`./try --team`: a team's cleanup on real processes: PostgreSQL, a registry, two workers. One worker is killed in the
middle of an approved run, the other one ends it, and a third machine undoes it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from demo import fill_teams, write_policy

from images import Pusher
from servers import free_port
from servers.postgres import Postgres

__all__ = ["team"]

PROGRAM = Path(sys.executable).with_name("dregutil")
LEASE = 5  # seconds; of this demonstration
PATIENCE = 240.0
CONFIG = """default = "prod"

[registries.prod]
address = "{url}"
timeout = 1

[schedule.nightly]
cron = "17 2 * * *"
run = "cleanup"
args = ["--policy", "{policy}", "--approve"]
"""


class _Team:
    """Machines that share a store; each has folders of its own."""

    def __init__(self, url: str, store: str, password: str, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.policy = write_policy(folder)
        self.config.write_text(CONFIG.format(url=url, policy=self.policy))
        self._own = {"DREGUTIL_STORE": store, "PGPASSWORD": password, "DREGUTIL_LEASE": str(LEASE)}

    def environment(self, machine: str) -> dict[str, str]:
        own = {"DREGUTIL_STATE_DIR": str(self.folder / machine), "XDG_CACHE_HOME": str(self.folder / machine)}
        actor = {"DREGUTIL_ACTOR": machine, "DREGUTIL_CONFIG": str(self.config)}
        kept = {name: value for name, value in os.environ.items() if name != "REGISTRY"}
        return {**kept, **self._own, **own, **actor}

    def run(self, machine: str, *arguments: str) -> int:
        """Run and show a command of a machine."""
        print(f"\n{machine} $ dregutil {' '.join(arguments)}", flush=True)
        return subprocess.run(
            [str(PROGRAM), *arguments], cwd=self.folder, env=self.environment(machine), check=False
        ).returncode

    def asked(self, *arguments: str) -> Any:
        """The JSON of a command."""
        done = subprocess.run(
            [str(PROGRAM), *arguments, "--format", "json"],
            cwd=self.folder,
            env=self.environment("laptop"),
            capture_output=True,
            check=False,
        )
        return json.loads(done.stdout or b"[]")

    @contextmanager
    def worker(self, machine: str) -> Iterator[subprocess.Popen[bytes]]:
        print(f"\n{machine} $ dregutil work", flush=True)
        worker = subprocess.Popen(
            [str(PROGRAM), "work", "--addr", f"127.0.0.1:{free_port()}"],
            cwd=self.folder,
            env=self.environment(machine),
        )
        try:
            yield worker
        finally:
            worker.terminate()
            worker.wait()


def team(url: str, folder: Path, pusher: Pusher) -> bool:
    """Show it; returns whether everything was as it must be."""
    try:
        server = Postgres()
    except FileNotFoundError:
        sys.exit("no PostgreSQL to try it on: install Debian's package postgresql, or run ./test once")
    print(f"== pushing {fill_teams(pusher):,} tags to a temporary registry", flush=True)
    before = _registry(pusher)
    with server:
        shared = _Team(url, server.new_database(), server.password, folder)
        codes = [
            shared.run("laptop", "store", "migrate"),
            shared.run("planner@example.com", "cleanup", "--policy", str(shared.policy), "--approve"),
        ]
        plan = shared.asked("plans")[0]["sum"]
        codes += [
            shared.run("olga@example.com", "plans", "approve", plan[7:19]),
            shared.run("laptop", "work", "pace", "12"),  # else it would be over before anybody is killed
        ]
        is_whole = _with_workers(shared, pusher, before)
        codes.append(shared.run("laptop", "history"))
        codes.append(shared.run("another-laptop", "undo", "-y"))
        is_back = _registry(pusher) == before and _are_whole(pusher)
        print("\n== undone from another machine: everything is back" if is_back else "\n== NOT everything is back")
    return not any(codes) and is_whole and is_back


def _with_workers(shared: _Team, pusher: Pusher, before: dict[str, dict[str, str]]) -> bool:
    """Two workers carry out what was approved; the one that began it is killed in the middle."""
    with ExitStack() as stack:
        first = stack.enter_context(shared.worker("node-1"))
        _until(lambda: _count(_registry(pusher)) < _count(before) - 3)
        stack.enter_context(shared.worker("node-2"))
        _kill(first)
        gone = _count(before) - _count(_registry(pusher))
        print(f"\n== node-1 and its run were killed after {gone} tags; node-2 waits until its leases are over")
        shared.run("laptop", "work", "pace", "0")
        _until(lambda: [run["unfinished"] for run in shared.asked("history")] == [False])
    after = _registry(pusher)
    (run,), (plan,) = shared.asked("history"), shared.asked("plans", "--all")
    removed = _count(before) - _count(after)
    is_all, is_whole = removed == run["removed"] == plan["tags"], _are_whole(pusher)
    print(f"\n== node-2 ended the run: {removed} tags removed, {'all' if is_all else 'NOT all'} that were approved")
    print(
        f"== {_count(after)} tags stay, {'all of them complete' if is_whole else 'NOT all of them complete'}",
        flush=True,
    )
    return is_all and is_whole


def _count(registry: dict[str, dict[str, str]]) -> int:
    return sum(map(len, registry.values()))


def _kill(worker: subprocess.Popen[bytes]) -> None:
    """As if its machine had lost its power: the worker and what it started, at once."""
    for process in (*_children(worker.pid), worker.pid):
        os.kill(process, signal.SIGKILL)
    worker.wait()


def _children(process: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            child = int(path.parent.name)
            found += [child, *_children(child)]
    return found


def _registry(pusher: Pusher) -> dict[str, dict[str, str]]:
    """The digest of each tag of each repository."""
    return {name: pusher.tags(name) for name in _names(pusher)}


def _names(pusher: Pusher) -> list[str]:
    _, _, body = pusher.request("GET", "/v2/_catalog?n=1000")
    return list(json.loads(body)["repositories"])


def _are_whole(pusher: Pusher) -> bool:
    return all(pusher.is_whole(name, tag) for name, tags in _registry(pusher).items() for tag in tags)


def _until(is_so: Callable[[], bool]) -> None:
    """Wait on a condition. Exits if it takes too long."""
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end:
            sys.exit("== it took too long: something is wrong")
        time.sleep(0.2)
