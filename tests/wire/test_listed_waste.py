"""`du` counts what a registry's service lists without a tag, and nothing that a tag, an index or a referrer needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_native_tags import PASSWORD, USER, Watched
from test_removal_by_services import WEB, Site, new_site

from images import Pusher
from program import Program
from servers.http import Answer, Request


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_site("github", tmp_path) as found:
        yield found


@pytest.fixture
def pusher(site: Site) -> Pusher:
    return site.pusher


def last(site: Site, *arguments: str) -> dict[str, Any]:
    """The object that ends the list."""
    done = site.run("du", "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)[-1]
    return found


def weight(site: Site, *digests: str, without: tuple[str, ...] = ()) -> int:
    """The bytes of manifests with their blobs, each blob once, by the server's own data; without those that others
    have."""

    def held(digest: str) -> dict[str, int]:
        stored = site.registry.repositories[WEB].manifests[digest]
        return {digest: len(stored.raw), **{blob["digest"]: blob["size"] for blob in stored.blobs}}

    sizes = {blob: size for digest in digests for blob, size in held(digest).items()}
    others = {blob for digest in without for blob in held(digest)}
    return sum(size for blob, size in sizes.items() if blob not in others)


def test_children_and_referrers_of_what_has_a_tag_are_needed(site: Site, pusher: Pusher) -> None:
    """All of them are listed without a tag."""
    child = pusher.push_image(WEB, seed="child")
    index = pusher.push_index(WEB, "1.0", children=[child])
    signature = pusher.push_image(WEB, seed="signature", subject=child)
    pusher.push_index(WEB, f"sha256-{child['digest'][7:]}", children=[signature])
    pusher.push_image(WEB, seed="unlisted", subject=index)  # no fallback tag names it, its own bytes do

    assert last(site)["untagged"] == {
        "manifests": 0, "size": 0, "exact": True, "unread": 0, "unjudged_repositories": 0, "repositories": 1,
    }  # fmt: skip
    assert "without a tag" not in site.run("du").stderr


def test_what_no_tag_needs_is_counted_with_the_bytes_that_it_alone_holds(site: Site, pusher: Pusher) -> None:
    shared, own = b"s" * 1000, b"o" * 500
    tagged = pusher.push_image(WEB, "1.0", seed="tagged", layers=[shared])
    one = pusher.push_image(WEB, seed="one", layers=[shared, own])
    two = pusher.push_image(WEB, seed="two", layers=[own])
    index = pusher.push_index(WEB, children=[one, two, tagged])
    sbom = pusher.push_image(WEB, seed="sbom", subject=index)
    strays = [found["digest"] for found in (one, two, index, sbom)]
    expected = weight(site, *strays, without=(tagged["digest"],))

    found = last(site)["untagged"]

    assert (found["manifests"], found["size"], found["exact"]) == (4, expected, True)
    said = site.run("du", "--by", "layer").stderr
    assert f"not counted: 4 manifests without a tag, which alone hold {expected / 1000:.1f} kB" in said


def test_what_a_tagged_referrer_refers_to_is_needed_with_all_it_shares(site: Site, pusher: Pusher) -> None:
    layer = b"l" * 700
    subject = pusher.push_image(WEB, seed="subject", layers=[layer])
    pusher.push_image(WEB, "sbom-1", seed="sbom", subject=subject)
    stray = pusher.push_image(WEB, seed="stray", layers=[layer])

    found = last(site)["untagged"]

    assert (found["manifests"], found["size"]) == (
        1, weight(site, stray["digest"], without=(subject["digest"],)),
    )  # fmt: skip


def test_they_are_read_once(site: Site, pusher: Pusher) -> None:
    pusher.push_image(WEB, "1.0", seed="tagged")
    stray = pusher.push_image(WEB, seed="stray")
    read: list[str] = []
    original = site.registry.answer

    def answer(request: Request) -> Answer:
        found = original(request)
        if request.method == "GET" and stray["digest"] in request.path and found.status == 200:
            read.append(request.path)
        return found

    site.registry.answer = answer  # type: ignore[method-assign]
    for _ in range(2):
        done = site.run("-c", "cache.json", "du", "--refresh", "--format", "json")
        assert json.loads(done.stdout)[-1]["untagged"]["manifests"] == 1, done.stderr
    assert len(read) == 1


def test_what_cannot_be_read_makes_the_figure_an_upper_bound(site: Site, pusher: Pusher) -> None:
    pusher.push_image(WEB, "1.0", seed="tagged")
    stray, broken = pusher.push_image(WEB, seed="stray"), pusher.push_image(WEB, seed="broken")
    original = site.registry.answer
    site.registry.answer = lambda request: (  # type: ignore[method-assign]
        Answer(500) if broken["digest"] in request.path else original(request)
    )

    found = last(site)["untagged"]

    assert (found["manifests"], found["unread"], found["exact"]) == (1, 1, False)
    assert found["size"] == weight(site, stray["digest"])
    said = site.run("du").stderr
    assert "not counted: 1 manifest without a tag, which alone hold at most " in said
    assert "not counted: 1 manifest without a tag that could not be read" in said


def test_the_count_is_that_of_the_cleanup(site: Site, pusher: Pusher) -> None:
    """An index with a missing child could not be put back, so it stays with the children that it has; of what may hold
    anything nothing is counted."""
    pusher.push_image(WEB, "1.0", seed="tagged")
    gone, child = pusher.push_image(WEB, seed="gone"), pusher.push_image(WEB, seed="child")
    pusher.push_index(WEB, children=[gone, child])
    stray = pusher.push_image(WEB, seed="stray")
    del site.registry.repositories[WEB].manifests[gone["digest"]]

    found = last(site)["untagged"]
    assert (found["manifests"], found["size"]) == (1, weight(site, stray["digest"]))

    pusher.push_manifest(WEB, None, b'{"schemaVersion": 2, "mediaType": "application/vnd.odd"}', "application/vnd.odd")
    found = last(site)["untagged"]
    assert (found["manifests"], found["size"], found["unjudged_repositories"]) == (0, 0, 1)
    assert "not counted: manifests without a tag in 1 repository" in site.run("du").stderr


def test_where_reading_counts_as_a_pull_none_is_read_and_that_is_said(tmp_path: Path) -> None:
    with Watched() as server, Pusher(server.url) as pusher:
        server.lets_in = True
        child = pusher.push_image(WEB, seed="child")
        pusher.push_index(WEB, "1.0", children=[child])
        stray = pusher.push_image(WEB, seed="stray")
        server.lets_in = False
        server.requests.clear()
        du = ("du", "-u", USER, "-p", PASSWORD)
        program = Program(server.url, tmp_path)

        said = program.run(*du)

        assert said.returncode == 0, said.stderr
        assert "not counted: 1 manifest without a tag, never read: reading counts as a pull here" in said.stderr
        assert stray["digest"] not in server.sent("GET")
        found = json.loads(program.run(*du, "--format", "json").stdout)[-1]["untagged"]
        assert (found["manifests"], found["unread"], found["exact"]) == (0, 1, False)


def test_from_the_cache_no_list_is_known(site: Site, pusher: Pusher) -> None:
    pusher.push_image(WEB, "1.0", seed="tagged")
    pusher.push_image(WEB, seed="stray")

    assert "untagged" in last(site)
    assert site.run("-c", "cache.json", "du").returncode == 0
    done = site.run("-c", "cache.json", "du", "--format", "json")
    assert list(json.loads(done.stdout)[-1]) == ["total"]
