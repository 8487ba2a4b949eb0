"""`python bench/tokens.py`: how often a crawl fetches tokens that expire after 5 s.

10,200 tags of a real registry with 20 ms delay: in 200 repositories (each its own scope), and in a few, whose tokens
expire while they are read, repeatedly with fewer connections. The token server signs for the registry, which refuses
expired tokens. Prints a Markdown table.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from support import OURS, UNHURRIED, DelayProxy, fill, timed

from servers import DistributionServer
from servers.tokens import TokenIssuer

LIVES, RENEWED = 5.0, 4.0  # seconds
SHAPES = ((200, 51, 64), (2, 5100, 64), (2, 5100, 8))  # repositories, tags of each, connections


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    try:
        rows = [_row(folder / str(number), *shape) for number, shape in enumerate(SHAPES)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| tags | connections | seconds | scopes | tokens fetched | most for one scope | before 4 s | target |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _row(folder: Path, repositories: int, tags: int, connections: int) -> tuple[str, ...]:
    with TokenIssuer(lives=LIVES) as issuer:
        auth = issuer.configuration(folder)
        server = DistributionServer(folder, cache=True, auth=auth, variables=UNHURRIED)
        fill(server.storage, repositories, tags)
        with server, DelayProxy(folder / "proxy", server.port, 0.02) as proxy:
            command = [OURS, "-reg", f"http://{proxy.host}", "-u", "ann", "--concurrency", str(connections), "refresh"]
            run = timed(command, folder, REGISTRY_PASSWORD=issuer.users["ann"])
        times = defaultdict(list)
        for asked in issuer.asked:
            times[asked.scopes].append(asked.at)
    early = sum(later - sooner < RENEWED for each in times.values() for sooner, later in itertools.pairwise(each))
    return (
        f"{repositories} × {tags:,}",
        str(connections),
        f"{run.wall:.1f}",
        str(len(times)),
        str(sum(map(len, times.values()))),
        str(max(map(len, times.values()))),
        str(early),
        "0",
    )


if __name__ == "__main__":
    main()
