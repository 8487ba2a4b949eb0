"""A question that is asked beside the event loop: by one at a time, each answer newer than who waits for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dregutil.errors import StoreError
from dregutil.session.off_loop import OffLoop

_PATIENCE = 10.0


class Slow:
    """A question that waits until it may answer; its answers are 1, 2, …, or `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_answer, self.begun = threading.Event(), threading.Event()
        self.asked = 0
        self.error = error
        self.at_once = 0

    def __call__(self) -> int:
        self.at_once += 1
        assert self.at_once == 1, "it is asked twice at a time"
        self.asked += 1
        self.begun.set()
        assert self.may_answer.wait(_PATIENCE)
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        return self.asked


async def _all_begun(question: Slow) -> None:
    assert await asyncio.to_thread(question.begun.wait, _PATIENCE)


def test_who_comes_while_it_is_asked_gets_a_newer_answer() -> None:
    async def ask() -> list[int]:
        question = Slow()
        asked = OffLoop(question)
        first = asyncio.create_task(asked())
        await _all_begun(question)
        others = [asyncio.create_task(asked()) for _ in range(3)]
        await asyncio.sleep(0)
        question.may_answer.set()
        return list(await asyncio.gather(first, *others))

    assert sorted(asyncio.run(ask())) == [1, 2, 3, 4]


@pytest.mark.parametrize(("error", "asked"), [(StoreError("it is away"), 1), (ValueError("it is odd"), 4)])
def test_a_store_that_is_away_is_so_for_all_who_wait(error: Exception, asked: int) -> None:
    async def ask() -> tuple[int, list[object]]:
        question = Slow(error)
        off_loop = OffLoop(question)
        first = asyncio.create_task(off_loop())
        await _all_begun(question)
        others = [asyncio.create_task(off_loop()) for _ in range(3)]
        await asyncio.sleep(0)
        question.may_answer.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        return question.asked, list(found)

    assert asyncio.run(ask()) == (asked, [error] * 4)


def test_who_gives_up_leaves_the_question_to_the_others() -> None:
    async def ask() -> int:
        question = Slow()
        asked = OffLoop(question)
        first = asyncio.create_task(asked())
        await _all_begun(question)
        first.cancel()
        other = asyncio.create_task(asked())
        with pytest.raises(asyncio.CancelledError):
            await first
        question.may_answer.set()
        return await other

    assert asyncio.run(ask()) == 2
