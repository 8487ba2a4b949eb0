"""`python bench/refresh.py [REPOSITORIES TAGS]`: requests and CPU time of a refresh after 100 pushes to a registry with
200 repositories of 51 tags, on distribution 2.8.2: of what was notified; with `--max-age`; of everything.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from support import OURS, fill, timed

from dregutil.oci.names import RegistryAddress, Repository
from dregutil.pulls.store import PullStore
from images import Pusher
from listening import Listening, until
from program import Program
from servers.http import Proxy

PUSHES = 100
NAMES = [Repository(f"team{number % 10}/app{number}") for number in range(PUSHES)]


def main(repositories: int = 200, tags: int = 51) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listening = Listening(folder)
        fill(listening.server.storage, repositories, tags)
        with Proxy(listening.server.port) as proxy:
            listening.program = Program(proxy.url, folder)
            with listening:
                _measure(listening, proxy, folder)


def push(url: str, name: str) -> str:
    """Push an image to each of PUSHES repositories, and return the last tag."""
    with Pusher(url) as pusher:
        for number, repository in enumerate(NAMES):
            pusher.push_image(repository, f"{name}-{number}", seed=f"{name} {number}")
    return f"{name}-{PUSHES - 1}"


def _measure(listening: Listening, proxy: Proxy, folder: Path) -> None:
    def refresh(*options: str) -> tuple[int, float, int]:
        """Its requests, its CPU time in seconds, and the tags that it found."""
        proxy.requests.clear()
        command = [OURS, "-reg", proxy.url, "-c", "cache.json", "--state-dir", "state"]
        done = timed([*command, "refresh", "--format", "json", *options], folder, HOME=str(folder))
        found, _ = json.JSONDecoder().raw_decode(done.output, done.output.index("{"))
        return len(proxy.requests), done.cpu, found["tags"] - found["believed"]

    store = PullStore(folder / "state", RegistryAddress.parse(proxy.url).identity)
    refresh()
    last = push(listening.server.url, "pushed")
    until(lambda: last in store.changed_since(0).get(NAMES[-1], ()))
    rows = {"what was notified": refresh()}
    listening.end_listener()
    push(listening.server.url, "later")
    rows["`--max-age 1d`"] = refresh("--max-age", "1d")
    rows["`--full`"] = refresh("--full")
    whole = rows["`--full`"][0]
    print("| refresh after 100 pushes | requests | of all | tags resolved | CPU |")
    print("|---|---|---|---|---|")
    for what, (requests, cpu, read) in rows.items():
        print(f"| {what} | {requests:,} | {requests / whole:.1%} | {read:,} | {cpu:.2f} s |")


if __name__ == "__main__":
    os.environ.pop("DREGUTIL_REGISTRY", None)
    main(*map(int, sys.argv[1:3]))
