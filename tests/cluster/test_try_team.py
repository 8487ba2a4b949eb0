"""`./try --team`, which the README names: its own words say whether everything was as it must be."""

from __future__ import annotations

import os
import re
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
    said = [line for line in done.stdout.splitlines() if "==" in line]
    shown = (ROOT / "README.md").read_text().partition("$ ./try --team | grep ==\n")[2].partition("```")[0].splitlines()
    assert len(shown) == 4
    killed = re.compile(re.sub(r"\\ \d+\\ tags", r"\\ \\d+\\ tags", re.escape(shown[0])))  # after how many is chance
    assert any(killed.fullmatch(line) for line in said), said
    assert set(shown[1:]) <= set(said)
