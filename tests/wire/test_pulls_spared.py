"""Where reading a manifest counts as a pull, what stays is not read if HEAD and the service's list agree on it.

Else reading would make every image look used. What they do not agree on is read, as is every index, and what is to be
removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from test_native_tags import PASSWORD, USER
from test_removal_by_other_services import aws_environment

import dregutil
from dregutil.inventory.survey import survey_repository
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest, Repository
from dregutil.registry.native.docker_hub import DockerHub
from dregutil.registry.native.ecr import Ecr
from elsewhere import at_another_host
from images import IMAGE, INDEX, Pusher
from native_access import hold_image, hold_index
from servers.http import Answer, Request
from servers.native.ecr import ACCESS, EcrServer
from servers.native.harbor import HarborServer
from servers.native.hub import HubApi, HubRegistry
from servers.native.zot import ZotServer

WEB = Repository("shop/web")
STAYING = ("2.0", "2.1", "2.2")


@dataclass
class Place:
    """A simulated registry. `sent` is what was asked for, `lists_as` lies about media types in the service's list,
    `heads_as` in answers to HEAD; both by digest."""

    server: HarborServer | EcrServer
    folder: Path
    login: tuple[str, str]
    pusher: Pusher
    sent: list[Request] = field(default_factory=list)
    lists_as: dict[str, str] = field(default_factory=dict)
    heads_as: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        original = self.server.answer
        name, key = ("_artifact", "manifest_media_type")
        if isinstance(self.server, EcrServer):
            name, key = ("_detail", "imageManifestMediaType")
        described: Callable[..., dict[str, Any]] = getattr(self.server, name)

        def answer(request: Request) -> Answer:
            self.sent.append(request)
            found = original(request)
            named = found.headers.get("Docker-Content-Digest", "")
            if request.method == "HEAD" and named in self.heads_as:
                return replace(found, headers={**found.headers, "Content-Type": self.heads_as[named]})
            return found

        def describe(*arguments: Any) -> dict[str, Any]:
            found = described(*arguments)
            digest = found.get("digest") or found.get("imageDigest")
            return {**found, key: self.lists_as.get(str(digest), found[key])}

        self.server.answer = answer  # type: ignore[method-assign]
        setattr(self.server, name, describe)

    def opened(self, **options: Any) -> dregutil.Session:
        user, password = self.login
        self.sent.clear()
        return dregutil.open(
            self.server.url, user=user, password=password, state_dir=self.folder, repositories=[WEB], **options
        )

    @property
    def read(self) -> list[str]:
        """The manifests that were read with GET, by tag or digest."""
        tags = self.server.repositories[WEB].tags or {}
        asked = [one.reference for one in self.sent if one.method == "GET" and "/manifests/" in one.path]
        return [tags.get(one, one) for one in asked]

    def lists_first(self) -> bool:
        """Whether the service's list was asked for before any manifest was read."""
        first = next(place for place, one in enumerate(self.sent) if one.path == "/" or one.path.startswith("/api/"))
        return not [one for one in self.sent[:first] if one.method == "GET" and "/manifests/" in one.path]


