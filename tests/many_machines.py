"""One registry, one store in PostgreSQL, and processes of the program on several machines: what reached the registry,
and what the store says of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pytest

from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from dregutil.store.migrations import migrate
from images import Pusher
from program import Program
from servers import TOOLS, DistributionServer
from servers.holding import Arrival, HoldingProxy
from servers.postgres import Postgres

LEASE = 3.0  # seconds
TIMEOUT = 0.25  # seconds without an answer; for a DELETE 20 times that
LIMIT = 20 * TIMEOUT
REPOSITORIES = tuple(f"team/app{number}" for number in range(8))
_PATIENCE = 60.0

# Stops itself, as a machine that is paused would, when everything is ready to send its DELETE number N.
_STOPS_BEFORE_SENDING = """
import os, signal
import aiohttp

found, number = aiohttp.TCPConnector.connect, 0

async def connect(self, request, *others, **named):
    global number
    connection = await found(self, request, *others, **named)
    number += request.method == "DELETE"
    if request.method == "DELETE" and number == int(os.environ["STOPS_AT"]):
        os.kill(os.getpid(), signal.SIGSTOP)
    return connection

aiohttp.TCPConnector.connect = connect
"""

_AUDIT = """
CREATE TABLE audit (
    id BIGSERIAL PRIMARY KEY, at DOUBLE PRECISION NOT NULL, name TEXT NOT NULL, fence BIGINT NOT NULL,
    holder TEXT NOT NULL, until DOUBLE PRECISION NOT NULL
);
CREATE FUNCTION note_lease() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO audit (at, name, fence, holder, until)
    VALUES (extract(epoch FROM clock_timestamp()), NEW.name, NEW.fence, NEW.holder, NEW.until);
    RETURN NEW;
END $$;
CREATE TRIGGER noted AFTER INSERT OR UPDATE ON repository FOR EACH ROW EXECUTE FUNCTION note_lease();
"""
_AUDIT_SQLITE = """
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, name TEXT NOT NULL, fence INTEGER NOT NULL, holder TEXT NOT NULL,
    until REAL NOT NULL
);
CREATE TRIGGER noted AFTER UPDATE ON repository FOR EACH ROW BEGIN
    INSERT INTO audit (at, name, fence, holder, until)
    VALUES ((julianday('now') - 2440587.5) * 86400.0, NEW.name, NEW.fence, NEW.holder, NEW.until);
END;
CREATE TRIGGER noted_new AFTER INSERT ON repository FOR EACH ROW BEGIN
    INSERT INTO audit (at, name, fence, holder, until)
    VALUES ((julianday('now') - 2440587.5) * 86400.0, NEW.name, NEW.fence, NEW.holder, NEW.until);
