"""Removals through the command line on Docker Hub and GHCR, simulated (`servers/native` names the sources).

There a tag, or a manifest, is deleted by the service's own API at another host. Nothing that stays may be lost by it,
whatever happens between two requests, and wherever a run ends.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from images import Pusher, created
from native_access import hold_index
from servers.http import LOST, Answer, Endpoint, Request
from servers.native.github import GhcrRegistry, GitHubApi
from servers.native.hub import HubApi, HubRegistry
from servers.native.tokens import User

WEB = "shop/web"
TESTS = Path(__file__).parents[1]
KILLS = 60 if "DREGUTIL_LONG" in os.environ else 3


@dataclass
class Site:
    """A registry, its service's API, and commands for them. `writes` are what both were asked to change so far, by
    dregutil; `before` is called with each such request, by its number, and may answer in the server's place; `after`
    may change the answer."""

    name: str
    registry: HubRegistry | GhcrRegistry
    api: HubApi | GitHubApi
    folder: Path
    pusher: Pusher
    writes: list[str] = field(default_factory=list)
    before: Callable[[int, Request], Answer | None] = lambda _, __: None
    after: Callable[[int, Request, Answer], Answer] = lambda _, __, answer: answer

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

    def put(self, tag: str, digest: str) -> None:
        """Another user moves a tag."""
        found = self.registry.repositories[WEB]
        found.tags = {**(found.tags or {}), tag: digest}

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
                found = self.after(number, request, original(request))
            return found

        server.answer = answer  # type: ignore[method-assign]


@contextmanager
def new_site(name: str, folder: Path) -> Iterator[Site]:
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        registry: HubRegistry | GhcrRegistry
        api: HubApi | GitHubApi
        if name.startswith("hub"):
            registry = stack.enter_context(HubRegistry())
            api = stack.enter_context(HubApi(registry))
        else:
            registry = stack.enter_context(GhcrRegistry())
            api = stack.enter_context(GitHubApi(registry))
        pusher = stack.enter_context(Pusher(registry.url, {"Authorization": registry.trusted}))
        found = Site(name, registry, api, folder, pusher)
        found.watch()
        yield found


@pytest.fixture(params=["hub", "hub+sweep", "github"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with new_site(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Site]:
    with new_site("hub", tmp_path) as found:
        yield found


@pytest.fixture
def github(tmp_path: Path) -> Iterator[Site]:
    with new_site("github", tmp_path) as found:
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


def test_doctor_removes_nothing(site: Site) -> None:
    before = fill(site)

    found = site.run("doctor")

    assert found.returncode == 0, found.stderr
    assert "deletion       allowed" in found.stdout
    what = "Docker Hub's API" if site.name.startswith("hub") else "GitHub's Packages API"
    assert f"read through {what}" in found.stdout
    check_undone(site, before)


def test_the_writes_of_a_removal(site: Site) -> None:
    before = fill(site)
    site.run(*REMOVE)
    paths = [write.replace(before["1.1"], "ONE.ONE") for write in site.writes]
    if site.name.startswith("hub"):
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


def test_no_tag_is_moved_aside_where_a_service_deletes_manifests(tmp_path: Path) -> None:
    with new_site("github+sweep", tmp_path) as site:
        before = fill(site)
        assert site.run(*REMOVE).returncode == 0
        assert site.tags.keys() == STAY
        check(site, before)
        assert not [write for write in site.writes if not write.startswith("DELETE")]


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
        "  keep: {last: 2}\n  min_age: 0d\n"
    )

    done = site.run("cleanup", "-f", "policy.yml", "-y")

    assert done.returncode == 0, done.stderr
    assert "1.0" not in site.tags, done.stdout + done.stderr
    check(site, before, before.keys() - {"1.0", *(tag for tag in before if tag.endswith(".sig"))})
    assert site.run("undo", "-y").returncode == 0
    check_undone(site, before)


# --- a run that ends anywhere


def write_count(name: str, folder: Path) -> int:
    with new_site(name, folder) as site:
        fill(site)
        site.run(*REMOVE)
        return len(site.writes)


@pytest.mark.parametrize("then", ["resume", "undo"])
@pytest.mark.parametrize("name", ["hub", "hub+sweep", "github"])
def test_killed_at_a_write(name: str, then: str, tmp_path: Path) -> None:
    """Before the server carries it out, or after it has; then the run is completed, or undone."""
    count = write_count(name, tmp_path / "whole")
    places = [(number, done) for number in range(count) for done in (False, True)]
    for number, done in places if len(places) < KILLS else random.sample(places, KILLS):
        with new_site(name, tmp_path / f"{number}-{done}") as site:
            before = fill(site)
            killed_at(site, number, done=done)
            check(site, before)
            runs = site.folder / "state" / "runs"
            if not runs.exists():
                assert site.tags == before  # nothing was begun
                continue
            resume = ("apply", "--resume", next(runs.iterdir()).name, "-y")
            end = site.run(*(resume if then == "resume" else ("undo", "-y")))
            check(site, before)
            if then == "resume":
                assert end.returncode in (0, 1), end.stderr
                if end.returncode == 0:
                    assert site.tags.keys() == STAY, (number, done, end.stderr)
                    end = site.run("undo", "-y")
            if end.returncode == 0:
                check_undone(site, before)
            else:
                assert site.tags == before, (number, done, end.stdout + end.stderr)


def killed_at(site: Site, number: int, *, done: bool) -> None:
    process: list[subprocess.Popen[str]] = []

    def kill(at: int) -> Answer | None:
        if at == number:
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()
            return LOST
        return None

    if done:
        site.after = lambda at, _, answer: kill(at) or answer
    else:
        site.before = lambda at, _: kill(at)
    process.append(site.start(*REMOVE))
    process[0].communicate(timeout=120)
    assert process[0].returncode == -signal.SIGKILL
    site.before, site.after = lambda _, __: None, lambda _, __, answer: answer


@pytest.mark.parametrize("name", ["hub", "hub+sweep", "github"])
def test_an_answer_that_is_lost(name: str, tmp_path: Path) -> None:
    count = write_count(name, tmp_path / "whole")
    for number in range(count) if count < KILLS else random.sample(range(count), min(count, KILLS)):
        with new_site(name, tmp_path / str(number)) as site:
            before = fill(site)
            site.after = lambda at, _, answer, number=number: LOST if at == number else answer  # type: ignore[misc]
            done = site.run(*REMOVE)
            check(site, before)
            assert done.returncode in (0, 3, 6), (number, done.stderr)
            if done.returncode == 0:
                assert site.tags.keys() == STAY
            site.after = lambda _, __, answer: answer
            undone = site.run("undo", "-y")
            assert undone.returncode == 0, (number, done.stderr, undone.stderr)
            check_undone(site, before)


@pytest.mark.parametrize("done", [False, True])
def test_an_answer_about_a_tag_that_is_lost(hub: Site, done: bool) -> None:
    """Its digest goes if the tag is gone; else its other tags come back."""
    before = fill(hub)
    path = "/v2/repositories/shop/web/tags/1.1.0/"
    if done:
        hub.after = lambda _, request, answer: LOST if request.target == path else answer
    else:
        hub.before = lambda _, request: LOST if request.target == path else None

    found = hub.run(*REMOVE)

    assert found.returncode == (0 if done else 3), found.stderr
    assert "defect" not in found.stderr
    check(hub, before, STAY if done else {*STAY, "1.1", "1.1.0"})


# --- what others do meanwhile


def plan(site: Site) -> None:
    found = site.run("remove-tags", "-r", WEB, "-t", "<2", "--plan-out", "plan")
    assert found.returncode == 0, found.stderr


def test_a_tag_that_moves_meanwhile_stays(site: Site) -> None:
    before = fill(site)
    plan(site)
    moved = site.pusher.push_image(WEB, "1.1", seed="moved", config=created(1))["digest"]

    done = site.run("apply", "plan", "-y")

    assert done.returncode in (0, 3), done.stderr
    check(site, {**before, "1.1": moved}, {*STAY, "1.1"})


def test_a_new_tag_on_a_doomed_digest_holds_it(site: Site) -> None:
    before = fill(site)
    plan(site)
    site.put("new", before["1.1"])

    done = site.run("apply", "plan", "-y")

    assert "also 'new'" in done.stderr
    check(site, {**before, "new": before["1.1"]}, {*STAY, "new"})


def test_a_tag_that_moves_just_before_the_others_of_its_digest_go(hub: Site) -> None:
    before = fill(hub)
    moved = hub.pusher.push_image(WEB, "other", seed="moved", config=created(1))["digest"]

    def move(_: int, request: Request) -> None:
        if request.target.endswith("/tags/1.1/"):
            hub.put("1.1.0", moved)

    hub.before = move
    done = hub.run(*REMOVE)

    assert done.returncode == 3, done.stderr
    check(hub, {**before, "1.1.0": moved}, {*STAY, "1.1.0", "1.1"})


@pytest.mark.parametrize("by", ["tag", "index"])
def test_what_comes_to_refer_to_a_digest_whose_tags_just_went(hub: Site, by: str) -> None:
    """Docker Hub refuses its deletion then, and the tags that went before come back."""
    before = fill(hub)

    def refer(_: int, request: Request) -> None:
        if request.target == f"/v2/{WEB}/manifests/{before['1.1']}":
            if by == "tag":
                hub.put("new", before["1.1"])
            else:
                hold_index(hub.registry, WEB, "new", children=[before["1.1"]])

    hub.before = refer
    done = hub.run(*REMOVE)

    assert done.returncode == 3, done.stderr
    assert "immutable or referred to" in done.stderr
    check(hub, {**before, "new": hub.tags["new"]}, {*STAY, "new", "1.1", "1.1.0"})


# --- a service that lies, refuses or is slow


def test_a_tag_that_the_service_does_not_list_is_seen(site: Site) -> None:
    """Its digest's other tags are selected: a client that trusts the list deletes it."""
    before = fill(site)
    site.api.hidden = {"stable"}

    done = site.run("remove-tags", "-r", WEB, "-t", "1.2", "-y")

    check(site, before, set(before))
    assert "stable" in done.stdout + done.stderr


