"""What a saved plan removes, tag by tag: read a line at a time into a temporary database, whatever the plan's size."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from dregutil.errors import PlanRefusedError
from dregutil.files import bounded_lines
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.serve.plan_store import examined

__all__ = ["Planned", "read_planned"]

_LONGEST = 8 << 30  # bytes of a plan


class _Policy(msgspec.Struct):
    file: str


class _Header(msgspec.Struct):
    registry: str
    policy: _Policy | None = None


class _Step(msgspec.Struct):
    repository: str
    digest: str
    tags: list[str]
    because: str


class Planned:
    """The tags that a plan removes. `registry` is the identity of the plan's, `policy` the file that it was made from,
    None for a plan without one."""

    def __init__(self, header: _Header, connection: sqlite3.Connection) -> None:
        self.registry = header.registry
        self.policy = None if header.policy is None else Path(header.policy.file)
        self._connection = connection

    def get(
        self, repository: Repository, _default: Mapping[Tag, tuple[Digest, str]], /
    ) -> Mapping[Tag, tuple[Digest, str]]:
        """Those in a repository, each with the digest that it was on, and the reason."""
        query = "SELECT tag, digest, because FROM removed WHERE repository = ?"
        return {
            Tag(tag): (Digest(digest), because)
            for tag, digest, because in self._connection.execute(query, (repository,))
        }


def read_planned(path: Path) -> Planned:
    """Raises PlanRefusedError if the plan cannot be read, or is not whole."""
    examined(path)
    connection = sqlite3.connect("", isolation_level=None)  # SQLite's own temporary file
    connection.execute(
        "CREATE TABLE removed (repository TEXT, tag TEXT, digest TEXT, because TEXT, PRIMARY KEY (repository, tag))"
        " WITHOUT ROWID"
    )
    try:
        with path.open("rb") as file:
            lines = bounded_lines(file, _LONGEST)
            header = msgspec.json.decode(next(lines), type=_Header)
            connection.execute("BEGIN")
            connection.executemany("INSERT OR REPLACE INTO removed VALUES (?, ?, ?, ?)", _removed(lines))
            connection.execute("COMMIT")
    except (OSError, StopIteration, msgspec.MsgspecError, UnicodeError) as error:
        raise PlanRefusedError(f"the plan {path} cannot be read: {error}") from error
    return Planned(header, connection)


def _removed(lines: Iterator[bytes]) -> Iterator[tuple[str, str, str, str]]:
    """A row for each tag of each step; the last line is no step."""
    decode = msgspec.json.Decoder(_Step).decode
    before = next(lines, None)
    for line in lines:
        if before is not None:
            step = decode(before)
            for tag in step.tags:
                yield step.repository, tag, step.digest, step.because
        before = line
