"""Manifests without a tag, as the API of a registry's service lists them, and what policies remove of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from test_native_tags import PASSWORD, USER, WEB, Watched, opened

from images import Pusher
from native_access import hold_index
from program import Program

POLICY = """
version: 1
defaults: {max_remove: 100%, min_age: 7d, unknown_date: first_seen, allow_empty: true}
policies: [{name: strays, repositories: ["**"], select: {untagged: true}, keep: {none: true}}]
"""
OLD = datetime.now(UTC) - timedelta(days=30)


@pytest.fixture
def server() -> Iterator[Watched]:
    with Watched() as found:
        found.now = OLD
        yield found


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    found = tmp_path / "policy.yml"
    found.write_text(POLICY)
    return found


@pytest.fixture
def pusher(server: Watched) -> Iterator[Pusher]:
    server.lets_in = True
    with Pusher(server.url) as found:
        yield found


def push(server: Watched, pusher: Pusher, *tags: str, seed: str, pushed: datetime = OLD) -> str:
    """An image; without `tags`, one that has lost its only tag."""
    digest = str(pusher.push_image(WEB, tags[0] if tags else "lost", seed=seed)["digest"])
    server.pushed[WEB, digest] = pushed
    names = server.repositories[WEB].tags or {}
    server.repositories[WEB].tags = {tag: on for tag, on in names.items() if tag != "lost"}
    return digest


def cleanup(server: Watched, policy: Path, folder: Path) -> set[str]:
    """What a cleanup removes."""
    before = set(server.repositories[WEB].manifests)
    server.lets_in = False
    with opened(server, folder) as registry:
        proposal = registry.plan_cleanup(policy)
        registry.apply(proposal.plan, confirm_tags=proposal.plan.removed_tags)
    return before - set(server.repositories[WEB].manifests)


def test_what_the_service_lists_without_a_tag_is_removed_and_nothing_that_something_needs(
    server: Watched, pusher: Pusher, policy: Path, tmp_path: Path
) -> None:
    push(server, pusher, "1.0", seed="tagged")
    child, stray = push(server, pusher, seed="child"), push(server, pusher, seed="stray")
    index = hold_index(server, WEB, "all", children=[child])
    server.pushed[WEB, index] = OLD

    assert cleanup(server, policy, tmp_path) == {stray}


def test_what_was_pushed_just_now_may_be_part_of_an_image_that_is_being_pushed(
    server: Watched, pusher: Pusher, policy: Path, tmp_path: Path
) -> None:
    push(server, pusher, "1.0", seed="tagged")
    push(server, pusher, seed="new", pushed=datetime.now(UTC) - timedelta(minutes=1))

    assert cleanup(server, policy, tmp_path) == set()


def test_a_tag_that_the_list_leaves_out_keeps_its_image(
    server: Watched, pusher: Pusher, policy: Path, tmp_path: Path
) -> None:
    """The names agree, but the service lists `2.0` on another manifest."""
    one, two = push(server, pusher, "1.0", seed="one"), push(server, pusher, "2.0", seed="two")
    server.said = {"2.0": one}

    assert cleanup(server, policy, tmp_path) == set()
    assert (server.repositories[WEB].tags or {})["2.0"] == two


def test_a_repository_without_any_tag_is_read_as_well(
    server: Watched, pusher: Pusher, policy: Path, tmp_path: Path
) -> None:
    one, two = push(server, pusher, seed="one"), push(server, pusher, seed="two")

    assert cleanup(server, policy, tmp_path) == {one, two}


def test_without_the_service_nothing_that_never_had_a_tag_is_known(
    server: Watched, pusher: Pusher, policy: Path, tmp_path: Path
) -> None:
    push(server, pusher, "1.0", seed="tagged")
    push(server, pusher, seed="stray")
    server.denies = True

    assert cleanup(server, policy, tmp_path) == set()


def test_doctor_counts_what_is_listed_without_a_tag(server: Watched, pusher: Pusher, tmp_path: Path) -> None:
    """A child of an index is held by it."""
    push(server, pusher, "1.0", seed="one")
    child = pusher.push_image(WEB, seed="child")
    pusher.push_index(WEB, "2.0", children=[child])

    def said() -> str:
        server.lets_in = False
        found = Program(server.url, tmp_path).run("doctor", "-u", USER, "-p", PASSWORD)
        server.lets_in = True
        return next(line for line in found.stdout.splitlines() if line.startswith("untagged"))

    assert "nothing, in 1 repository that the registry's own API lists" in said()
    push(server, pusher, seed="stray")
    assert "1 manifest in no index, " in said()
