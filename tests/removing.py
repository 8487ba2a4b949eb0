"""Plans, runs, kills, resumes and undos through the library, with records, for tests that examine the result."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dregutil.apply.apply import apply_plan
from dregutil.apply.undo.plan import plan_undo
from dregutil.apply.undo.run import UndoRun, apply_undo
from dregutil.inventory.crawl import crawl
from dregutil.inventory.known import Known
from dregutil.journal.history import RunHistory
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.names import Digest, Repository
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.plan.outcome import Result, RunResult
from dregutil.registry import WritableRegistry, connect_writable
from dregutil.registry.http.transport import READING, Transport
from dregutil.select.selection import MatchRules, select_tags
from dregutil.select.selector import TagSelector
from remembering import plan_removal

__all__ = ["Killed", "Killer", "Removing", "results"]

_Found = TypeVar("_Found")


class Killed(BaseException):
    """Like the end of the process: no code of the run executes after it."""


class Killer:
    """Counts effects (write requests, lines made durable), and stops everything after a given number.

    `torn`: if it stops between a write to the record and its fsync, the fate of each written line: lost, all zeros,
    truncated, or complete although an earlier one is not. A disk may show this after a power failure.
    """

    def __init__(self, after: int | None, torn: Sequence[int] = ()) -> None:
        self.left = after
        self.torn = torn

    def effect(self) -> None:
        if self.left is None:
            return
        if self.left <= 0:
            raise Killed
        self.left -= 1

    def arm(self, registry: WritableRegistry, journal: Journal | None) -> None:
        transport: Transport = registry._transport
        send = transport.send

        async def counted(method: str, *arguments: Any, **options: Any) -> Any:
            if method not in READING:
                self.effect()
            elif self.left is not None and self.left <= 0:
                raise Killed
            answer = await send(method, *arguments, **options)
            if method not in READING:
                self.effect()
            return answer

        transport.send = counted  # type: ignore[method-assign]
        if journal is not None:
            write = journal._write

            def checked(lines: Any) -> None:
                written = list(lines)
                try:
                    self.effect()
                except Killed:
                    if self.torn:
                        write(self._left_of(written))
                    raise
                write(written)

            journal._write = checked  # type: ignore[method-assign]

    def _left_of(self, lines: Sequence[bytes]) -> list[bytes]:
        found = []
        for place, line in enumerate(lines):
            how = self.torn[place % len(self.torn)]
            found.append((b"", bytes(len(line)), line[: len(line) // 2], line)[how])
        self.torn = ()
        return found


def results(result: RunResult | None) -> list[Result]:
    assert result is not None
    return [outcome.result for outcome in result.outcomes]


@dataclass
class Removing:
    """A registry at `url`, with a state folder. A killed run returns None."""

    url: str
    folder: Path
    names: Sequence[str] = ("r",)

    @property
    def store(self) -> RunStore:
        return RunStore(self.folder)

    async def plan(
        self,
        *tags: str,
        names: Sequence[str] | None = None,
        options: RemovalOptions | None = None,
        rules: MatchRules | None = None,
        known_indexes: Mapping[Repository, frozenset[Digest]] | None = None,
    ) -> Plan:
        repositories = [Repository(name) for name in names or self.names]
        async with connect_writable(self.url) as registry:
            found = (await crawl(registry)).inventory
            selection = select_tags(found, repositories, TagSelector.build(tags), rules)
            return await plan_removal(registry, selection, found, options, known_indexes=known_indexes)

    async def apply(
        self, plan: Plan, *, kill_after: int | None = None, stop: asyncio.Event | None = None
    ) -> RunResult | None:
        return await self._run(plan, self.store.new(datetime.now(UTC)), None, Killer(kill_after), stop)

    async def remove(self, *tags: str, **options: Any) -> RunResult | None:
        kill_after = options.pop("kill_after", None)
        return await self.apply(await self.plan(*tags, **options), kill_after=kill_after)

    async def resume(self, *, kill_after: int | None = None) -> RunResult | None:
        """Resume the newest run."""
        record = self.record()
        return await self._run(record.plan, Journal(record.folder), record, Killer(kill_after), None)

    async def undo(
        self, *, kill_after: int | None = None, between: Callable[[], object] = lambda: None
    ) -> UndoRun | None:
        """Undo the newest run; `between` runs between the check and the writes."""

        async def work(registry: WritableRegistry) -> UndoRun:
            found = await plan_undo(registry, self.record())
            between()
            Killer(kill_after).arm(registry, None)
            return await apply_undo(registry, found)

        return await self._unless_killed(work)

    def record(self) -> RunRecord:
        return self.store.get(self.store.names()[-1])

    async def _run(
        self, plan: Plan, journal: Journal, earlier: RunRecord | None, killer: Killer, stop: asyncio.Event | None
    ) -> RunResult | None:
        async def work(registry: WritableRegistry) -> RunResult:
            killer.arm(registry, journal)
            if earlier is None:
                journal.begin(plan, started=datetime.now(UTC))
            known = Known(indexes=RunHistory(self.store, plan.registry).known_indexes())
            return await apply_plan(registry, plan, known=known, recorder=journal, earlier=earlier, stop=stop)

        result = await self._unless_killed(work)
        if result is None:
            os.close(journal._file)
        else:
            journal.close(datetime.now(UTC) if result.is_finished else None)
        return result

    async def _unless_killed(self, work: Callable[[WritableRegistry], Awaitable[_Found]]) -> _Found | None:
        try:
            async with connect_writable(self.url) as registry:
                return await work(registry)
        except Killed:
            return None
