"""What an older version left in a state folder, brought into a store: its runs are resumed and undone from there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dregutil.inventory.tag_history import TagHistory
from dregutil.oci.names import Digest, Repository, Tag
from images import Pusher
from program import PROGRAM
from servers import DistributionServer
from servers.http import Proxy
from upgraded import FOLDER, NAME, Left

Run = Callable[..., str]


@pytest.fixture(params=sorted(path.name for path in FOLDER.iterdir()))
def left(request: pytest.FixtureRequest, registry_server: DistributionServer, tmp_path: Path) -> Left:
    return Left.by(request.param, tmp_path / "left", registry_server.url)


@pytest.fixture
def run(left: Left, registry_server: DistributionServer, store: str) -> Iterator[Run]:
    """A command with the store; by then the folder of the older version may be gone."""
    with Proxy(registry_server.port) as proxy:

        def run(*arguments: str, code: int = 0) -> str:
            environment = {**left.environment(proxy.url, os.environ), "DREGUTIL_STORE": store}
            found = left.run_command(left.command([str(PROGRAM)], *arguments), environment)
            assert found.returncode == code, found.stderr
            return found.stdout

        yield run


def test_runs_are_resumed_and_undone_from_the_store(left: Left, run: Run, pusher: Pusher) -> None:
    before = left.rebuild(pusher)
    run("store", "import", "state")
    shutil.rmtree(left.folder / "state")
    found = {one["run"]: one for one in json.loads(run("history", "--format", "json"))}
    assert found.keys() == set(json.loads((left.folder / "runs.json").read_text()).values())
    assert found[left.run_of("undone")]["undone"]
    assert found[left.run_of("unfinished")]["unfinished"]
    run("apply", "--resume", left.run_of("unfinished"), "-y")
    for what in ("on a placeholder", "unfinished", "finished"):
        run("undo", left.run_of(what), "-y")
    assert {name: pusher.tags(name) for name in before} == before
    assert all(pusher.is_whole(name, tag) for name in before for tag in before[name])
    run("undo", "-y", code=1)


def test_when_tags_came_and_the_cache_come_along(left: Left, run: Run, pusher: Pusher) -> None:
    before = left.rebuild(pusher)
    tags = {Tag(tag): Digest(digest) for tag, digest in before["app"].items()}
    known = TagHistory(left.folder / "state", NAME).of(Repository("app"), tags)
    cached = json.loads((left.folder / "cache.json").read_text())["app"]
    run("store", "import", "state")
    shutil.rmtree(left.folder / "state")
    assert set(cached) <= {line.split()[-1] for line in run("list-tag-names", "app").splitlines() if line}
    run("cleanup", "-f", "policy.yml", "--dry-run", code=3)  # a tag is on a placeholder
    (mirror,) = (left.folder / "state" / "stores").iterdir()
    again = TagHistory(mirror, NAME).of(Repository("app"), {Tag("keep"): tags[Tag("keep")]})
    assert again[Tag("keep")].known_since == known[Tag("keep")].known_since
