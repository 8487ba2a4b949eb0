"""A registry with a removal in its past, and the command that collects its garbage."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from images import Pusher
from program import Program
from servers import DistributionServer, find_program
from servers.real import KINDS

__all__ = ["Stage", "made", "wait_for"]


class Stage:
    """A registry with a removal in its past, stopped; and the command that collects its garbage."""

    def __init__(self, server: DistributionServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.program = Program(server.url, folder)
        self.removal = ""
        self._reserved: socket.socket | None = None

    def close(self) -> None:
        if self._reserved is not None:
            self._reserved.close()

    @contextmanager
    def running(self) -> Iterator[Pusher]:
        """While it does not run, nobody else gets its port."""
        self.close()
        with self.server, Pusher(self.server.url) as pusher:
            yield pusher
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", self.server.port))

    @property
    def command(self) -> list[str]:
        return [find_program(*self.server.program), "garbage-collect", str(self.server.configuration)]

    def fill(self) -> None:
        with self.running() as pusher:
            children = [pusher.push_image("shop/web", seed=f"child {number}") for number in range(2)]
            pusher.push_index("shop/web", "multi", children=children)
            for tag in ("1.0", "1.1", "1.2"):
                pusher.push_image("shop/web", tag, seed=tag, layers=2)
            pusher.push_image("shop/api", "1.0", seed="1.2", layers=2)  # the blobs of shop/web:1.2
            removed = self.program.run(
                "remove-tags", "-r", "shop/web", "-t", "1.0", "1.2", "-y", "--ignore-other-repos"
            )
            assert removed.returncode == 0, removed.stderr
        (record,) = self.program.runs
        self.removal = record.name

    def collect(self, *options: str, command: list[str] | None = None) -> subprocess.CompletedProcess[str]:
        given = self.command if command is None else command
        return self.program.run("collect", "--storage", str(self.server.storage), *options, "--", *given)

    def object(self, *options: str, command: list[str] | None = None, code: int = 0) -> dict[str, Any]:
        done = self.collect("--format", "json", *options, command=command)
        assert done.returncode == code, done.stderr
        (found,) = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    def start(self, *options: str, command: list[str]) -> subprocess.Popen[str]:
        words = ("collect", "-y", "--keep-undo", "0d", "--storage", str(self.server.storage))
        return self.program.start(*words, *options, "--", *command)

    def blobs(self) -> dict[str, int]:
        root = self.server.storage / "docker" / "registry" / "v2" / "blobs"
        return {f"sha256:{path.parent.name}": path.stat().st_size for path in root.glob("*/*/*/data")}

    def script(self, body: str) -> list[str]:
        """A command that runs `body`, with the words after it as `"$@"`: the registry's program first."""
        path = self.folder / "collector"
        path.write_text(f'#!/bin/sh\nset -e\ncase "$1" in --version) exit 1;; esac\nset -- {self._own} "$@"\n{body}\n')
        path.chmod(0o755)
        return [str(path), *self.command[1:]]

    def place(self, digest: str) -> Path:
        """The folder of a blob."""
        name = digest.removeprefix("sha256:")
        return self.server.storage / "docker/registry/v2/blobs/sha256" / name[:2] / name

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of collections, oldest first."""
        return [json.loads(path.read_text()) for path in sorted((self.program.state / "collections").glob("*.json"))]

    @property
    def _own(self) -> str:
        return shlex.quote(self.command[0])

    def pull(self, image: str) -> None:
        """Everything of an image can be read."""
        repository, _, tag = image.partition(":")
        with self.running() as pusher:
            _pull(pusher, repository, tag)


def _pull(pusher: Pusher, repository: str, reference: str) -> None:
    manifest = json.loads(pusher.raw(repository, reference))
    for child in manifest.get("manifests", ()):
        _pull(pusher, repository, child["digest"])
    for blob in (*manifest.get("layers", ()), *filter(None, [manifest.get("config")])):
        status, _, raw = pusher.request("GET", f"/v2/{repository}/blobs/{blob['digest']}")
        assert status == 200
        assert len(raw) == blob["size"]


@contextmanager
def made(kind: str, folder: Path) -> Iterator[Stage]:
    server = KINDS[kind].start(folder / "registry")
    assert isinstance(server, DistributionServer)
    found = Stage(server, folder)
    found.fill()
    yield found
    found.close()


def wait_for(path: Path) -> None:
    """Until a file is there; at most 30 seconds."""
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.05)
