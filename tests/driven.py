"""State machines of Hypothesis that are run for a number of steps."""

from __future__ import annotations

import os
from typing import ClassVar, cast

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

__all__ = ["CountedMachine", "run_machine"]

_LONG = 5_000  # steps, at least


class CountedMachine(RuleBasedStateMachine):
    """`steps`: how many all examples of its class have made."""

    steps: ClassVar[int]

    @invariant()
    def is_a_step(self) -> None:
        type(self).steps += 1


def run_machine(machine: type[CountedMachine], *, examples: int, steps: int, **attributes: object) -> None:
    """Run a machine with these attributes, in so many examples of so many steps each; 5,000 steps if DREGUTIL_LONG is
    set."""
    driven = cast("type[CountedMachine]", type("Driven", (machine,), {**attributes, "steps": 0}))
    is_long = "DREGUTIL_LONG" in os.environ
    most = 2 * _LONG // steps if is_long else examples  # some examples are shorter
    run_state_machine_as_test(driven, settings=settings(max_examples=most, stateful_step_count=steps))
    print(f"{driven.steps:,} steps")
    assert driven.steps >= (_LONG if is_long else 1)
