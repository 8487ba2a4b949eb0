"""Real servers for the tests: each is started on a free port and stopped by its own process id."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

BUILT = Path(os.environ.get("DREGUTIL_BUILT", Path(__file__).parents[2] / ".cache" / "go" / "bin"))
TOOLS = Path(os.environ.get("DREGUTIL_TOOLS", Path(__file__).parents[2] / ".cache" / "debian"))
_LONGEST_START = 20.0


def find_program(*names: str) -> str:
    """The path of a server's program: as `./test` built it, on PATH, or where `./test` unpacked Debian's packages."""
    unpacked = (str(TOOLS / part) for part in ("usr/bin", "usr/sbin"))
    folders = os.pathsep.join([str(BUILT), os.environ.get("PATH", ""), "/usr/sbin", *unpacked])
    for name in names:
        if found := shutil.which(name, path=folders):
            return found
    raise FileNotFoundError(f"none of {', '.join(names)} is installed: ./test brings it")


def free_port() -> int:
    """A port on which nothing listens. It is below those that Linux gives to connections (from 32768 on): one of them
    could have it by the time that a server is started there."""
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


class Process:
    """A server process: started, waited for, stopped."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=dict(self.environment()))
        until = time.monotonic() + _LONGEST_START
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.01)
        self.stop()
        raise RuntimeError(f"the server did not start:\n{(self.folder / 'server.log').read_text()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class DistributionServer(Process):
    """Debian's docker-registry (distribution 2.8.2) on a folder."""

    program: tuple[str, ...] = ("docker-registry", "registry")

    def __init__(
        self,
        folder: Path,
        *,
        delete: bool = True,
        readonly: bool = False,
        prefix: str = "",
        http: str = "",
        auth: str = "",
        cache: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`http` and `auth` are additional lines of its configuration (YAML) in these sections; `cache`: its descriptor
        cache in memory, as in Debian's own configuration; `variables` are added to its environment."""
        super().__init__(folder, free_port())
        self.variables = variables or {}
        self.prefix = prefix
        self.storage = folder / "storage"
        self.configuration = folder / "config.yml"
        folder.mkdir(parents=True, exist_ok=True)
        self.scheme = "https" if "tls:" in http else "http"
        self.configuration.write_text(
            f"""version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {self.storage}}}
  delete: {{enabled: {str(delete).lower()}}}
{"  cache: {blobdescriptor: inmemory}" if cache else ""}
  maintenance: {{uploadpurging: {{enabled: false}}, readonly: {{enabled: {str(readonly).lower()}}}}}
http:
  addr: 127.0.0.1:{self.port}
  secret: tests
{f"  prefix: {prefix}/" if prefix else ""}
{http}
{auth}
"""
        )

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.prefix}"

    def command(self) -> list[str]:
        return [find_program(*self.program), "serve", str(self.configuration)]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "OTEL_TRACES_EXPORTER": "none", **self.variables}

    def garbage_collect(self, *options: str) -> str:
        """Run the real collector; the server should not be running."""
        program = find_program(*self.program)
        return subprocess.run(
            [program, "garbage-collect", *options, str(self.configuration)], check=True, capture_output=True, text=True
        ).stdout


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="dregutil-test-"))
