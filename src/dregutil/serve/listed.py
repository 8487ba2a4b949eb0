"""What a command lists from the records, as pages show a part of it: the same objects as in a terminal.

The command runs as a process of its own, so that what it reads does not stay in this one's memory, and writes one
object a line into a file; that is made again once the records have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from dregutil.errors import JournalError
from dregutil.pages.label import label
from dregutil.serve.answers import RequestError
from dregutil.serve.child import Child
from dregutil.serve.program import Program

__all__ = ["Listed", "Part", "page", "shown"]

_READ_CODES = (0, 3)  # 3: a record is damaged, and what can be read is listed
_SECONDS = 2.0  # at least, between two times that a list is made while runs change it
_RESTS = 25.0  # times as long as it took: who looks at a run must not slow it down
_MOST_ROWS = 500  # of one answer
_LONGEST = 1000  # characters of a text; names are whole

_Row = dict[str, Any]
_decode = msgspec.json.Decoder(_Row).decode


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows, and how many there are."""

    total: int
    rows: list[_Row]


class Listed:
    """The list that the command `words` prints. `mark` returns, in a thread, what differs once the list does."""

    def __init__(self, program: Program, words: Sequence[str], folder: Path, mark: Callable[[], object]) -> None:
        self._program = program
        self._words = (*words, "--format", "jsonl", "--quiet")
        self._path = folder / f"list-{secrets.token_hex(8)}"
        self._mark = mark
        self._marked: object = None
        self._next = 0.0  # on the clock of `time.monotonic`
        self._making = asyncio.Lock()

    async def part(
        self,
        offset: int = 0,
        limit: int | None = None,
        *,
        newest_first: bool = False,
        order: Callable[[_Row], Any] | None = None,
        matches: Callable[[_Row], bool] | None = None,
    ) -> Part:
        """The rows from `offset` on that match, at most `limit`. `order` is that of the rows, if not the list's own.
        Raises JournalError if the list cannot be made."""
        async with self._making:
            await self._renew()
            try:
                if order is not None:
                    return await asyncio.to_thread(_in_order, self._path, offset, limit, matches, order, newest_first)
                return await asyncio.to_thread(_part, self._path, offset, limit, matches, newest_first=newest_first)
            except OSError as error:
                self._marked = None
                raise JournalError(f"the records cannot be listed: {error.strerror or error}") from error

    def changed(self) -> None:
        """The records have changed, and who asks next is to see it."""
        self._next = 0.0

    def remove(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def _renew(self) -> None:
        began = time.monotonic()
        if self._marked is not None and began < self._next:
            return
        marked = await asyncio.to_thread(self._mark)
        if marked == self._marked:
            return
        beside = self._path.with_suffix(".new")
        child = Child(self._program.argv(self._words), self._program.environment, beside, lambda *_: None)
        try:
            ended = await child.run()
            if ended.code not in _READ_CODES:
                raise JournalError(ended.message or "the records cannot be listed", advice=ended.advice)
            beside.replace(self._path)
        except OSError as error:
            raise JournalError(f"the records cannot be listed: {error.strerror or error}") from error
        finally:
            child.remove()
        ended_at = time.monotonic()
        self._marked, self._next = marked, ended_at + max(_SECONDS, _RESTS * (ended_at - began))


def shown(value: Any) -> Any:
    """A row with all its texts as a page shows them."""
    if isinstance(value, str):
        return label(value, _LONGEST)
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, dict):
        return {label(str(key)): shown(one) for key, one in value.items()}
    return value


def page(request: web.Request) -> tuple[int, int]:
    """The offset and the limit of a request. Raises RequestError (400)."""
    try:
        offset, limit = (int(request.query.get(name, given)) for name, given in (("offset", "0"), ("limit", "100")))
    except ValueError:
        raise RequestError(400, "offset and limit are numbers") from None
    if offset < 0 or not 0 < limit <= _MOST_ROWS:
        raise RequestError(400, f"offset is 0 or more, limit from 1 to {_MOST_ROWS}")
    return min(offset, 1 << 40), limit


def _part(
    path: Path, offset: int, limit: int | None, matches: Callable[[_Row], bool] | None, *, newest_first: bool
) -> Part:
    """One line at a time: a list may have a million."""
    with path.open("rb") as file:
        if newest_first:
            return _newest(file, offset, limit, matches)
        total = 0
        rows: list[_Row] = []
        for line in file:
            if matches is not None and not matches(_decode(line)):
                continue
            if total >= offset and (limit is None or len(rows) < limit):
                rows.append(shown(_decode(line)))
            total += 1
        return Part(total, rows)


def _in_order(
    path: Path,
    offset: int,
    limit: int | None,
    matches: Callable[[_Row], bool] | None,
    order: Callable[[_Row], Any],
    newest_first: bool,  # noqa: FBT001 - to a thread
) -> Part:
    """With equal keys, as they are listed."""
    with path.open("rb") as file:
        rows = ((line, _decode(line)) for line in file)
        found = [(order(row), at, line) for at, (line, row) in enumerate(rows) if matches is None or matches(row)]
    found.sort(reverse=newest_first)
    end = None if limit is None else offset + limit
    return Part(len(found), [shown(_decode(line)) for _, _, line in found[offset:end]])


def _newest(file: Any, offset: int, limit: int | None, matches: Callable[[_Row], bool] | None) -> Part:
    total = 0
    last: deque[bytes] = deque(maxlen=None if limit is None else offset + limit)
    for line in file:
        if matches is None or matches(_decode(line)):
            total += 1
            last.append(line)
    found = list(last)[::-1][offset:]
    return Part(total, [shown(_decode(line)) for line in (found if limit is None else found[:limit])])
