"""What a command imports: a refresh starts without what it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from images import Pusher
from servers.memory import MemoryServer

# Rooms and libraries; each of them would add to the start-up of every refresh.
NEEDLESS = (
    "aiohttp",
    "botocore",
    "dregutil.apply.apply",
    "dregutil.inventory.contents",
    "dregutil.inventory.health",
    "dregutil.plan.cleanup",
    "dregutil.plan.live",
    "dregutil.plan.make",
    "dregutil.retention.image_list",
    "dregutil.retention.judge",
    "dregutil.retention.policy",
    "dregutil.select.selection",
    "dregutil.storage.garbage_collector",
    "dregutil.storage.objects",
    "dregutil.storage.reading",
    "http.client",
    "obstore",
    "yaml",
)
CODE = """
import sys
from dregutil.cli import run
assert run(sys.argv[1:]) == 0
sys.stderr.write("\\n".join(sorted(sys.modules)))
"""


def imported(*arguments: str, folder: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, "--state-dir", str(folder / "state"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("refresh",), ("refresh", "shop/web")])
def test_a_refresh_imports_nothing_that_it_does_not_need(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with MemoryServer() as server, Pusher(server.url) as pusher:
        pusher.push_image("shop/web", "1.0", seed="one")
        for _ in range(2):  # the second one has a cache and records
            found = imported("-reg", server.url, *arguments, folder=tmp_path)
            assert "dregutil.inventory.crawl" in found
            assert not found & set(NEEDLESS)
