"""The API of a registry's service at an address that the user names: Nexus, GitHub Enterprise Server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dregutil
from dregutil.errors import UsageError
from dregutil.oci.api_address import ApiAddress
from dregutil.oci.names import Repository
from dregutil.registry.connect import ConnectOptions, connect
from images import Pusher, created
from native_access import hold_image, hold_index
from program import Program
from servers.http import Answer, Request
from servers.native.github import GhcrRegistry, GitHubApi
from servers.native.nexus import NexusApi, NexusRegistry

WEB = Repository("shop/web")
LOGIN = ("-u", "ann", "-p", "a-secret")


@pytest.fixture
def registry() -> Iterator[NexusRegistry]:
    with NexusRegistry() as found:
        yield found


@pytest.fixture
def api(registry: NexusRegistry) -> Iterator[NexusApi]:
    with NexusApi(registry) as found:
        yield found


def opened(registry: NexusRegistry, folder: Path, **options: Any) -> dregutil.Session:
    return dregutil.open(registry.url, user="ann", password="a-secret", state_dir=folder, contents=None, **options)


def fill(registry: NexusRegistry, number: int) -> dict[str, str]:
    return {f"1.{one}": hold_image(registry, WEB, f"1.{one}", seed=str(one)) for one in range(number)}


def test_tags_are_read_through_the_api_that_is_named(registry: NexusRegistry, api: NexusApi, tmp_path: Path) -> None:
    digests = fill(registry, 120)

    with opened(registry, tmp_path, api=api.url, api_repository="docker-hosted") as session:
        found = session.crawl(WEB)

    assert dict(found.inventory.tags(WEB)) == digests
    assert [*found.listings] == [WEB]
    assert len(registry.sent("HEAD", "/manifests/")) == 1


def test_without_it_nothing_is_sent_there(registry: NexusRegistry, api: NexusApi, tmp_path: Path) -> None:
    digests = fill(registry, 3)

    with opened(registry, tmp_path) as session:
        found = session.crawl(WEB)

    assert dict(found.inventory.tags(WEB)) == digests
    assert not found.listings
    assert api.requests == []


def test_the_setting_is_that_of_one_registry(registry: NexusRegistry, api: NexusApi, tmp_path: Path) -> None:
    fill(registry, 3)
    file = tmp_path / "config.toml"
    file.write_text(
        f'[registries.nexus]\naddress = "{registry.url}"\nuser = "ann"\npassword_command = "echo a-secret"\n'
        f'api = "{api.url}"\napi_repository = "docker-hosted"\n'
    )
    file.chmod(0o600)
    program = Program(registry.url, tmp_path)

    named = program.run("ls", str(WEB), "--no-read", "--config", "config.toml", "-reg", "nexus")
    requests = len(api.requests)
    by_host = program.run("ls", str(WEB), "--no-read", "--config", "config.toml", *LOGIN)

    assert named.returncode == by_host.returncode == 0, named.stderr + by_host.stderr
    assert requests == 1
    assert len(api.requests) == 1  # a registry that is named by its host takes nothing of the file


def doctor(registry: NexusRegistry, folder: Path, *arguments: str) -> str:
    """The row about tags."""
    found = Program(registry.url, folder).run("doctor", "--quick", *LOGIN, *arguments)
    assert found.returncode == 0, found.stderr
    return next(line.removeprefix("tags").strip() for line in found.stdout.splitlines() if line.startswith("tags "))


def test_doctor_says_which_setting_is_missing_and_what_it_saves(
    registry: NexusRegistry, api: NexusApi, tmp_path: Path
) -> None:
    fill(registry, 250)
    setting = ("--api", api.url, "--api-repository", "docker-hosted")

    assert doctor(registry, tmp_path) == (
        "read one by one: with --api URL and --api-repository NAME, Nexus' search lists them; "
        "about 8 requests instead of 251 for shop/web"
    )
    assert api.requests == []
    said = doctor(registry, tmp_path, *setting)
    assert said.startswith("read through Nexus' search: ")
    assert said.endswith(" requests for shop/web, where one for each tag takes 251")
    said = doctor(registry, tmp_path, *setting[:-1], "docker-other")
    assert said == "read one by one: Nexus' search finds no shop/web in its repository docker-other"


@pytest.mark.parametrize("arguments", [("--api", "https://n.example"), ("--api-repository", "d"), ("--api", "nexus")])
def test_half_a_setting_is_an_error(registry: NexusRegistry, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    found = Program(registry.url, tmp_path).run("ls", *LOGIN, *arguments)
    assert found.returncode == 2
    assert "API" in found.stderr
    assert registry.requests == []


async def test_the_login_is_not_sent_without_tls_where_the_registry_has_it() -> None:
    options = ConnectOptions(user="ann", password="a-secret", api=ApiAddress("http://nexus.example", "docker-hosted"))
    with pytest.raises(UsageError, match="is named without TLS"):
        async with connect("https://registry.example", options):
            pass
    async with connect("https://registry.example", replace(options, insecure=True)):
        pass


# --- tags without a manifest


@pytest.mark.parametrize("names", [False, True])
def test_a_policy_does_not_count_a_tag_whose_manifest_is_gone(
    registry: NexusRegistry, api: NexusApi, tmp_path: Path, names: bool
) -> None:
    """`3.0` is the newest, and gone but for its name: counted, it would take the place of `1.0` among the last two."""
    registry.is_open = True
    with Pusher(registry.url) as pusher:
        for day, tag in enumerate(("0.9", "1.0", "2.0", "3.0")):
            pusher.push_image(WEB, tag, config=created(40 - day), seed=tag)
    (tmp_path / "policy.yml").write_text(
        'version: 1\npolicies: [{name: all, repositories: ["**"], keep: {last: 2}, unknown_date: first_seen}]\n'
    )
    setting = {"api": api.url, "api_repository": "docker-hosted"} if names else {}
    with opened(registry, tmp_path, **setting) as session:
        session.contents()  # what is known of an image may be more than what is there
        del registry.repositories[WEB].manifests[(registry.repositories[WEB].tags or {})["3.0"]]

        plan = session.plan_cleanup(tmp_path / "policy.yml").plan
        tags = session.crawl(WEB).inventory.tags(WEB)

    assert {tag for step in plan.steps for tag in step.tags} == {"0.9"}
    assert ("3.0" in tags) is names  # a query shows it


def test_a_removal_looks_at_each_tag_and_finds_that_it_is_gone(
    registry: NexusRegistry, api: NexusApi, tmp_path: Path
) -> None:
    digests = fill(registry, 3)
    del registry.repositories[WEB].manifests[digests["1.1"]]

    with opened(registry, tmp_path, api=api.url, api_repository="docker-hosted") as session:
        plan = session.plan_removal(WEB, tags=["1.1", "1.2"])
        session.apply(plan, confirm_tags=plan.removed_tags)

    assert {tag for step in plan.steps for tag in step.tags} == {"1.2"}
    assert set(registry.repositories[WEB].manifests) == {digests["1.0"]}


# --- GitHub Enterprise Server


class EnterpriseApi(GitHubApi):
    """The API of GitHub Enterprise Server: that of GitHub, below `/api/v3`."""

    def answer(self, request: Request) -> Answer:
        if not request.target.startswith("/api/v3/"):
            return Answer(404)
        return super().answer(replace(request, target=request.target.removeprefix("/api/v3")))


def test_github_enterprise_server(tmp_path: Path) -> None:
    with GhcrRegistry() as registry, EnterpriseApi(registry) as api:
        child = hold_image(registry, WEB, seed="child")
        digests = {"1.0": hold_index(registry, WEB, "1.0", children=[child])}
        digests |= {f"2.{one}": hold_image(registry, WEB, f"2.{one}", seed=str(one)) for one in range(3)}
        options: dict[str, Any] = {"user": "ann", "password": "a-secret", "state_dir": tmp_path, "contents": None}
        with dregutil.open(registry.url, **options, repositories=[WEB], api=f"{api.url}/api/v3") as session:
            found = session.crawl(WEB)
            plan = session.plan_removal(WEB, tags=["2.1"])
            session.apply(plan, confirm_tags=plan.removed_tags)

        assert dict(found.inventory.tags(WEB)) == digests
        assert [*found.listings] == [WEB]
        assert api.sent("DELETE")
        assert set(registry.repositories[WEB].tags or {}) == {"1.0", "2.0", "2.2"}
