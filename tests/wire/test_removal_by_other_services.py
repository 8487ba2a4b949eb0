"""Removals through the command line on Harbor, ACR and ECR, simulated (`servers/native` names the sources).

There a single tag, on ECR an image as well, is deleted by the service's own API.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from images import Pusher
from servers.http import Answer, Request
from servers.native.acr import AcrServer
from servers.native.ecr import ACCESS, EcrServer
from servers.native.harbor import HarborServer

WEB = "shop/web"
TESTS = Path(__file__).parents[1]
LOGINS = {
    HarborServer: ("robot$ci", "a secret of Harbor"),
    EcrServer: ("AWS", "a password for docker"),
    AcrServer: ("ann", "a-secret"),
}
REMOVE = ("remove-tags", "-r", WEB, "-y")


@dataclass
class Site:
    """A registry with its service's API, and commands for it. `writes`: what dregutil asked it to change."""

    server: HarborServer | EcrServer | AcrServer
    folder: Path
    pusher: Pusher
    environment: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        is_ecr = isinstance(self.server, EcrServer)
        program = ["elsewhere", self.server.host, self.server.host, "ecr"] if is_ecr else ["dregutil"]
        user, password = LOGINS[type(self.server)]
        command = [sys.executable, "-m", *program, "-reg", self.server.url, "-u", user, "-p", password]
        command += ["-c", "None", "--state-dir", "state", "--repositories-from", "names"]
        (self.folder / "names").write_text(f"{WEB}\n")
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL", "AWS"))
        }
        return subprocess.Popen(
            [*command, *arguments],
            cwd=self.folder,
            env={**kept, "PYTHONPATH": str(TESTS), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.server.repositories[WEB].tags or {})

    def are_whole(self) -> bool:
        """Whether each tag, its manifest and its children exist, with their blobs, in the server's own data."""
        manifests = self.server.repositories[WEB].manifests

        def is_whole(digest: str) -> bool:
            found = manifests.get(digest)
            return (
                found is not None
                and all(is_whole(child) for child in found.children)
                and all(blob["digest"] in self.server.blobs for blob in found.blobs)
            )

        return all(is_whole(digest) for digest in self.tags.values())

    def fill(self) -> dict[str, str]:
        push = self.pusher
        one, shared = push.push_image(WEB, seed="one"), push.push_image(WEB, seed="shared")
        index = push.push_index(WEB, "1.0", children=[one, shared])
        push.push_image(WEB, f"sha256-{index['digest'][7:]}.sig", seed="signature")
        push.push_index(WEB, "2.0", children=[shared])
        push.push_image(WEB, "1.1", "1.1.0", seed="two")
        push.push_image(WEB, "1.2", "stable", seed="three")
        self.watch()
        return self.tags

    def watch(self) -> None:
        """Note what is asked of the server from now on."""
        answer = self.server.answer

        def watched(request: Request) -> Answer:
            if request.method not in ("GET", "HEAD") and "DescribeImages" not in request.headers.get(
                "x-amz-target", ""
            ):
                self.writes.append(f"{request.method} {request.target}")
            return answer(request)

        self.server.answer = watched  # type: ignore[method-assign]


def aws_environment(folder: Path) -> dict[str, str]:
    """Credentials of AWS, and none that are elsewhere on this machine."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIDTESTS",
        "AWS_SECRET_ACCESS_KEY": "a secret key of AWS",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
    }


@pytest.fixture(params=["harbor", "acr", "ecr"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield opened(stack, request.param, tmp_path)


def opened(stack: ExitStack, kind: str, folder: Path) -> Site:
    server: HarborServer | EcrServer | AcrServer
    if kind == "harbor":
        server, login = stack.enter_context(HarborServer()), "Bearer of-the-registry"
    elif kind == "acr":
        server = stack.enter_context(AcrServer())
        login = server.trusted
    else:
        server, login = stack.enter_context(EcrServer()), ACCESS
    pusher = stack.enter_context(Pusher(server.url, {"Authorization": login}))
    return Site(server, folder, pusher, aws_environment(folder) if kind == "ecr" else {})


@pytest.fixture
def ecr(tmp_path: Path) -> Iterator[Site]:
    with EcrServer() as server, Pusher(server.url, {"Authorization": ACCESS}) as pusher:
        yield Site(server, tmp_path, pusher, aws_environment(tmp_path))


def test_a_removal_and_its_undo(site: Site) -> None:
    before = site.fill()
    dry = site.run(*REMOVE, "-t", "<2", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert site.tags == before
    assert site.writes == []

    done = site.run(*REMOVE, "-t", "<2")

    assert done.returncode == 0, done.stderr
    assert site.tags == {tag: before[tag] for tag in ("1.2", "2.0", "stable")}
    assert site.are_whole()
    back = site.run("undo", "-y")
    assert back.returncode == 0, back.stderr
    assert site.tags == before
    assert site.are_whole()


def test_one_of_two_tags_goes_alone_and_nothing_is_pushed(site: Site) -> None:
    before = site.fill()

    done = site.run(*REMOVE, "-t", "1.2", "--untag")

    assert done.returncode == 0, done.stderr
    assert site.tags == {tag: digest for tag, digest in before.items() if tag != "1.2"}
    assert site.are_whole()
    assert not any(write.startswith("PUT") or "/blobs/" in write for write in site.writes)
    back = site.run("undo", "-y")
    assert back.returncode == 0, back.stderr
    assert site.tags == before


@pytest.mark.parametrize("kind", ["harbor", "acr"])
def test_where_the_login_may_not_use_the_api_a_tag_is_moved_aside(kind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        site = opened(stack, kind, tmp_path)
        before = site.fill()
        if isinstance(site.server, HarborServer):
            site.server._api = lambda request: Answer(403)  # type: ignore[method-assign]
        elif isinstance(site.server, AcrServer):
            site.server.users["ann"].actions = frozenset(("pull", "push", "delete"))
            site.server._untag = lambda *_: Answer(403)  # type: ignore[method-assign]

        done = site.run(*REMOVE, "-t", "1.2", "--untag")

        assert done.returncode == 0, done.stderr
        assert site.tags == {tag: digest for tag, digest in before.items() if tag != "1.2"}
        assert site.are_whole()
        assert any(write.startswith("PUT") for write in site.writes)


def test_ecr_deletes_many_images_in_few_requests(ecr: Site) -> None:
    stays = ecr.pusher.push_image(WEB, "2.0", seed="stays")
    for number in range(80):
        ecr.pusher.push_image(WEB, f"1.{number}", seed=str(number))
    ecr.watch()

    done = ecr.run(*REMOVE, "-t", "<2", "--yes-remove", "80")

    assert done.returncode == 0, done.stderr
    assert ecr.tags == {"2.0": stays["digest"]}
    assert isinstance(ecr.server, EcrServer)
    batches = [len(call["imageIds"]) for call in ecr.server.called("BatchDeleteImage")]
    assert sum(batches) == 80
    assert len(batches) <= 4
    assert sum(write.startswith("DELETE") for write in ecr.writes) == 1  # of a digest that does not exist


def test_batches_whose_answers_are_lost_are_looked_at(ecr: Site) -> None:
    before = ecr.fill()
    assert isinstance(ecr.server, EcrServer)
    ecr.server.lost.add("BatchDeleteImage")

    done = ecr.run(*REMOVE, "-t", "<2")

    assert done.returncode == 0, done.stderr
    assert ecr.tags == {tag: before[tag] for tag in ("1.2", "2.0", "stable")}
    assert ecr.are_whole()
    back = ecr.run("undo", "-y")
    assert back.returncode == 0, back.stderr
    assert ecr.tags == before


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_run_that_is_killed_in_a_batch_is_taken_up(ecr: Site, carried_out: bool) -> None:
    before = ecr.fill()
    assert isinstance(ecr.server, EcrServer)
    delete = ecr.server._delete_batch
    running: list[subprocess.Popen[str]] = []

    def kill(body: Mapping[str, Any]) -> Answer:
        found = delete(body) if carried_out else Answer(0)
        running[0].kill()
        running[0].wait()
        return found

    ecr.server._delete_batch = kill  # type: ignore[method-assign]
    running.append(ecr.start(*REMOVE, "-t", "<2"))
    running[0].communicate(timeout=120)
    ecr.server._delete_batch = delete  # type: ignore[method-assign]
    stay = ("1.2", "2.0", "stable")
    assert {tag: ecr.tags[tag] for tag in stay} == {tag: before[tag] for tag in stay}
    assert ecr.are_whole()

    (record,) = (ecr.folder / "state" / "runs").iterdir()
    done = ecr.run("apply", "--resume", record.name, "-y")

    assert done.returncode == 0, done.stderr
    assert ecr.tags == {tag: before[tag] for tag in stay}
    assert ecr.are_whole()
    back = ecr.run("undo", "-y")
    assert back.returncode == 0, back.stderr
    assert ecr.tags == before
    assert ecr.are_whole()


@pytest.mark.parametrize("lacking", ["AWS_ACCESS_KEY_ID", "a right"])
def test_without_ecr_s_api_the_registry_deletes(ecr: Site, lacking: str) -> None:
    before = ecr.fill()
    ecr.environment.pop(lacking, None)
    assert isinstance(ecr.server, EcrServer)
    if lacking == "a right":
        ecr.server.may = {"DescribeImages"}

    done = ecr.run(*REMOVE, "-t", "<2")

    assert done.returncode == 0, done.stderr
    assert ecr.tags == {tag: before[tag] for tag in ("1.2", "2.0", "stable")}
    assert ecr.are_whole()
    assert ecr.server.called("BatchDeleteImage") == []


def test_a_tag_that_harbor_protects_stays_and_the_run_says_so(tmp_path: Path) -> None:
    with HarborServer() as server, Pusher(server.url, {"Authorization": "Bearer of-the-registry"}) as pusher:
        site = Site(server, tmp_path, pusher)
        before = site.fill()
        server.immutable.add("1.2")

        done = site.run(*REMOVE, "-t", "1.2", "--untag")

        assert done.returncode != 0
        assert "immutab" in done.stderr
        assert site.tags == before
        assert site.are_whole()