@pytest.fixture(params=["harbor", "ecr"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param == "harbor":
        with (
            HarborServer(USER, PASSWORD) as server,
            Pusher(server.url, {"Authorization": "Bearer of-the-registry"}) as pusher,
        ):
            yield Place(server, tmp_path, (USER, PASSWORD), pusher)
        return
    for name, value in aws_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with EcrServer() as ecr, Pusher(ecr.url, {"Authorization": ACCESS}) as pusher:
        ecr.names_by_head = True
        at_another_host(monkeypatch, ecr, ecr, Ecr)
        yield Place(ecr, tmp_path, ("AWS", "a password for docker"), pusher)


def fill(place: Place) -> dict[str, str]:
    """Two images to be removed; three that stay, one of them in an index as well."""
    pusher = place.pusher
    found = {tag: pusher.push_image(WEB, tag, seed=tag) for tag in ("1.0", "1.1", *STAYING)}
    found["all"] = pusher.push_index(WEB, "all", children=[found["2.0"], pusher.push_image(WEB, seed="child")])
    place.server.pulled.clear()
    return {tag: str(one["digest"]) for tag, one in found.items()}


def planned(place: Place, **options: Any) -> dregutil.Plan:
    with place.opened(contents=None, **options) as registry:
        return registry.plan_removal(WEB, tags=["<2"])


async def surveyed(url: str, login: tuple[str, str], *digests: str, limits_pulls: bool = False) -> RepositoryGraph:
    """A survey without a crawl before it."""
    user, password = login
    options: dict[str, Any] = {"user": user, "password": password} if user else {}
    async with (
        dregutil.connect(url, state_dir=None, contents=None, **options) as session,
        session.connected() as registry,
    ):
        registry.limits_pulls = limits_pulls
        return await survey_repository(registry, WEB, [Digest(digest) for digest in digests])


def test_a_plan_reads_no_image_that_stays(place: Place) -> None:
    digests = fill(place)

    plan = planned(place)

    assert {step.digest for step in plan.steps} == {digests["1.0"], digests["1.1"]}
    assert sorted(place.read) == sorted(digests[tag] for tag in ("1.0", "1.1", "all"))
    assert place.lists_first()
    assert {digest for _, digest in place.server.pulled} <= {digests[tag] for tag in ("1.0", "1.1", "all")}


def test_with_tags_from_the_cache_the_list_is_read_before_any_manifest(place: Place) -> None:
    digests = fill(place)
    with place.opened(cache=place.folder / "cache.json") as registry:
        registry.crawl()

    planned(place, cache=place.folder / "cache.json")

    assert sorted(place.read) == sorted(digests[tag] for tag in ("1.0", "1.1", "all"))
    assert place.lists_first()


def test_a_removal_lists_once_and_its_undo_has_what_was_removed(place: Place) -> None:
    digests = fill(place)
    with place.opened(contents=None) as registry:
        plan = registry.plan_removal(WEB, tags=["<2"])
        lists = len([one for one in place.sent if one.path == "/" or one.path.startswith("/api/")])
        registry.apply(plan)
        assert len([one for one in place.sent if one.method == "GET" and one.path.startswith("/api/")]) <= lists
        assert set(place.server.repositories[WEB].tags or {}) == {*STAYING, "all"}
        assert not set(place.read) & {digests[tag] for tag in STAYING}
        registry.undo()
    assert place.server.repositories[WEB].tags == digests


async def test_what_only_head_calls_an_image_is_read(place: Place) -> None:
    digests = fill(place)
    place.lists_as = {digests["2.1"]: INDEX, digests["2.2"]: ""}

    graph = await surveyed(place.server.url, place.login)

    assert set(place.read) == {digests[tag] for tag in ("2.1", "2.2", "all")}
    assert not graph.unjudgeable


async def test_an_index_that_head_calls_an_image_is_read(place: Place) -> None:
    digests = fill(place)
    place.heads_as = {digests["all"]: IMAGE}

    graph = await surveyed(place.server.url, place.login)

    assert set(place.read) == {digests["all"]}
    assert "is said to be" in graph.unjudgeable  # and nothing is removed there


async def test_an_index_that_the_list_calls_an_image_is_read(place: Place) -> None:
    digests = fill(place)
    place.lists_as = {digests["all"]: IMAGE}

    graph = await surveyed(place.server.url, place.login)

    assert set(place.read) == {digests["all"]}
    assert graph.parents[Digest(digests["2.0"])] == (digests["all"],)


async def test_without_a_list_all_is_read(place: Place) -> None:
    digests = fill(place)
    original = place.server.answer
    place.server.answer = lambda request: (  # type: ignore[method-assign]
        Answer(403) if request.path == "/" or request.path.startswith("/api/") else original(request)
    )

    await surveyed(place.server.url, place.login)

    assert set(place.read) == set(digests.values())


async def test_a_list_that_is_refused_is_asked_for_once(place: Place) -> None:
    fill(place)
    original = place.server.answer
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        if request.path != "/" and not request.path.startswith("/api/"):
            return original(request)
        asked.append(request)
        return Answer(403)

    place.server.answer = answer  # type: ignore[method-assign]
    user, password = place.login
    async with (
        dregutil.connect(place.server.url, user=user, password=password, state_dir=None, contents=None) as session,
        session.connected() as registry,
    ):
        for _ in range(3):
            await survey_repository(registry, WEB, [])
    assert len(asked) == 1


async def test_on_docker_hub_head_is_believed_unless_the_list_contradicts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with HubRegistry() as registry, HubApi(registry) as api:
        at_another_host(monkeypatch, registry, api, DockerHub)
        one, two = hold_image(registry, WEB, "1.0", seed="one"), hold_image(registry, WEB, "2.0", seed="two")
        index = hold_index(registry, WEB, "all", children=[one])
        shown = api._tag
        said = {two: INDEX}
        monkeypatch.setattr(
            api, "_tag", lambda name, tag, digest: {**shown(name, tag, digest), "media_type": said.get(digest)}
        )

        await surveyed(registry.url, ("ann", "a-secret"), limits_pulls=True)

        assert sorted(registry.pulls) == sorted([two, index])  # of `1.0` the list does not say what it is
        registry.pulls.clear()
        monkeypatch.setattr(api, "answer", lambda _: Answer(403))
        await surveyed(registry.url, ("ann", "a-secret"), limits_pulls=True)
        assert registry.pulls == [index]


async def test_on_zot_images_are_read_because_a_manifest_may_be_a_layer_of_one() -> None:
    """zot keeps both in one folder: the file of a deleted manifest is gone as a layer, too."""
    with ZotServer() as server:
        names = [f"1.{number}" for number in range(100)]
        digests = {hold_image(server, WEB, name, seed=name) for name in names}

        async with dregutil.connect(server.url, state_dir=None, contents=None) as session:
            found = await session.crawl(WEB)
            assert [*found.listings] == [WEB]
            assert not server.pulled
            async with session.connected() as registry:
                await survey_repository(registry, WEB, [])

        assert server.pulled.keys() == digests
