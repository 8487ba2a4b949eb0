"""`python -m bench NAME … | all [--quick]`: runs benchmarks, one after another, and prints their tables.

`--quick` runs them small, or leaves out those that cannot be small: about ten minutes in all. Each is a program of its
own, too (`python bench/NAME.py`); what it measures is in its first lines, and the last full figures are in
docs/benchmarks.md.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
# The arguments of a quick run; None: it takes too long for that.
QUICK: dict[str, list[str] | None] = {
    "crawl": [],
    "memory": ["10000", "100000"],
    "refresh": ["100", "20"],
    "inventory": ["1000000"],
    "du": ["10200", "200000"],
    "report": ["10200"],
    "serve": ["20000"],
    "serve_idle": ["10000"],
    "beside": ["20", "50"],
    "cluster": ["40", "20", "10", "4"],
    "plan": [],
    "retention": ["200", "500"],
    "storage": [],
    "native": ["1000"],
    "dangling": [],
    "tokens": [],
    "pulls": ["2", "50"],
    "shared": ["50000"],
    "parquet": ["50000"],
    "faults": None,
    "clients": None,
    "removal": None,
    "large": None,
    "throttled": None,
}


def main(arguments: list[str]) -> int:
    names, is_quick = [one for one in arguments if one != "--quick"], "--quick" in arguments
    if not names or not {*names} <= {"all", *QUICK}:
        sys.stderr.write(f"{__doc__}\nall, or of {', '.join(QUICK)}\n")
        return 2
    failed = []
    for name in QUICK if "all" in names else names:
        quick = QUICK[name]
        if is_quick and quick is None:
            print(f"\n## {name}: not in a quick run\n", flush=True)
            continue
        path = HERE / f"{name}.py"
        print(f"\n## {name}\n\n{ast.get_docstring(ast.parse(path.read_text()))}\n", flush=True)
        started = time.monotonic()
        done = subprocess.run([sys.executable, str(path), *((quick or []) if is_quick else [])], check=False)
        print(f"\n{name}: {time.monotonic() - started:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
