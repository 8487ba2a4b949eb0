"""A random registry for long runs of the program, its worlds, and a program that does not wait."""

from __future__ import annotations

import pytest

from dregutil.apply import last_look, lost_answer
from dregutil.registry import absence


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program asks again at once where it would wait a second or two for a replica."""
    monkeypatch.setattr(lost_answer, "_SETTLE", 0.0)
    monkeypatch.setattr(absence, "_PAUSE", 0.0)
    monkeypatch.setattr(last_look, "_LAGS", (0.0,) * 4)
