"""What tools/rooms.py counts as a move, a call and a call-back."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from rooms import Trace, count, first_part

FRONT = """
import asyncio
from sampled.back import Value, Worker, each, in_tasks

def note(found): pass

def start():
    each(lambda: note(1))
    Value(1).twice()
    asyncio.run(ask())

async def ask():
    await in_tasks(answer)

async def answer():
    Worker().work()
"""
BACK = """
import asyncio
from dataclasses import dataclass
from sampled.deep import doubled, shout

@dataclass(frozen=True)
class Value:
    number: int
    def twice(self): return doubled(self.number)

class Worker:
    def work(self): shout()

def each(act):
    act()

async def in_tasks(act):
    await asyncio.gather(act(), act())
"""
DEEP = """
def doubled(number): return 2 * number
def shout(): pass
"""


def test_moves_calls_and_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "sampled"
    package.mkdir()
    for name, text in (("__init__", ""), ("front", FRONT), ("back", BACK), ("deep", DEEP)):
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    front = importlib.import_module("sampled.front")
    trace = Trace(f"{package}/")
    before = sys.getprofile()
    try:
        with trace.on():
            front.start()
    finally:
        sys.setprofile(before)
        for name in [name for name in sys.modules if name.partition(".")[0] == "sampled"]:
            del sys.modules[name]
    found = count(trace, first_part, words=True)
    assert found.moves == {
        ("front", "back"): [
            "front:start -> back:each",
            "front:ask -> back:in_tasks",
            "front:answer -> back:Worker.work",
        ],
        ("back", "deep"): ["back:Worker.work -> deep:shout"],
    }, "a value's method does not count, nor does what it calls"
    assert found.callbacks == {
        ("back", "front"): ["back:each -> front:start.<locals>.<lambda>", "back:in_tasks -> front:answer"],
    }
    assert found.rooms == {"front", "back", "deep"}
