"""A real PostgreSQL: Debian's, with a folder of its own, on a free port, ended by its process id.

It refuses to run as root: there it runs as the user `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg

from servers import TOOLS, find_program, free_port

_NOBODY = 65534
_LONGEST_START = 30.0
_SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_buffers = 64MB
max_connections = 100
fsync = off  # a test kills processes, never the machine: what was committed is in the system's cache
full_page_writes = off
jit = off
logging_collector = off
log_statement = 'none'
track_commit_timestamp = on
"""


class Postgres:
    """A server with one superuser, `postgres`, whose password is `password`; `url` names no password."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dregutil-postgres-"))
        self.port = free_port()
        self.password = "open-sesame-PG"
        self._process: subprocess.Popen[bytes] | None = None
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self.folder.chmod(0o755)
            os.chown(self.folder, _NOBODY, _NOBODY)
            self._user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        self._programs = _programs(self.folder, for_nobody=bool(self._user))
        secret = self.folder / "secret"
        secret.write_text(self.password)
        if self._user:
            os.chown(secret, _NOBODY, _NOBODY)
        made = self._run(
            "initdb",
            "-D",
            "data",
            "-U",
            "postgres",
            "--pwfile=secret",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stdout.decode(errors='replace')}")
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(_SETTINGS)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env=_environment(),
            **self._user,
        )

    def program(self, name: str) -> str:
        """The path of a program of this version, such as `pg_dump`."""
        return str(self._programs / name)

    def require_tls(self, certificate: bytes, key: bytes) -> None:
        """From the next start on, nobody connects without TLS."""
        data = self.folder / "data"
        for name, raw in (("server.crt", certificate), ("server.key", key)):
            (data / name).write_bytes(raw)
            (data / name).chmod(0o600)
            if self._user:
                os.chown(data / name, _NOBODY, _NOBODY)
        with (data / "postgresql.conf").open("a") as file:
            file.write("ssl = on\n")
        (data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def url_of(self, database: str, *, user: str = "postgres", port: int | None = None) -> str:
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", "data", "-p", str(self.port)],
            cwd=self.folder,
            stdout=log,
            stderr=log,
            env=_environment(),
            **self._user,
        )
        log.close()
        end = time.monotonic() + _LONGEST_START
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:]) from None
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT ends all sessions, SIGQUIT as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(self.url_of(database), password=self.password, autocommit=True, connect_timeout=5)

    def new_database(self) -> str:
        """A new, empty database; returns its URL, without the password."""
        with self.connect() as connection:
            name = f"d{time.monotonic_ns()}"
            connection.execute(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.stop(signal.SIGQUIT)  # nothing of it is kept
        shutil.rmtree(self.folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _programs(folder: Path, *, for_nobody: bool) -> Path:
    """The folder of PostgreSQL's programs. Where `nobody` may not go there, it is copied."""
    found = _folder()
    if not for_nobody or all(part.stat().st_mode & 0o001 for part in (found, *found.parents)):
        return found
    root = found.parents[3]  # PREFIX/lib/postgresql/15/bin; it looks for PREFIX/share relative to itself
    for part in (found.parent.relative_to(root), Path("share/postgresql") / found.parent.name):
        shutil.copytree(root / part, folder / "usr" / part, symlinks=True)
    return folder / "usr" / found.relative_to(root)


def _folder() -> Path:
    for place in (TOOLS / "usr/lib/postgresql", Path("/usr/lib/postgresql")):
        for version in sorted(place.glob("*/bin/initdb"), reverse=True):
            return version.resolve().parent
    return Path(find_program("initdb")).resolve().parent
