"""The clock of ages: which one is read where, and that no write is limited by another."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

import dregutil
from dregutil import clock

SOURCE = Path(dregutil.__file__).parent
BOOTTIME, MONOTONIC = 7, 6


@pytest.mark.parametrize(
    ("platform", "clocks", "expected"),
    [
        ("linux", {"CLOCK_BOOTTIME": BOOTTIME, "CLOCK_MONOTONIC": 1}, BOOTTIME),
        ("darwin", {"CLOCK_MONOTONIC": MONOTONIC}, MONOTONIC),
        ("freebsd14", {"CLOCK_MONOTONIC": 4}, None),
        ("win32", {}, None),
    ],
)
def test_the_clock_of_each_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, clocks: dict[str, int], expected: int | None
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        monkeypatch.delattr(time, name, raising=False)
    for name, number in clocks.items():
        monkeypatch.setattr(time, name, number, raising=False)
    monkeypatch.setattr(time, "clock_gettime", float)
    monkeypatch.setattr(time, "monotonic", lambda: -1.0)
    assert clock._read()() == (-1.0 if expected is None else expected)


def test_a_sandbox_that_refuses_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "clock_gettime", refuse)
    assert clock._read()() == pytest.approx(time.monotonic(), abs=60)


def test_no_write_is_limited_by_a_clock_that_sleeps() -> None:
    """What says until when a write may begin says it by `clock`."""
    limiting = [path for path in (SOURCE / "registry").rglob("*.py") if "begun_by" in path.read_text()]
    assert len(limiting) > 8
    assert not [path.name for path in limiting if "monotonic() +" in path.read_text()]
