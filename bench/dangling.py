"""`python bench/dangling.py`: 2,000 tags of one repository removed, with and without 50 other tags that are dangling
then.

On the registry in memory, three times each, alternating; the medians. The run looks for the digests of dangling tags
among the deleted digests. The 5 s for a list to catch up are left out, because they are constant.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "registry")]

REMOVED, DANGLING, ROUNDS = 2000, 50, 3


def main() -> None:
    from test_dangling_tags import cost

    from dregutil.apply import last_look

    last_look._LAGS = ()  # noqa: SLF001 - the pauses for lagging replicas are not what is measured
    found: dict[int, list[tuple[int, float]]] = {0: [], DANGLING: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for dangling, costs in found.items():
                costs.append(asyncio.run(cost(Path(folder) / str(number), REMOVED, dangling)))
    (none, without), (some, with_them) = (
        (statistics.median(requests for requests, _ in costs), statistics.median(seconds for _, seconds in costs))
        for costs in found.values()
    )
    print(f"| requests | {some / none:.2f} × ({some:,.0f}, {none:,.0f}) |")
    print(f"| time | {with_them / without:.2f} × ({with_them:.2f} s, {without:.2f} s) |")


if __name__ == "__main__":
    main()
