"""How many requests a removal and its undo need: a registry answers only so many, and time goes where they go."""

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
    """What the registry was asked by a removal from several repositories, and what by its undo."""
    for name in NAMES:
        for number in range(DOOMED):
            pusher.push_image(name, f"1.{number}", seed=f"{name} {number}")
        for number in range(STAYING):
            pusher.push_image(name, f"2.{number}", seed=f"{name} stays {number}")
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        assert program.run("-c", "cache.json", "list-repo-names").returncode == 0
        found = []
        for command in (("-c", "cache.json", "remove-tags", "-r", *NAMES, "-t", "<2"), ("undo",)):
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
    # A reading that is older than a second is looked at again before the first DELETE: a list, and the tags that stay.
    looks = removal["GET tags"] - (2 * REPOSITORIES + 1)
    assert 0 <= looks <= REPOSITORIES
    really_went = removal.pop("HEAD manifests by digest", 0) + removal.pop("GET manifests by digest", 0)
    assert really_went == 1  # the first one
    assert removal == {
        "GET tags": 2 * REPOSITORIES + 1 + looks,  # before and after; once, of which generation the collector is
        # A tag and what is to be kept of it, in one; and once what stays: only its bytes show that it is no index.
        "GET manifests": REPOSITORIES * (DOOMED + STAYING),
        "HEAD manifests": (REPOSITORIES + looks) * STAYING,  # after
        "HEAD blobs by digest": REPOSITORIES * DOOMED * 2,  # config and layer, without which nothing could be put back
        "GET referrers by digest": 1,  # this server has no such list, and need not say so again
        "DELETE manifests by digest": REPOSITORIES * (1 + DOOMED),  # first of all, one that nobody has
    }


def test_an_undo_requests_twice_only_whether_a_tag_is_free(asked: tuple[Counter[str], Counter[str]]) -> None:
    _, undo = asked
    tags = REPOSITORIES * DOOMED
    assert {kind: number for kind, number in undo.items() if "manifests" in kind} == {
        "GET manifests": 3 * tags,  # nobody has pushed the tag meanwhile (two denials); it is really back
        "GET manifests by digest": tags,  # whether it is there without a tag: what is said to come back was gone
        "PUT manifests": tags,
    }
