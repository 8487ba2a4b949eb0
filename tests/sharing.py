"""A machine whose commands run in this process, with a store that its environment names."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path

import pytest

from dregutil.cli import run
from dregutil.store.database import Database
from program import Program

__all__ = ["Machine", "Ran", "backed_up"]

POLICY = "version: 1\npolicies:\n  - {name: web, repositories: ['shop/*'], keep: {last: 2}, min_age: 0s}\n"


def backed_up(database: Database, *tables: str) -> Callable[[], None]:
    """What brings tables of a store back to what they are now, as an older backup does."""
    with database.transaction() as transaction:
        kept = {name: transaction.rows(f"SELECT * FROM {name}") for name in tables}

    def restore() -> None:
        with database.transaction() as transaction:
            for name, rows in kept.items():
                transaction.execute(f"DELETE FROM {name}")
                for row in rows:
                    values = {f"c{chr(97 + number)}": value for number, value in enumerate(row)}
                    marks = ", ".join(f":{one}" for one in values)
                    transaction.execute(f"INSERT INTO {name} VALUES ({marks})", values)

    return restore


@dataclass(frozen=True)
class Ran:
    returncode: int
    stdout: str
    stderr: str


class Machine:
    """A machine with a state folder of its own, that knows the store by its environment."""

    def __init__(self, url: str, folder: Path, environment: Mapping[str, str]) -> None:
        folder.mkdir()
        (folder / "policy.yml").write_text(POLICY)
        self.program = Program(url, folder)
        self._more = environment

    def run(self, *arguments: str, **environment: str) -> Ran:
        """Run a command in this process: a process of its own for each takes seconds."""
        out, errors = (TextIOWrapper(BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        line = ["-reg", self.program.url, "--state-dir", str(self.program.state), *arguments]
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
            for name in {*os.environ} - {*self.program.environment()}:
                patch.delenv(name)
            for name, value in {**self._more, **environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", StringIO())
            patch.chdir(self.program.folder)
            try:
                code = run(line)
            finally:
                for handler in logging.getLogger().handlers[:]:  # of -l debug
                    if getattr(handler, "stream", None) is errors:
                        logging.getLogger().removeHandler(handler)
        return Ran(code, *(stream.buffer.getvalue().decode() for stream in (out, errors)))

    def does(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    @property
    def local(self) -> set[str]:
        """What is in the state folder besides the mirrors of stores."""
        return (
            {path.name for path in self.program.state.iterdir()} - {"stores"} if self.program.state.exists() else set()
        )
