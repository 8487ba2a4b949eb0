"""What tools/rooms.py counts as a move, a call and a return."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from rooms import Trace, count

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


def test_moves_calls_and_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    found = count(trace, trace.room)
    assert found.moves == {
        ("front", "back"): ["front:start -> back:each", "front:ask -> back:in_tasks"],
        ("back", "deep"): ["back:Worker.work -> deep:shout"],
    }, "a value's method is none, nor is what it calls"
    assert found.returns == {
        ("back", "front"): ["back:each -> front:start.<locals>.<lambda>", "back:in_tasks -> front:answer"],
        ("front", "back"): ["front:answer -> back:Worker.work"],  # `in_tasks` is on the stack of the task's maker
    }
    assert found.rooms == {"front", "back", "deep"}