END;
"""
_INTENTS = (
    "SELECT repository, fence, at, body, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8"
    " FROM dregutil.line WHERE kind = 'intent'"
)


# The program with what it needs imported, which waits for its last arguments: a join takes no second then.
_READY = """
import json, sys
import aiohttp, psycopg
import dregutil.session.session, dregutil.store.postgres, dregutil.apply.recorded, dregutil.cli.commands.apply
from dregutil.cli import run
print("ready", flush=True)
sys.exit(run([*sys.argv[1:], *json.loads(sys.stdin.readline())]))
"""


@dataclass(frozen=True)
class Machine(Program):
    """`store`: the URL by which this machine reaches it; `extra`: more variables; `timeout`: its `--timeout`, in
    seconds."""

    store: str = ""
    extra: dict[str, str] = field(default_factory=dict)
    timeout: float = TIMEOUT

    def ready(self) -> subprocess.Popen[str]:
        """The program, started: it goes on with the arguments that are written to it as JSON."""
        command = [sys.executable, "-c", _READY, *self.command(())[1:]]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, arguments: tuple[str, ...], state: Path | None = None) -> list[str]:
        options = ("--store", self.store, "--timeout", str(self.timeout), "--concurrency", "4")
        return super().command((*options, *arguments), state)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DREGUTIL_LEASE": str(LEASE), **self.extra}


@dataclass(frozen=True)
class Held:
    """What the store's rows said at one moment of a repository's lease."""

    at: float
    fence: int
    holder: str
    until: float


class Cluster:
    """`folder` is for the state folders of the machines. The registry is reached through `proxy`."""

    def __init__(
        self, postgres: Postgres, registry: DistributionServer, folder: Path, *, names: tuple[str, ...] = REPOSITORIES
    ) -> None:
        self.postgres = postgres
        self.store = postgres.new_database()
        self.database = self.store.rpartition("/")[2]
        self._set_up(registry, folder, names)

    def _set_up(self, registry: DistributionServer, folder: Path, names: tuple[str, ...]) -> None:
        self.folder = folder
        self.names = names
        self.proxy = HoldingProxy(registry.port)
        self.pusher = Pusher(registry.url)
        self.registry = registry
        self.first = ""  # the first process, as a holder of leases
        self._started: list[subprocess.Popen[str]] = []
        database = open_database(StoreAddress.parse(self.store))
        migrate(database)
        database.close()
        self._note_leases()
        self._push()
        self.before = self.digests()
        self.stays = {name: {tag for tag in self.before[name][0] if tag.startswith("2")} for name in names}
        going = sum(len(tags) for tags, _ in self.before.values()) - sum(map(len, self.stays.values()))
        self.remove = ("remove-tags", "-r", *names, "-t", "<2", "-y", "--yes-remove", str(going))

    def _note_leases(self) -> None:
        self.rows("SET search_path = dregutil; " + _AUDIT)

    def _push(self) -> None:
        """In each repository: what is to go shares layers and children with what is to stay."""
        for name in self.names:
            layer = f"base of {name}".encode()
            shared = self.pusher.push_image(name, seed=f"{name} shared", layers=[layer])
            own = self.pusher.push_image(name, seed=f"{name} own", layers=[layer, b"more"])
            self.pusher.push_index(name, "1.0", children=[shared, own])
            self.pusher.push_index(name, "2.0", children=[shared])
            for number in (1, 2, 3):
                self.pusher.push_image(name, f"1.{number}", seed=f"{name} 1.{number}", layers=[layer])
            self.pusher.push_image(name, "2.1", seed=f"{name} 2.1", layers=[layer])

    def digests(self) -> dict[str, tuple[dict[str, str], frozenset[str]]]:
        """The tags and the manifests of every repository, from the registry's own storage."""
        found = {}
        for name in self.names:
            revisions = self.registry.storage / "docker/registry/v2/repositories" / name / "_manifests/revisions"
            links = revisions.glob("sha256/*/link")
            found[name] = (self.pusher.tags(name), frozenset(f"sha256:{link.parent.name}" for link in links))
        return found

    def __enter__(self) -> Self:
        self.proxy.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self.proxy.let_go()
        self.proxy.stop()
        self.pusher.close()

    # Machines

    def machine(self, name: str, *, port: int | None = None, **extra: str) -> Machine:
        """A machine with a state folder of its own; `port`: by which it reaches the database."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Machine(self.proxy.url, folder, self._url(port), extra)

    def _url(self, port: int | None) -> str:
        return self.postgres.url_of(self.database, port=port)

    def machine_that_stops(self, name: str, number: int) -> Machine:
        """One that stops itself just before it sends its DELETE of this number, from 1."""
        folder = self.folder / f"{name} hooks"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_STOPS_BEFORE_SENDING)
        return self.machine(name, PYTHONPATH=str(folder), STOPS_AT=str(number))

    def machine_with_clock(self, name: str, minutes: int) -> Machine:
        """One whose time of day is so many minutes off; its monotonic clock is right."""
        return self.machine(name, LD_PRELOAD=_faketime(), FAKETIME=f"{minutes:+d}m", FAKETIME_DONT_FAKE_MONOTONIC="1")

    def begun(self, first: Machine, second: Machine) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
        """Two processes carry out the run. Each holds repositories, and its first DELETEs there are held back."""
        one, two = self.ready(first), self.ready(second)
        assert two.stdout is not None
        assert two.stdout.readline() == "ready\n"
        go_on(one, *self.remove)
        self._until_held(one)
        self.first = self.holders()[self.proxy.held[0].repository]
        go_on(two, "apply", "--resume", self.run, "-y")
        self._until_held(two)
        return one, two

    def ready(self, machine: Machine) -> subprocess.Popen[str]:
        self._started.append(machine.ready())
        return self._started[-1]

    def _until_held(self, process: subprocess.Popen[str]) -> None:
        """Wait until a DELETE is held of a process that goes on, and that is not the first one."""
        end = time.monotonic() + _PATIENCE
        while True:
            holders = self.holders()
            if any(holders[one.repository] != self.first for one in self.proxy.held):
                return
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, (self.proxy.held, len(self.proxy.arrived))
            time.sleep(0.02)

    def finish(self, machine: Machine) -> None:
        """Resume the run until it is finished."""
        end = time.monotonic() + 4 * _PATIENCE
        while True:
            found = machine.run("apply", "--resume", self.run, "-y")
            if self.is_finished:
                return
            assert time.monotonic() < end, f"{found.returncode}\n{found.stdout}\n{found.stderr}"

    def undo(self, machine: Machine) -> None:
        """Undo the run, once it is allowed to. Nobody waits for what may be left of this one: it has time for each
        answer, also where the machine is busy."""
        end = time.monotonic() + _PATIENCE
        patient = replace(machine, timeout=_PATIENCE)
        while (found := patient.run("undo", self.run, "-y")).returncode:
            refused = "may still be changing" in found.stderr or "another run is at work" in found.stderr
            assert refused, found.stdout + found.stderr
            assert time.monotonic() < end, found.stderr
            time.sleep(0.2)

    # What the store says

    def rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        with self.postgres.connect(self.database) as connection:
            cursor = connection.execute(sql.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @property
    def run(self) -> str:
        return str(self.rows("SELECT name FROM dregutil.run WHERE undoes = '' ORDER BY number")[0][0])

    @property
    def is_finished(self) -> bool:
        return not self.rows("SELECT 1 FROM dregutil.run WHERE undoes = '' AND NOT finished")

    def lines(self) -> int:
        return int(self.rows("SELECT count(*) FROM dregutil.line")[0][0])

    def held_by(self, holder: str) -> set[str]:
        """The repositories that a process holds now, or held when it ended."""
        return {name for name, found in self.holders().items() if found == holder}

    def holders(self) -> dict[str, str]:
        """Who holds which repository now."""
        return dict(self.rows("SELECT name, holder FROM dregutil.repository WHERE holder <> '' ORDER BY name"))

    def intents(self) -> dict[str, list[tuple[int, float, bytes, float]]]:
        """The intents of each repository: the fence, when it was recorded, the line, and when it was committed."""
        found: dict[str, list[tuple[int, float, bytes, float]]] = defaultdict(list)
        for name, fence, at, body, committed in self.rows(_INTENTS):
            found[name].append((fence, at, bytes(body), committed))
        return found

    def leases(self) -> dict[str, list[Held]]:
        """Every change of each repository's lease, in order."""
        found: dict[str, list[Held]] = defaultdict(list)
        for name, *held in self.rows("SELECT name, at, fence, holder, until FROM dregutil.audit ORDER BY id"):
            found[name].append(Held(*held))
        return found