def test_a_tag_that_the_service_puts_on_another_digest(site: Site) -> None:
    before = fill(site)
    original = site.api.answer

    def lie(request: Request) -> Answer:
        found = original(request)
        body = found.body.replace(before["1.1"].encode(), b"@").replace(before["2.0"].encode(), before["1.1"].encode())
        return replace(found, body=body.replace(b"@", before["2.0"].encode()))

    site.api.answer = lie  # type: ignore[method-assign]
    done = site.run(*REMOVE)

    check(site, before)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("status", [403, 500])
def test_a_login_that_may_not_delete_tags_at_docker_hub(hub: Site, status: int) -> None:
    before = fill(hub)
    assert isinstance(hub.api, HubApi)
    hub.api.no_rights = status
    original = hub.api._delete
    hub.registry.users["bob"] = User("b-secret", frozenset(("pull", "push")))
    hub.api._delete = lambda name, tag, user: original(name, tag, user and "bob")  # type: ignore[method-assign]

    done = hub.run(*REMOVE)

    assert done.returncode in (1, 3, 4), done.stderr
    assert f"status {status}" in done.stderr
    check_undone(hub, before)
    untag = hub.run("remove-tags", "-r", WEB, "-t", "1.2", "--untag", "-y")
    assert untag.returncode in (1, 3, 4), untag.stderr
    check_undone(hub, before)
    assert not [write for write in hub.writes if write.startswith("PUT")]


