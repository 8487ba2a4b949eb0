"""A registry that wants a login, and a folder to run commands in, with a configuration file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dregutil.cli import run
from servers.http import Answer, Request
from servers.memory import MemoryServer

USER, PASSWORD = "robot", "correct horse"
ASKING = """#!/bin/sh
echo asked >>asked
echo "for $1" >&2
echo "correct horse"
echo "second line"
"""


class Guarded(MemoryServer):
    """Wants HTTP Basic with one user and password, once it is `closed`. `seen` holds the Authorization headers."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.seen: list[str] = []

    def answer(self, request: Request) -> Answer:
        sent = request.headers.get("authorization", "")
        if sent:
            self.seen.append(sent)
        if self.closed and sent != "Basic cm9ib3Q6Y29ycmVjdCBob3JzZQ==":
            return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
        return super().answer(request)


@dataclass
class Ran:
    code: int
    out: str
    err: str


class Machine:
    """Runs commands in an empty folder, with a configuration file."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = home / "config" / "dregutil"
        self.file = self.folder / "config.toml"
        self.here = home / "here"
        self.here.mkdir()
        self.folder.mkdir(parents=True)
        self._capsys = capsys

    def write(self, text: str) -> None:
        self.file.write_text(text)
        self.file.chmod(0o644)

    def program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o700)

    def run(self, *arguments: str) -> Ran:
        code = run(arguments)
        out, err = self._capsys.readouterr()
        return Ran(code, out, err)

    def shown(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """`config show`, by key."""
        found = self.run(*arguments, "config", "show", "--format", "json")
        assert found.code == 0, found.err
        return {row["key"]: row for row in json.loads(found.out)}


def prod(address: str, *lines: str, top: str = 'default = "prod"') -> str:
    return "\n".join((top, "[registries.prod]", f'address = "{address}"', *lines, ""))


def asked(machine: Machine) -> int:
    """How often ASKING was run."""
    file = machine.folder / "asked"
    return len(file.read_text().splitlines()) if file.exists() else 0
