"""`./try --team`, which the README names: its own words say whether everything was as it must be."""

from __future__ import annotations

import os
import subprocess
import sys

from documents import ROOT


def test_a_worker_is_killed_another_ends_its_run_and_a_third_machine_undoes_it(postgres: object) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL_S"))}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "try.py"), "--team"],
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("were killed after", "all that were approved", "all of them complete", "everything is back"):
        assert said in done.stdout
