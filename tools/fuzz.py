"""`python tools/fuzz.py [INPUTS]`: INPUTS (15,500,000) for all parsers, guided by coverage; prints a Markdown table.

Each parser in tests/parsers.py runs in a separate process, two at a time, for at most 30 s: slow parsers read fewer
inputs. Findings are in `.cache/fuzz/PARSER`; `python tools/fuzz.py one PARSER INPUTS` shows them. Needs the group
`fuzz` (pip install --group fuzz).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".cache" / "fuzz"
LONGEST = 4096  # bytes of an input
MOST_TIME = 30  # seconds for one parser
MOST_SECONDS, MOST_MEGABYTES = 5, 1024  # for one input; more is a finding
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]


def one(name: str, inputs: int) -> None:
    """Fuzz one parser in this process, until the inputs are used up or one causes a failure."""
    import atheris

    with atheris.instrument_imports(include=["dregutil", "parsers"]):
        from parsers import PARSERS, accepts

    parser, folder = PARSERS[name], PLACE / name.replace(" ", "_").replace("/", "_")
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(parser.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [
        f"-runs={inputs}",
        f"-max_len={LONGEST}",
        f"-max_total_time={MOST_TIME}",
        f"-timeout={MOST_SECONDS}",
        f"-rss_limit_mb={MOST_MEGABYTES}",
    ]
    atheris.Setup(
        [sys.argv[0], str(corpus), *options, f"-artifact_prefix={folder}/", "-print_final_stats=1"],
        lambda raw: accepts(parser, raw) and None,
    )
    atheris.Fuzz()


def fuzzed(name: str, inputs: int) -> str:
    """Fuzz a parser in a separate process; return its row of the table."""
    started = time.monotonic()
    command = [sys.executable, __file__, "one", name, str(inputs)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:2])},
    )
    found = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    number = int(found[1]) if found else 0
    (PLACE / "log").mkdir(parents=True, exist_ok=True)
    (PLACE / "log" / f"{name.replace(' ', '_').replace('/', '_')}.txt").write_text(done.stdout + done.stderr)
    what = "none" if done.returncode == 0 else f"stopped (exit {done.returncode})"
    return f"| {name} | {number:,} | {what} | {time.monotonic() - started:.0f} s |"


def main(inputs: int) -> None:
    from parsers import PARSERS

    PLACE.mkdir(parents=True, exist_ok=True)
    total = 0
    print("| parser | inputs | findings | |\n|---|---|---|---|")
    with ThreadPoolExecutor(2) as two:
        for row in two.map(lambda name: fuzzed(name, inputs // len(PARSERS) + 1), PARSERS):
            total += int(row.split("|")[2].replace(",", ""))
            print(row, flush=True)
    print(f"| all | {total:,} | | |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(sys.argv[2], int(sys.argv[3]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 15_500_000)
