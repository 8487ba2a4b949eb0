"""The number of requests of a removal and its undo: it determines how long they take."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Proxy, Request

REPOSITORIES, DOOMED, STAYING = 6, 4, 3
NAMES = tuple(f"team/app{number}" for number in range(REPOSITORIES))


@pytest.fixture
def asked(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> tuple[Counter[str], Counter[str]]:
    """The requests of a removal from several repositories, and of its undo."""
    for name in NAMES:
        for number in range(DOOMED):
            pusher.push_image(name, f"1.{number}", seed=f"{name} {number}")
        for number in range(STAYING):
            pusher.push_image(name, f"2.{number}", seed=f"{name} stays {number}")
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        assert program.run("-c", "cache.json", "list-repo-names").returncode == 0
        found = []
        for command in (("-c", "cache.json", "remove-tags", "-r", *NAMES, "-t", "<2"), ("undo", "-y")):
            proxy.requests.clear()
            assert program.run(*command).returncode == 0
            found.append(Counter(_kind(request) for request in proxy.requests))
    removal, undo = found
    return removal, undo


def _kind(request: Request) -> str:
    what = request.path.removeprefix("/v2/").split("/")[2]
    by = " by digest" if ":" in request.reference else ""
    return f"{request.method} {what}{by}"


def test_a_removal_requests_nothing_twice(asked: tuple[Counter[str], Counter[str]]) -> None:
    removal, _ = asked
    # If the reading is older than a second, a look precedes the first DELETE: a list, and the tags that stay.
    looks = removal["GET tags"] - (2 * REPOSITORIES + 1)
    assert 0 <= looks <= REPOSITORIES
    really_went = removal.pop("HEAD manifests by digest", 0) + removal.pop("GET manifests by digest", 0)
    assert really_went == 1  # the first one
    # Its tag, too: on some servers it goes on answering. By HEAD, if one was answered there before.
    removal["HEAD manifests" if looks and removal["HEAD manifests"] % STAYING else "GET manifests"] -= 1
    assert removal == {
        "GET tags": 2 * REPOSITORIES + 1 + looks,  # before and after; once, for the generation of the collector
        # A tag with its manifest for the record in one request; and once what stays, because only its bytes show that
        # it is not an index.
        "GET manifests": REPOSITORIES * (DOOMED + STAYING),
        "HEAD manifests": (REPOSITORIES + looks) * STAYING,  # after
        "HEAD blobs by digest": REPOSITORIES * DOOMED * 2,  # config and layer, which are needed to put anything back
        "GET referrers by digest": 1,  # this server has no referrers API, which is remembered
        "DELETE manifests by digest": REPOSITORIES * (1 + DOOMED),  # the preflight, of a digest that does not exist
    }


def test_an_undo_requests_twice_only_whether_a_tag_is_free(asked: tuple[Counter[str], Counter[str]]) -> None:
    _, undo = asked
    tags = REPOSITORIES * DOOMED
    assert {kind: number for kind, number in undo.items() if "manifests" in kind} == {
        "GET manifests": 3 * tags,  # the tag was not pushed in the meantime (two denials); it is really restored
        "GET manifests by digest": tags,  # whether it exists without a tag: only what was gone counts as restored
        "PUT manifests": tags,
    }


def test_to_remove_a_tag_alone_reads_its_repository_only(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """Of 30 repositories with 20 tags, 2.0.0 read all: 686 requests. One is read twice, before the plan and for it."""
    for number in range(30):
        for tag in range(20 if number == 0 else 1):
            pusher.push_image(f"team/app{number}", f"1.{tag}", seed=f"{tag % 19}", layers=0)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        done = program.run("remove-tags", "-r", "team/app0", "-t", "1.0", "--untag")
        assert done.returncode == 0, done.stderr
        asked = [request for request in proxy.requests if request.path != "/v2/"]
        assert not [request.path for request in asked if "/team/app0/" not in request.path]
        found = Counter(_kind(request) for request in asked)
        assert found["GET manifests"] == 20  # the plan
        assert found["HEAD manifests"] <= 20 + 19 + 5  # the selection, the last look, and the tag itself
        assert len(asked) <= 80
        proxy.requests.clear()
        refused = program.run("--raise-intersecting-repo", "remove-tags", "-r", "team/app0", "-t", "1.19", "--untag")
        assert refused.returncode == 5, "1.0 of the other repositories is the same image"
    assert set(pusher.tags("team/app0")) == {f"1.{tag}" for tag in range(1, 20)}
