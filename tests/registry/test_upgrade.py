"""What 2.0.0 left (caches, plans, records, contents, sightings, last runs) is read, applied, resumed and undone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tag_history import TagHistory
from dregutil.journal.last_cleanup import LastCleanupFile
from dregutil.oci.names import Digest, Repository, Tag
from images import Pusher
from program import PROGRAM
from servers import DistributionServer
from servers.http import Proxy
from upgraded import LAST_POLICY, NAME, Left

VERSIONS = ("2.0.0",)


class Upgraded:
    """A registry as the older version left it, with its files, and this version's program."""

    def __init__(self, left: Left, pusher: Pusher, proxy: Proxy) -> None:
        self.left = left
        self.pusher = pusher
        self.proxy = proxy
        self.before = left.rebuild(pusher)
        self.now = {name: pusher.tags(name) for name in self.before}

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command; returns what it wrote to both outputs."""
        found = self.done(*arguments, code=code)
        return found.stdout + found.stderr

    def done(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        found = self.left.run([str(PROGRAM)], self.proxy.url, *arguments, environment=os.environ)
        assert found.returncode == code, found.stderr
        return found

    def tags(self, name: str) -> dict[str, str]:
        return self.pusher.tags(name)

    def all_whole(self) -> bool:
        return all(self.pusher.is_whole(name, tag) for name in self.before for tag in self.tags(name))


@pytest.fixture(params=VERSIONS)
def upgraded(
    request: pytest.FixtureRequest, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> Iterator[Upgraded]:
    left = Left.by(request.param, tmp_path / "left", registry_server.url)
    with Proxy(registry_server.port) as proxy:
        yield Upgraded(left, pusher, proxy)


def test_history_shows_every_run_and_how_it_ended(upgraded: Upgraded) -> None:
    history = upgraded.done("history", "--format", "json")
    assert f"{upgraded.left.run_of('unfinished')} was interrupted" in history.stderr
    found = {run["run"]: run for run in json.loads(history.stdout)}
    ends = {what: found[upgraded.left.run_of(what)] for what in ("finished", "undone", "undo", "unfinished")}
    assert {what: (run["undone"], run["unfinished"]) for what, run in ends.items()} == {
        "finished": (False, False),
        "undone": (True, False),
        "undo": (False, False),
        "unfinished": (False, True),
    }
    assert {run["registry"] for run in found.values()} == {NAME}
    assert ends["finished"]["removed"] == ends["finished"]["digests"] == 2
    assert ends["finished"]["reclaimable_bytes"] > 0
    assert {(run["by"], run["host"]) for run in found.values()} == {(None, None)}  # 2.0.0 did not record them
    for run in found:
        upgraded.run("history", run)


def test_a_saved_plan_is_applied_and_undone(upgraded: Upgraded) -> None:
    upgraded.run("apply", "plan", "-y")
    assert upgraded.tags("app") == {tag: digest for tag, digest in upgraded.now["app"].items() if tag != "1.0"}
    upgraded.run("undo", "-y")
    assert upgraded.tags("app") == upgraded.now["app"]
    assert upgraded.all_whole()


def test_a_finished_run_is_undone(upgraded: Upgraded) -> None:
    upgraded.run("undo", upgraded.left.run_of("finished"), "-y")
    tags = upgraded.before["app"]
    assert upgraded.tags("app") == {**upgraded.now["app"], "1.1": tags["1.1"], "1.2": tags["1.2"]}


@pytest.mark.parametrize("how", ["resume", "undo"])
def test_an_unfinished_run_is_resumed_or_undone(upgraded: Upgraded, how: str) -> None:
    run = upgraded.left.run_of("unfinished")
    upgraded.run(*(("undo", run, "-y") if how == "undo" else ("apply", "--resume", run, "-y")))
    tags = upgraded.tags("app")
    if how == "undo":
        assert tags == {tag: digest for tag, digest in upgraded.before["app"].items() if tag not in ("1.1", "1.2")}
    else:
        assert tags.keys() == {"1.0", "1.3", "1.5", "keep"}
        upgraded.run("undo", run, "-y")
        assert upgraded.tags("app").keys() == upgraded.before["app"].keys() - {"1.1", "1.2"}
    assert all(upgraded.pusher.is_whole("app", tag) for tag in upgraded.tags("app"))


@pytest.mark.parametrize("how", ["resume", "undo"])
def test_a_tag_on_a_placeholder_is_recognised_and_gets_its_image(upgraded: Upgraded, how: str) -> None:
    run = upgraded.left.run_of("on a placeholder")
    assert f"left by the interrupted run {run}" in upgraded.run("inspect", "tool:1.0", code=3)
    upgraded.run(*(("undo", run, "-y") if how == "undo" else ("apply", "--resume", run, "-y")))
    before = upgraded.before["tool"]
    assert upgraded.tags("tool") == (before if how == "undo" else {"stable": before["stable"]})
    assert upgraded.all_whole() or how == "resume"


def test_undo_without_a_run_goes_from_newest_to_oldest_and_skips_undone_runs(upgraded: Upgraded) -> None:
    for what in ("on a placeholder", "unfinished", "finished"):
        assert upgraded.left.run_of(what) in upgraded.run("undo", "-y").splitlines()[0] + upgraded.run("history")
    assert {name: upgraded.tags(name) for name in upgraded.before} == upgraded.before
    assert upgraded.all_whole()
    upgraded.run("undo", "-y", code=1)


def test_a_new_removal_is_the_newest_run(upgraded: Upgraded) -> None:
    upgraded.run("remove-tags", "-r", "app", "-t", "1.5", "--refresh")
    assert "1.5" not in upgraded.tags("app")
    upgraded.run("undo", "-y")
    assert upgraded.tags("app") == upgraded.now["app"]


def test_the_cache_and_the_contents_are_read(upgraded: Upgraded) -> None:
    cached = json.loads((upgraded.left.folder / "cache.json").read_text())["app"]
    listed = upgraded.run("list-tag-names", "app").splitlines()
    assert {line.split()[-1] for line in listed[: len(cached)]} == set(cached) >= {"1.0", "2.0", "keep"}
    upgraded.proxy.requests.clear()
    upgraded.run("du")
    assert not [request for request in upgraded.proxy.requests if "/manifests/" in request.path], "all are known"
    with ContentDatabase.open(upgraded.left.folder / "contents" / "dregutil" / "contents.sqlite") as database:
        digests = [Digest(digest) for digest in upgraded.before["app"].values()]
        assert database.missing(digests) == []
        assert all(database.details(digest) is not None for digest in digests)


def test_the_sightings_are_continued(upgraded: Upgraded) -> None:
    store = TagHistory(upgraded.left.folder / "state", NAME)
    tags = {Tag(tag): Digest(digest) for tag, digest in upgraded.before["app"].items()}
    known = store.of(Repository("app"), tags)
    assert known.keys() == tags.keys()
    assert not any(sighting.came for sighting in known.values())
    upgraded.run("cleanup", "-f", "policy.yml", "--dry-run", code=3)  # a tag is on a placeholder
    again = store.of(Repository("app"), {Tag("keep"): tags[Tag("keep")]})
    assert again[Tag("keep")].known_since == known[Tag("keep")].known_since < datetime.now(UTC)


def test_the_last_run_of_a_policy_is_known(upgraded: Upgraded) -> None:
    last = LastCleanupFile(upgraded.left.folder / "state", NAME, upgraded.left.folder / LAST_POLICY).read()
    assert last is not None
    assert (last.selected, last.removed) == ({"all": 11}, {"all": 0})
    shown = upgraded.run("cleanup", "-f", LAST_POLICY, "--dry-run", code=3)  # a tag is on a placeholder
    assert f"SINCE {last.when:%Y-%m-%d %H:%M}" in shown
