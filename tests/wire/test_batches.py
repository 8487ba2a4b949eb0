"""What is asked for at the same time goes in one request, and each waiter has its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from dregutil.registry.native.batches import Batches


class Sender:
    """Notes what it is given; an item `lost` has no outcome, `bad` an error, `absent` was not there."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, tuple[str, ...]]] = []
        self.fails: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key: str, items: Sequence[str]) -> Mapping[str, bool | Exception]:
        self.sent.append((key, tuple(items)))
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        special: dict[str, bool | Exception] = {"absent": False, "bad": ValueError("bad")}
        return {item: special.get(item, True) for item in items if item != "lost"}


def batches(sender: Sender, most: int = 3) -> Batches[str, str]:
    return Batches(sender, most=most, missing=lambda key, item: KeyError(f"{key} {item}"), window=0.01)


async def test_a_batch_has_one_key_and_at_most_so_many_items() -> None:
    sender = Sender()
    found = batches(sender)
    done = await asyncio.gather(*(found.add(key, f"{number}") for number in range(7) for key in "ab"))

    assert all(done)
    assert sorted(len(items) for _, items in sender.sent) == [1, 1, 3, 3, 3, 3]
    for key in "ab":
        assert sorted(item for of, items in sender.sent if of == key for item in items) == list("0123456")


async def test_each_has_its_own_outcome() -> None:
    found = batches(Sender(), most=4)
    names = ("fine", "absent", "bad", "lost")
    outcomes = await asyncio.gather(*(found.add("a", name) for name in names), return_exceptions=True)

    assert outcomes[:2] == [True, False]
    assert isinstance(outcomes[2], ValueError)
    assert isinstance(outcomes[3], KeyError)


async def test_two_who_ask_for_the_same_share_one_item() -> None:
    sender = Sender()
    found = batches(sender)
    assert all(await asyncio.gather(found.add("a", "1"), found.add("a", "1")))
    assert sender.sent == [("a", ("1",))]


async def test_an_error_of_the_request_is_raised_to_each() -> None:
    sender = Sender()
    sender.fails = ConnectionError("lost")
    found = batches(sender)
    outcomes = await asyncio.gather(*(found.add("a", name) for name in "12"), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 2
    assert len(sender.sent) == 1


async def test_one_who_is_cancelled_before_it_begins_is_left_out() -> None:
    sender = Sender()
    found = batches(sender)
    first, second = asyncio.create_task(found.add("a", "1")), asyncio.create_task(found.add("a", "2"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert sender.sent == [("a", ("2",))]
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_request_that_has_begun_goes_on_when_one_is_cancelled() -> None:
    sender = Sender()
    sender.gate.clear()
    found = batches(sender)
    first, second = asyncio.create_task(found.add("a", "1")), asyncio.create_task(found.add("a", "2"))
    await asyncio.sleep(0.05)
    first.cancel()
    sender.gate.set()
    assert await second
    assert sender.sent == [("a", ("1", "2"))]


async def test_nobody_left_sends_nothing() -> None:
    sender = Sender()
    found = batches(sender)
    only = asyncio.create_task(found.add("a", "1"))
    await asyncio.sleep(0)
    only.cancel()
    await asyncio.sleep(0.05)
    assert sender.sent == []
