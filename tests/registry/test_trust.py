"""A random registry under random pushes, removals, stale plans, refusals, kills at any point, resumes and undos.

After each, an independent reader looks: every tag that was not asked to go resolves, whole. A kill is what `kill -9` is
to a registry and a disk: from one moment on, nothing is sent and nothing is written any more; and what had been written
and not synced may be torn, or there in part, whatever its order. Meanwhile others push, new tags and moved ones, before
any request, and what stands before the registry may lie for a while. `trust/` has the machine and its worlds.
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

from servers import DistributionServer
from servers.memory import MemoryServer, Switches
from trust import without_pauses
from trust.front import Front
from trust.machine import Trust

pytestmark = pytest.mark.property

EXAMPLES = {"real": 10, "memory": 20}
if "DREGUTIL_LONG" in os.environ:
    EXAMPLES = {
        "real": int(os.environ["DREGUTIL_LONG"]) // 8,
        "memory": int(os.environ["DREGUTIL_LONG"]) // 2,
    }
STEPS = 25
_ENOUGH = 100  # examples in which chance does not leave out a whole kind of step


@pytest.mark.parametrize("kind", ["memory", "real"])
def test_trust(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    without_pauses(monkeypatch)
    folder = Path(tmp_path_factory.mktemp("registry"))
    began = time.monotonic()
    with MemoryServer() if kind == "memory" else DistributionServer(folder) as server, Front(server.port) as front:
        machine = cast(
            "type[Trust]",
            type(
                "TrustThis",
                (Trust,),
                {
                    "url": server.url,
                    "front": front,
                    "switches": server.switches if isinstance(server, MemoryServer) else Switches(),
                    "counts": Counter(),
                    "gaps": [],
                },
            ),
        )
        # Not shrunk: kills fall where they fall, so a smaller example of a failure takes hours to find.
        # The short run has the same worlds each time: what lands is no matter of luck. The long one searches.
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
