"""`python bench/large.py`: 9,000 of 10,000 tags of one repository, compared with one DELETE per digest.

Plain DELETEs, one at a time as other tools send them and four at a time, are sampled with all tags in the repository
and with only those that stay. A registry reads every tag for each DELETE, so the mean of the two is the cost per digest
of a whole removal.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from support import OURS, fill, timed

from dregutil.oci.names import Digest, Repository
from dregutil.registry import connect_writable
from servers import DistributionServer

TAGS, DOOMED, SAMPLE = 10_000, 9_000, 24
WAYS = (1, 4)  # DELETEs at a time
NAME = "team0/app0"


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    try:
        rows = _rows(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| what | measured | target |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _rows(folder: Path) -> list[tuple[str, str, str]]:
    server = DistributionServer(folder / "registry", cache=True)
    fill(server.storage, 1, TAGS)
    with server:
        ours = [OURS, "-reg", server.url, "-c", "ours.json", "--state-dir", folder / "state"]
        timed([*ours, "--refresh", "list-repo-names", "--quiet"], folder)
        digests = json.loads((folder / "ours.json").read_text())[NAME]
        full = _sample(server.url, [digests[f"1.{DOOMED - 1 - n}"] for n in range(len(WAYS) * SAMPLE)])
        doomed = DOOMED - len(WAYS) * SAMPLE
        timed([*ours, "--refresh", "list-repo-names", "--quiet"], folder)
        line = ["remove-tags", "-r", NAME, "-t", f"<1.{DOOMED}", "--yes-remove", str(doomed)]
        removal = timed([*ours, *line], folder)
        assert f"removed {doomed:,} tags and {doomed:,} manifests" in removal.output, removal.output[-500:]
        few = _sample(server.url, [digests[f"1.{TAGS - 1 - n}"] for n in range(len(WAYS) * SAMPLE)])
    rows = [("dregutil, including the live reading and both looks", f"{removal.wall:.0f} s", "")]
    for at_once, most, least in zip(WAYS, full, few, strict=True):
        plain = (most + least) / 2 * doomed
        rows.append(
            (
                f"compared with one DELETE per digest, {at_once} at a time ({most * 1000:.0f} ms each at first, "
                f"{least * 1000:.0f} ms at the end: {plain:.0f} s)",
                f"{plain / removal.wall:.1f} ×",
                "5 ×" if at_once == 1 else "",
            )
        )
    return rows


def _sample(url: str, digests: list[str]) -> list[float]:
    return [
        asyncio.run(_plain(url, digests[place * SAMPLE : (place + 1) * SAMPLE], at_once))
        for place, at_once in enumerate(WAYS)
    ]


async def _plain(url: str, digests: list[str], at_once: int) -> float:
    """Seconds per DELETE."""
    waiting = iter(digests)
    async with connect_writable(url) as registry:
        await registry.ping()
        started = time.perf_counter()

        async def work() -> None:
            for digest in waiting:
                await registry.delete_manifest(Repository(NAME), Digest(digest))

        await asyncio.gather(*(work() for _ in range(at_once)))
        return (time.perf_counter() - started) / len(digests)


if __name__ == "__main__":
    sys.exit(main())
