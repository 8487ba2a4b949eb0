"""A random registry under random pushes, removals, stale plans, refusals, kills at any point, resumes and undos.

After each step, an independent reader checks that every tag that was not selected resolves completely. A kill is what
`kill -9` is to a registry and a disk: from one moment on nothing is sent and nothing is written; and what was written
and not synced may be torn, or present in part, in any order. Meanwhile other clients push new and moved tags, before
any request, and the proxy in front of the registry may give wrong answers for a while. `trust/` has the machine and its
worlds.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from servers.memory import MemoryServer, Switches
from servers.real import KINDS
from trust import without_pauses
from trust.front import Front
from trust.machine import Trust

pytestmark = pytest.mark.property

EXAMPLES = {"memory": 20, "distribution-2.8": 10, "distribution-3": 4, "olareg": 4, "crane": 4, "zot": 4}
if "DREGUTIL_LONG" in os.environ:
    EXAMPLES = {kind: int(os.environ["DREGUTIL_LONG"]) // (2 if kind == "memory" else 8) for kind in EXAMPLES}
STEPS = 25
_ENOUGH = 100  # enough examples that no kind of step is missing by chance


@pytest.mark.parametrize("kind", EXAMPLES)
def test_trust(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    without_pauses(monkeypatch)
    folder = Path(tmp_path_factory.mktemp("registry"))
    began = time.monotonic()
    with MemoryServer() if kind == "memory" else KINDS[kind].start(folder) as server, Front(server.port) as front:
        machine = cast(
            "type[Trust]",
            type(
                "TrustThis",
                (Trust,),
                {
                    "url": server.url,
                    "front": front,
                    "switches": server.switches if isinstance(server, MemoryServer) else Switches(),
                    "refuses": kind not in ("memory", "distribution-2.8"),
                    "counts": Counter(),
                    "gaps": [],
                },
            ),
        )
        # Not shrunk: kills are not reproducible, so finding a smaller failing example takes hours.
        # The short run has the same worlds each time, so that a change does not fail by chance. The long one searches.
        chosen = settings(
            parent=settings.default,
            max_examples=EXAMPLES[kind],
            stateful_step_count=STEPS,
            phases=(Phase.generate,),
            derandomize="DREGUTIL_LONG" not in os.environ,
            database=None,
        )
        try:
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            counts = dict(sorted(machine.counts.items()))
            gap = round(1000 * max(machine.gaps, default=0.0))
            pace = round((time.monotonic() - began) / max(1, counts.get("steps", 0)), 3)
            told = {**counts, "longest gap, in ms": gap, "seconds a step": pace}
            print(json.dumps({"server": kind, "examples": EXAMPLES[kind], **told}))
        if EXAMPLES[kind] >= _ENOUGH:
            assert counts["a run was killed"] > 0
            assert counts["an undo put something back"] > 0
