"""Tags with their digests from the API of a registry's service, compared with the registry's own list."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import dregutil
from dregutil.oci.names import Repository
from native_access import hold_image
from program import Program
from servers.http import Answer, Request
from servers.memory import Stored
from servers.native.harbor import HarborServer
from servers.profiles import ProfileServer

WEB = Repository("shop/web")
USER, PASSWORD = "robot$ci", "a secret of Harbor"


class Watched(HarborServer):
    """`said`: tags that its own API lists at another digest. `left_out`: tags that it does not list. `makes_up`: one
    that does not exist. `denies`: the API refuses this login. `lets_in`: the registry wants none, for a test
    that fills it. `is_robot`: the catalog is refused."""

    def __init__(self) -> None:
        super().__init__(USER, PASSWORD)
        self.requests: list[Request] = []
        self.said: dict[str, str] = {}
        self.left_out: set[str] = set()
        self.makes_up: dict[str, str] = {}
        self.denies = self.lets_in = self.is_robot = False

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.denies and request.path.startswith("/api/"):
            self.calls.append(request.target)
            return Answer(403, b'{"errors":[{"code":"FORBIDDEN","message":"forbidden"}]}')
        if request.path == "/v2/_catalog" and not self.is_robot:  # as for an administrator
            return Answer(200, json.dumps({"repositories": sorted(self.repositories)}).encode())
        if self.lets_in:
            return ProfileServer.answer(self, request)
        return super().answer(request)

    def _artifact(self, name: str, stored: Stored, request: Request) -> dict[str, Any]:
        found = super()._artifact(name, stored, request)
        true = [tag["name"] for tag in found["tags"] or () if tag["name"] not in self.left_out]
        tags = [tag for tag in true if self.said.get(tag, stored.digest) == stored.digest]
        tags += [tag for tag, digest in {**self.said, **self.makes_up}.items() if digest == stored.digest]
        return {**found, "tags": [{"name": tag, "immutable": tag in self.immutable} for tag in dict.fromkeys(tags)]}

    def sent(self, method: str, part: str = "/manifests/") -> list[str]:
        return [request.reference for request in self.requests if request.method == method and part in request.path]


@pytest.fixture
def server() -> Iterator[Watched]:
    with Watched() as found:
        yield found


def opened(server: Watched, folder: Path, **options: Any) -> dregutil.Session:
    return dregutil.open(server.url, user=USER, password=PASSWORD, state_dir=folder, contents=None, **options)


def there(server: Watched) -> dict[str, str]:
    return dict(server.repositories[WEB].tags or {})


def test_no_tag_is_resolved_that_the_service_lists(server: Watched, tmp_path: Path) -> None:
    digests = {f"1.{number}": hold_image(server, WEB, f"1.{number}", seed=str(number)) for number in range(120)}

    with opened(server, tmp_path) as registry:
        found = registry.crawl(WEB)

    assert dict(found.inventory.tags(WEB)) == digests
    assert [*found.listings] == [WEB]
    assert not found.doubted
    assert server.sent("HEAD") == server.sent("GET") == []  # nothing counts as a pull
    assert len(server.calls) == 4


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"left_out": {"2.0"}}, "it lacks '2.0', which the registry lists"),
        ({"makes_up": {"3.0": "1.0"}}, "it has '3.0', which the registry does not list"),
        ({"makes_up": {"2.0": "1.0"}}, "it lists one tag at two manifests"),
    ],
)
def test_where_the_lists_differ_the_registry_is_believed(
    server: Watched, tmp_path: Path, lie: dict[str, Any], said: str
) -> None:
    one, two = hold_image(server, WEB, "1.0", seed="one"), hold_image(server, WEB, "2.0", seed="two")
    server.left_out = lie.get("left_out", set())
    server.makes_up = {tag: there(server)[at] for tag, at in lie.get("makes_up", {}).items()}
    warnings: list[str] = []

    with opened(server, tmp_path, on_warning=lambda text, _: warnings.append(text)) as registry:
        found = registry.crawl(WEB)

    assert dict(found.inventory.tags(WEB)) == {"1.0": one, "2.0": two}
    assert not found.listings
    assert warnings == [
        f"Harbor's API and the registry differ about shop/web: {said}; the registry was read tag by tag"
    ]


def test_a_tag_pushed_between_the_two_lists_is_no_difference(server: Watched, tmp_path: Path) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    server.before_page = lambda _: hold_image(server, WEB, "2.0", seed="two")

    with opened(server, tmp_path) as registry:
        found = registry.crawl(WEB)

    assert set(found.inventory.tags(WEB)) == {"1.0", "2.0"}
    assert [*found.listings] == [WEB]


def test_without_the_right_the_registry_is_read_as_usual(server: Watched, tmp_path: Path) -> None:
    one = hold_image(server, WEB, "1.0", seed="one")
    server.denies = True
    warnings: list[str] = []

    with opened(server, tmp_path, on_warning=lambda text, _: warnings.append(text)) as registry:
        found = registry.crawl(WEB)

    assert dict(found.inventory.tags(WEB)) == {"1.0": one}
    assert server.sent("HEAD") == ["1.0"]
    assert len(server.calls) == 1
    assert warnings == []


def doctor(server: Watched, folder: Path) -> str:
    """The row about tags."""
    found = Program(server.url, folder).run("doctor", "--quick", "-u", USER, "-p", PASSWORD)
    assert PASSWORD not in found.stdout + found.stderr
    return next(
        (line.removeprefix("tags").strip() for line in found.stdout.splitlines() if line.startswith("tags ")), ""
    )


def test_doctor_says_how_tags_are_read_and_what_that_saves(server: Watched, tmp_path: Path) -> None:
    for number in range(250):
        hold_image(server, WEB, f"1.{number}", seed=str(number))

    said = doctor(server, tmp_path)

    assert said == "read through Harbor's API: 6 requests for shop/web, where one for each tag takes 251"
    assert server.sent("HEAD") == server.sent("GET") == []


def test_doctor_says_that_what_it_reads_counts_as_pulls(server: Watched, tmp_path: Path) -> None:
    hold_image(server, WEB, "1.0", seed="one")

    found = Program(server.url, tmp_path).run("doctor", "-u", USER, "-p", PASSWORD)

    assert "broken, which counts as a pull of each here; --quick leaves it out" in found.stderr
    assert server.sent("GET") == ["1.0"]


def test_doctor_says_why_tags_are_read_one_by_one(server: Watched, tmp_path: Path) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    server.denies = True

    assert doctor(server, tmp_path) == (
        "read one by one: Harbor's API: the login has no right to it (status 403: forbidden)"
    )


def test_why_names_the_lock_and_the_times_of_the_service(server: Watched, tmp_path: Path) -> None:
    hold_image(server, WEB, "1.0", seed="one")
    digest = hold_image(server, WEB, "2.0", seed="two")
    server.immutable = {"2.0"}
    server.pulled[WEB, digest] = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    (tmp_path / "policy.yml").write_text(
        'version: 1\npolicies: [{name: all, repositories: ["**"], keep: {tags: [none]}, unknown_date: first_seen}]\n'
    )

    with opened(server, tmp_path) as registry:
        found = registry.why(tmp_path / "policy.yml", "shop/web:2.0")

    assert str(found.verdict.reasons[0]) == "the registry does not delete it: its tag 2.0 is immutable"
    said = {factor.what: factor.text for factor in found.factors}
    assert said["pushed"] == "2026-01-02 03:04 UTC, by the registry"
    assert said["pulled"].startswith("last 2026-03-04 05:06 UTC, by the registry; ")
    assert found.verdict.facts.served.locked


@pytest.mark.parametrize("lies", [False, True])
def test_a_listing_that_lies_about_a_tag_removes_nothing_wrong(server: Watched, tmp_path: Path, lies: bool) -> None:
    """`prod` is on the image of `old`; the service lists it on another."""
    old = hold_image(server, WEB, "old", *(["prod"] if lies else []), seed="one")
    new = hold_image(server, WEB, "new", *([] if lies else ["prod"]), seed="two")
    if lies:
        server.said = {"prod": new}

    with opened(server, tmp_path) as registry:
        plan = registry.plan_removal(WEB, tags=["old"])
        registry.apply(plan, confirm_tags=plan.removed_tags)

    assert server.calls  # the selection was made from the listing
    assert there(server).get("prod") == (old if lies else new)
    assert set(server.repositories[WEB].manifests) == ({old, new} if lies else {new})


def test_a_login_that_only_the_catalog_refuses_is_not_called_wrong(server: Watched, tmp_path: Path) -> None:
    """Harbor's catalog is for administrators: the rest of `doctor` follows."""
    (tmp_path / "names").write_text(f"{WEB}\n")
    server.is_robot = True
    login = ("-u", USER, "-p", PASSWORD, "--repositories-from", "names")
    found = Program(server.url, tmp_path).run("doctor", "--quick", *login)
    assert found.returncode == 0, found.stderr
    rows = dict(line.split(maxsplit=1) for line in found.stdout.splitlines())
    assert rows["catalog"].startswith("closed: ")
    assert "tags" in rows
    wrong = Program(server.url, tmp_path).run("doctor", "--quick", "-u", USER, "-p", "another", *login[4:])
    assert wrong.returncode == 4, wrong.stderr
    assert "login" in wrong.stderr