class SmallCluster(Cluster):
    """Many repositories with two tags that go and one that stays, which share a layer."""

    def _push(self) -> None:
        first, *others = self.names
        for tag in ("1.0", "1.1", "2.0"):
            self.pusher.push_image(first, tag, seed=tag, layers=[b"base"])
        folder = self.registry.storage / "docker/registry/v2/repositories"
        for name in others:
            shutil.copytree(folder / first, folder / name)


class SqliteCluster(Cluster):
    """The store is a file that all processes open."""

    def __init__(self, registry: DistributionServer, folder: Path) -> None:
        self.path = folder / "store" / "store.sqlite"
        self.store = f"sqlite://{self.path}"
        self._set_up(registry, folder, REPOSITORIES)

    def _note_leases(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(_AUDIT_SQLITE)

    def _url(self, port: int | None) -> str:
        assert port is None
        return self.store

    def rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(":memory:", timeout=10)) as connection:
            connection.execute("ATTACH :path AS dregutil", {"path": str(self.path)})
            return connection.execute(sql, values).fetchall()

    def intents(self) -> dict[str, list[tuple[int, float, bytes, float]]]:
        found: dict[str, list[tuple[int, float, bytes, float]]] = defaultdict(list)
        for name, fence, at, body in self.rows(
            "SELECT repository, fence, at, body FROM dregutil.line WHERE kind = 'intent'"
        ):
            found[name].append((fence, at, bytes(body), at))  # the commit follows at once, and is not noted
        return found


