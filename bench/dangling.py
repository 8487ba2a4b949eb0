"""`python bench/dangling.py`: 2,000 tags of one repository removed, with and without 50 tags that name nothing then.

On the registry in memory, each three times in turn; the medians. What such tags were on is looked for among what went.
The 5 s in which a list may catch up are left out: they do not grow.
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

    last_look._LAGS = ()  # noqa: SLF001
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
