"""Removals through the command line on Docker Hub and GHCR, simulated (`servers/native` names the sources).

There a tag, or a manifest, is deleted by the service's own API at another host. Nothing that stays may be lost by it,
whatever happens between two requests, and wherever a run ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from images import Pusher, created
from servers.http import Answer, Endpoint, Request
from servers.native.github import GhcrRegistry, GitHubApi
from servers.native.hub import HubApi, HubRegistry

WEB = "shop/web"
TESTS = Path(__file__).parents[1]
KILLS = 60 if "DREGUTIL_LONG" in os.environ else 6


@dataclass
class Site:
    """A registry, its service's API, and commands for them. `writes` are what both were asked to change so far, by
    dregutil; `before` is called with each such request, by its number, and may answer in the server's place."""

    name: str
    registry: HubRegistry | GhcrRegistry
    api: HubApi | GitHubApi
    folder: Path
    pusher: Pusher
    writes: list[str] = field(default_factory=list)
    before: Callable[[int, Request], Answer | None] = lambda _, __: None
    after: Callable[[int, Request], None] = lambda _, __: None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "elsewhere", self.registry.host, self.api.host, self.name]
        command += ["-reg", self.registry.url, "-u", "ann", "-p", "a-secret", "-c", "None", "--state-dir", "state"]
        command += ["--repositories-from", "names"]
        (self.folder / "names").write_text(f"{WEB}\n")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL"))}
        env["PYTHONPATH"] = str(TESTS)
        return subprocess.Popen(
            [*command, *arguments], cwd=self.folder, env=env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.registry.repositories[WEB].tags or {})

    def is_whole(self, tag: str) -> bool:
        """Whether a tag, its manifest, its children and their blobs exist, in the server's own data."""
        found = self.registry.repositories[WEB]

        def whole(digest: str) -> bool:
            manifest = found.manifests.get(digest)
            return (
                manifest is not None
                and all(whole(child) for child in manifest.children)
                and all(blob["digest"] in self.registry.blobs for blob in manifest.blobs)
            )

        return whole(self.tags.get(tag, ""))

    def watch(self) -> None:
        """Note and change what is written, at both servers."""
        for server in (self.registry, self.api):
            self._watch(server)

    def _watch(self, server: Endpoint) -> None:
        original = server.answer

        def answer(request: Request) -> Answer:
            is_ours = request.headers.get("authorization") not in (None, self.registry.trusted)
            if request.method not in ("DELETE", "PUT", "POST") or not is_ours or request.path == "/v2/auth/token":
                return original(request)
            number = len(self.writes)
            self.writes.append(f"{request.method} {request.target}")
            found = self.before(number, request)
            if found is None:
                found = original(request)
                self.after(number, request)
            return found

        server.answer = answer  # type: ignore[method-assign]


@pytest.fixture(params=["hub", "github"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        registry: HubRegistry | GhcrRegistry
        api: HubApi | GitHubApi
        if request.param == "hub":
            registry = stack.enter_context(HubRegistry())
            api = stack.enter_context(HubApi(registry))
        else:
            registry = stack.enter_context(GhcrRegistry())
            api = stack.enter_context(GitHubApi(registry))
        pusher = stack.enter_context(Pusher(registry.url, {"Authorization": registry.trusted}))
        found = Site(request.param, registry, api, tmp_path, pusher)
        found.watch()
        yield found


def fill(site: Site) -> dict[str, str]:
    pusher = site.pusher

    def push(*tags: str, seed: str, days: float) -> dict[str, Any]:
        return pusher.push_image(WEB, *tags, seed=seed, config=created(days))

    one, shared = push(seed="one", days=90), push(seed="shared", days=90)
    index = pusher.push_index(WEB, "1.0", children=[one, shared])
    pusher.push_image(WEB, f"sha256-{index['digest'][7:]}.sig", seed="signature")
    pusher.push_index(WEB, "2.0", children=[shared])
    push("1.1", "1.1.0", seed="two", days=80)
    push("1.2", "stable", seed="three", days=70)
    return site.tags


STAY = {"2.0", "1.2", "stable"}
REMOVE = ("remove-tags", "-r", WEB, "-t", "<2", "-y")


def check(site: Site, before: dict[str, str], stay: set[str] = STAY) -> None:
    for tag in stay:
        assert site.tags.get(tag) == before[tag], tag
        assert site.is_whole(tag), tag


def check_undone(site: Site, before: dict[str, str]) -> None:
    assert site.tags == before
    assert all(site.is_whole(tag) for tag in before)


def test_a_removal_and_its_undo(site: Site) -> None:
    before = fill(site)

    done = site.run(*REMOVE)

    assert done.returncode == 0, done.stderr
    assert site.tags.keys() == STAY
    check(site, before)
    assert len(site.registry.repositories[WEB].manifests) == 3  # the index, its child, and the image of two tags

    undone = site.run("undo", "-y")

    assert undone.returncode == 0, undone.stderr
    check_undone(site, before)


def test_the_writes_of_a_removal(site: Site) -> None:
    before = fill(site)
    site.run(*REMOVE)
    paths = [write.replace(before["1.1"], "ONE.ONE") for write in site.writes]
    if site.name == "hub":
        image = [path for path in paths if "1.1" in path.rsplit("/tags/")[-1] or "ONE.ONE" in path]
        assert image == [
            "DELETE /v2/repositories/shop/web/tags/1.1/",
            "DELETE /v2/repositories/shop/web/tags/1.1.0/",
            "DELETE /v2/shop/web/manifests/ONE.ONE",
        ]
        assert not [path for path in paths if path.startswith("PUT")]
    else:
        assert (
            len([path for path in paths if path.startswith("DELETE /orgs/shop/packages/container/web/versions/")]) == 4
        )
        assert len([path for path in paths if path.startswith("DELETE /v2/")]) == 1  # whether the registry deletes
        assert not [path for path in paths if path.startswith("PUT")]


def test_one_of_two_tags_goes_alone(site: Site) -> None:
    before = fill(site)

    done = site.run("remove-tags", "-r", WEB, "-t", "1.2", "--untag", "-y")

    assert done.returncode == 0, done.stderr
    assert site.tags.keys() == before.keys() - {"1.2"}
    check(site, before, before.keys() - {"1.2"})
    assert site.run("undo", "-y").returncode == 0
    check_undone(site, before)


def test_a_cleanup(site: Site) -> None:
    before = fill(site)
    (site.folder / "policy.yml").write_text(
        "version: 1\npolicies:\n- name: old\n  repositories: ['shop/**']\n  select: {version: '<2'}\n"
        "  keep: {last: 2}\n"
    )

    done = site.run("cleanup", "-f", "policy.yml", "-y")

    assert done.returncode == 0, done.stderr
    assert "1.0" not in site.tags, done.stdout + done.stderr
    check(site, before, before.keys() - {"1.0", *(tag for tag in before if tag.endswith(".sig"))})
    assert site.run("undo", "-y").returncode == 0
    check_undone(site, before)