def _faketime() -> str:
    for folder in (TOOLS / "usr/lib", Path("/usr/lib")):
        for found in folder.glob("*/faketime/libfaketime.so.1"):
            return str(found)
    pytest.skip("libfaketime is not installed: ./test brings it")


def is_stopped(process: subprocess.Popen[str]) -> bool:
    """Whether a process was stopped by SIGSTOP. Raises AssertionError if it has ended."""
    assert process.poll() is None, process.communicate()
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def go_on(process: subprocess.Popen[str], *arguments: str) -> None:
    """Give a process that is ready its arguments."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(arguments) + "\n")
    process.stdin.close()
    process.stdin = None


def wait_for(what: Callable[[], bool], seconds: float = _PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def ended(process: subprocess.Popen[str], seconds: float = _PATIENCE) -> tuple[int, str]:
    """Wait for a process; its status, and what it said."""
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out + err


# What must hold after each fault


def check(cluster: Cluster, resumed_by: Machine, undone_by: Machine) -> None:
    """All that must hold after a fault; the run is finished by one more machine, and undone by another."""
    check_nothing_else_went(cluster)
    cluster.finish(resumed_by)
    check_nothing_else_went(cluster)
    for name in cluster.names:
        assert set(cluster.pusher.tags(name)) == cluster.stays[name], f"the run is not whole in {name}"
    check_undo(cluster, undone_by)


def check_undo(cluster: Cluster, undone_by: Machine) -> None:
    """All that must hold of a run that is undone, finished or not."""
    cluster.undo(undone_by)
    check_nothing_else_went(cluster)
    for name, found in cluster.digests().items():
        assert found == cluster.before[name], f"the undo left {name} otherwise than it was"
    check_leases(cluster.leases())
    check_deletions(cluster)


def check_wait(cluster: Cluster, names: set[str], holder: str) -> None:
    """Whoever took over what `holder` had wrote there only when nothing of it could be on its way any more."""
    for name in names:
        rows = cluster.leases()[name]
        last = max(row.until for row in rows if row.holder == holder)
        claimed = next(row for row in rows if row.fence == 2)
        writes = [one.at for one in cluster.proxy.writes() if one.repository == name and one.at > claimed.at]
        assert all(at >= last + LIMIT for at in writes), f"{name}: {min(writes) - last} s after the lease"


def check_nothing_else_went(cluster: Cluster) -> None:
    """Every tag that was to stay is where it was, with all that belongs to it."""
    for name, stays in cluster.stays.items():
        there = cluster.pusher.tags(name)
        for tag in stays:
            assert there.get(tag) == cluster.before[name][0][tag], f"{name}:{tag}"
            assert cluster.pusher.is_whole(name, tag), f"{name}:{tag} is incomplete"


def check_leases(leases: dict[str, list[Held]]) -> None:
    """The fence of a repository never goes down, and nobody claims it before the lease of the one before is over."""
    for name, rows in leases.items():
        for before, after in pairwise(rows):
            assert after.fence >= before.fence, f"{name}: {before}, {after}"
            if after.fence > before.fence:
                assert before.until <= after.at, f"{name}: {before}, {after}"
            else:
                assert after.holder in (before.holder, ""), f"{name}: {before}, {after}"


def check_deletions(cluster: Cluster) -> None:
    """Every DELETE that reached the registry was recorded before, under the newest fence, while its lease was live."""
    intents = cluster.intents()
    leases = cluster.leases()
    for name, found in intents.items():
        for fence, at, _, _ in found:
            held = _held(leases[name], at)
            assert held.fence == fence, f"an intent of {name} under {fence} at {at}: {held}"
            assert held.until > at, f"an intent of {name} under {fence} at {at}: {held}"
    deletions = [one for one in cluster.proxy.writes() if one.method == "DELETE" and _is_real(one, cluster)]
    assert deletions
    for one in deletions:
        held = _held(leases[one.repository], one.at)
        assert held.until > one.at, f"{one}: the lease was over, {held}"
        recorded = [
            committed
            for fence, _, body, committed in intents[one.repository]
            if fence == held.fence and one.reference.encode() in body
        ]
        assert any(committed < one.at for committed in recorded), f"{one} has no intent: {recorded}"


def _held(rows: Sequence[Held], at: float) -> Held:
    return [row for row in rows if row.at <= at][-1]


def _is_real(one: Arrival, cluster: Cluster) -> bool:
    return one.was_there or one.reference in cluster.before[one.repository][1]
