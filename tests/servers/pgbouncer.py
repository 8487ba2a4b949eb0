"""A real PgBouncer before a PostgreSQL: Debian's, on a free port, ended by its process id.

It refuses to run as root: there it runs as the user `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg

from servers import find_program, free_port
from servers.postgres import Postgres

_NOBODY = 65534
_LONGEST_START = 20.0


class PgBouncer:
    """`mode` is its pool_mode; `settings` are more lines of its configuration."""

    def __init__(self, postgres: Postgres, mode: str, *settings: str) -> None:
        self._program = find_program("pgbouncer")
        self._postgres = postgres
        self.folder = Path(tempfile.mkdtemp(prefix="dregutil-pgbouncer-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "users").write_text(f'"postgres" "{postgres.password}"\n')
        lines = (
            "[databases]",
            f"* = host=127.0.0.1 port={postgres.port}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {self.folder}/users",
            "admin_users = postgres",
            f"pool_mode = {mode}",
            *settings,
        )
        (self.folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, _NOBODY, _NOBODY)
            copied = self.folder / "pgbouncer"  # where `nobody` may go
            shutil.copy(self._program, copied)
            self._program = str(copied)

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text(errors="replace")

    def url(self, store: str) -> str:
        """The URL of a store, by way of this pooler."""
        return store.replace(f":{self._postgres.port}/", f":{self.port}/")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(self.folder / "pgbouncer.ini")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._user,
            )
        end = time.monotonic() + _LONGEST_START
        while True:
            try:
                self.ask("SHOW VERSION")
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(self.log[-2000:]) from None
                time.sleep(0.05)
            else:
                return

    def ask(self, command: str) -> list[dict[str, Any]]:
        """The rows that a command of its console shows, by their columns."""
        with psycopg.connect(
            f"postgresql://postgres@127.0.0.1:{self.port}/pgbouncer",
            password=self._postgres.password,
            autocommit=True,
            connect_timeout=5,
        ) as connection:
            cursor = psycopg.ClientCursor(connection)
            cursor.execute(command.encode())
            names = [one.name for one in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