def test_a_deletion_that_docker_hub_carries_out_later(hub: Site) -> None:
    before = fill(hub)
    assert isinstance(hub.registry, HubRegistry)
    hub.registry.in_background, hub.registry.background = 1, 3

    done = hub.run(*REMOVE)

    assert done.returncode in (0, 3), done.stderr
    check(hub, before)
    undone = hub.run("undo", "-y")
    assert undone.returncode == 0, undone.stderr
    check_undone(hub, before)


def test_the_last_tagged_version_stays(github: Site) -> None:
    github.pusher.push_image(WEB, "1.0", seed="one", config=created(9))
    github.pusher.push_image(WEB, "1.1", seed="two", config=created(8))
    before = github.tags

    done = github.run("remove-tags", "-r", WEB, "-t", "<2", "-y")

    assert done.returncode == 3, done.stderr
    assert "last tagged version" in done.stderr
    assert len(github.tags) == 1
    assert github.run("undo", "-y").returncode == 0
    check_undone(github, before)


def test_without_a_token_for_the_packages_nothing_is_tried(github: Site) -> None:
    before = fill(github)
    github.registry.users["ann"].secret = "github_pat_fine"
    done = github.run("-p", "github_pat_fine", *REMOVE)
    assert done.returncode == 4, done.stderr
    assert "Resource not accessible by personal access token" in done.stderr
    check_undone(github, before)


# --- undo on GHCR


def test_blobs_that_only_a_restored_version_has(github: Site) -> None:
    before = fill(github)
    assert isinstance(github.api, GitHubApi)
    github.api.takes_blobs = True
    assert github.run(*REMOVE).returncode == 0

    undone = github.run("undo", "-y")

    assert undone.returncode == 0, undone.stderr
    check_undone(github, before)


@pytest.mark.parametrize("takes_blobs", [False, True])
def test_a_restored_version_takes_no_tag_that_was_pushed_since(github: Site, takes_blobs: bool) -> None:
    before = fill(github)
    assert isinstance(github.api, GitHubApi)
    github.api.takes_blobs = takes_blobs
    assert github.run(*REMOVE).returncode == 0
    new = github.pusher.push_image(WEB, "1.1", seed="new", config=created(1))["digest"]

    undone = github.run("undo", "-y")

    assert github.tags["1.1"] == new
    assert github.is_whole("1.1")
    check(github, before, {*STAY, "1.0"})
    if takes_blobs:
        assert undone.returncode == 3, undone.stderr
        assert "1.1.0" not in github.tags
    else:
        assert github.tags["1.1.0"] == before["1.1.0"]


def test_after_thirty_days_the_undo_says_what_is_lost(github: Site) -> None:
    before = fill(github)
    assert isinstance(github.api, GitHubApi)
    github.api.takes_blobs = True
    assert github.run(*REMOVE).returncode == 0
    github.api.age(31)

    undone = github.run("undo", "-y")

    assert undone.returncode != 0
    assert github.tags.keys() == STAY
    check(github, before)


def test_one_image_of_a_run_is_restored_alone(github: Site) -> None:
    before = fill(github)
    assert github.run(*REMOVE).returncode == 0
    undone = github.run("undo", f"{WEB}:1.1.0", "-y")
    assert undone.returncode == 0, undone.stderr
    assert "1.0" not in github.tags
    assert github.tags["1.1.0"] == before["1.1.0"]
    check(github, before)
