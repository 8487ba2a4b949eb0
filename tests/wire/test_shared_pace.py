"""A pace that several processes share: what stands in its file is kept to, on a clock that jumps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dregutil.registry.http.shared_pace import VARIABLE, SharedPace, shared_pace
from dregutil.registry.http.throttle import Gate
from dregutil.work.pace import PACE_FILE
from virtual import run_virtually


async def passed(gate: Gate, seconds: float) -> int:
    """How many requests a gate lets pass in some seconds, with 8 that want to."""
    loop, number = asyncio.get_running_loop(), 0
    end = loop.time() + seconds

    async def work() -> None:
        nonlocal number
        while loop.time() < end:
            await gate.enter()
            number += loop.time() < end
            await asyncio.sleep(0.001)
            gate.leave()

    await asyncio.gather(*(work() for _ in range(8)))
    return number


def test_no_more_is_sent_than_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    path.write_text("20\n")
    assert run_virtually(passed(Gate(8, SharedPace(path)), 10.0)) == pytest.approx(200, abs=3)


def test_another_pace_holds_after_a_second(tmp_path: Path) -> None:
    path = tmp_path / "pace"
    path.write_text("0.1\n")

    async def changes() -> tuple[int, int, int]:
        gate = Gate(8, SharedPace(path))
        slow = await passed(gate, 5.0)
        path.write_text("50\n")
        await asyncio.sleep(1.0)
        fast = await passed(gate, 10.0)
        path.write_text("0\n")
        await asyncio.sleep(1.0)
        return slow, fast, await passed(gate, 1.0)

    slow, fast, free = run_virtually(changes())
    assert slow <= 2
    assert fast == pytest.approx(500, abs=30)
    assert free > 1000


@pytest.mark.parametrize("text", ["", "much", "nan", "inf", "-5", "1" * 100])
def test_a_file_that_cannot_be_read_leaves_the_pace_as_it_was(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pace"
    path.write_text("10\n")
    pace = SharedPace(path)
    pace.sent(0.0)
    path.write_text(text)
    pace.sent(5.0)
    assert pace.next_send_at(5.0) == pytest.approx(5.1)
    path.unlink()
    assert pace.next_send_at(50.0) == pytest.approx(5.1)


def test_only_a_process_of_a_worker_has_one(tmp_path: Path) -> None:
    assert shared_pace({}) is None
    assert shared_pace({PACE_FILE: str(tmp_path / "pace")}) is not None
    assert VARIABLE == PACE_FILE
