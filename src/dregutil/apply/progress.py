"""How far a run or an undo is: a value."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RunProgress"]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run or an undo is: `done` of `total` of what `noun` names. `swept` tags went before their manifests;
    `put_back` of them are on their manifest again. `seconds` is how long all of it is thought
    to take, where that is known."""

    done: int = 0
    total: int = 0
    swept: int = 0
    put_back: int = 0
    noun: str = "steps"
    seconds: float | None = None
