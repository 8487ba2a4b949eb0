"""A random registry for long runs of the program, its worlds, and a program that does not wait."""

from __future__ import annotations

import importlib

import pytest

from dregutil.apply import clearing, cut_off, last_look, looks, settle
from dregutil.apply.undo import run
from dregutil.inventory import survey


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program asks again at once where it would leave a replica a second or two."""
    monkeypatch.setattr(settle, "_SETTLE", 0.0)
    # `dregutil.crawl` is a function too, and so is the other's.
    crawl, bring_back = (importlib.import_module(f"dregutil.{name}") for name in ("inventory.crawl", "apply.put_back"))
    for module in (survey, looks, clearing, cut_off, crawl, run, bring_back):
        monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(last_look, "_LAGS", (0.0,) * 4)
