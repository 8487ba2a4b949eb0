"""Tags that are pushed or moved to a digest during its removal: they stay, are put back, or are reported with their
digest.

A proxy in front of the real registry does what another client might do between two requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dregutil.apply import sweep
from dregutil.oci.names import Repository
from dregutil.plan.model import RemovalOptions
from dregutil.plan.outcome import Result
from images import IMAGE, INDEX, Pusher
from program import Program
from removing import Removing, results
from servers import DistributionServer
from servers.http import Answer, Proxy, Request


@pytest.fixture
def proxy(registry_server: DistributionServer) -> Iterator[Proxy]:
    with Proxy(registry_server.port) as found:
        yield found


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large repository: the tags are removed first."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)


def once(matches: Callable[[Request], bool], act: Callable[[], object]) -> Callable[[Request], None]:
    """Do something before the first request that matches."""
    left = [act]

    def look(request: Request) -> None:
        if left and matches(request):
            left.pop()()

    return look


def deletes(reference: str) -> Callable[[Request], bool]:
    return lambda request: request.method == "DELETE" and request.reference == reference


def deletes_other_than(known: set[str], repository: str = "r") -> Callable[[Request], bool]:
    """The DELETE of a placeholder that exists; the very first DELETE is the preflight, of a digest that does not
    exist."""
    seen: list[str] = []

    def is_it(request: Request) -> bool:
        if request.method == "DELETE" and request.reference.startswith("sha256:") and request.reference not in known:
            seen.append(request.reference)
        return len(seen) == 2 and request.method == "DELETE"

    return is_it


def push_again(pusher: Pusher, tag: str, digest: str, kind: str = IMAGE) -> None:
    pusher.push_manifest("r", tag, pusher.raw("r", digest), kind)


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("tag", ["new", "stable", "1.3"])
async def test_a_tag_pushed_after_the_sweep_stays(proxy: Proxy, pusher: Pusher, tmp_path: Path, tag: str) -> None:
    """New, moved there, or one of those just removed: its digest is not deleted."""
    digests = [pusher.push_image("r", f"1.{n}", f"1.{n}-alpine", seed=str(n))["digest"] for n in range(6)]
    pusher.push_image("r", "stable", seed="stays")
    proxy.before = once(deletes_other_than(set(digests)), lambda: push_again(pusher, tag, digests[3]))
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert result is not None
    told = [(outcome.result, outcome.why) for outcome in result.outcomes]
    assert pusher.tags("r").get(tag) == digests[3], told
    assert pusher.is_whole("r", tag)
    assert results(result).count(Result.LEFT) == 1, told
    assert not result.unmended


@pytest.mark.usefixtures("swept")
async def test_a_tag_pushed_again_long_after_the_sweep_stays(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """A tag removed in the sweep is pushed to the child of an index that is just being deleted; the child is in the
    next batch."""
    child = pusher.push_image("r", seed="child")
    index = pusher.push_index("r", "1.0", children=[child])
    pusher.push_image("r", "1.1", seed="image")
    pusher.push_image("r", "stable", seed="stays")
    proxy.before = once(deletes(index["digest"]), lambda: push_again(pusher, "1.1", child["digest"]))
    await Removing(proxy.url, tmp_path).remove("<2")
    assert pusher.tags("r")["1.1"] == child["digest"]
    assert pusher.is_whole("r", "1.1")


@pytest.mark.usefixtures("swept")
async def test_a_new_tag_on_the_last_digest_that_a_sweep_leaves(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """It appears after the look; a second one appears after the index and before its child."""
    child = pusher.push_image("r", seed="child")
    index = pusher.push_index("r", "1.0", children=[child])
    pusher.push_image("r", "stable", seed="stays")
    proxy.before = once(deletes(index["digest"]), lambda: push_again(pusher, "new", child["digest"]))
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert pusher.tags("r")["new"] == child["digest"]
    assert results(result) == [Result.REMOVED, Result.LEFT]


async def test_a_tag_with_several_possible_digests_is_reported_and_the_next_one_put_back(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    children = [pusher.push_image("r", seed=f"child {n}") for n in range(4)]
    indexes = [pusher.push_index("r", f"1.{n}", children=children[2 * n : 2 * n + 2]) for n in range(2)]
    pusher.push_image("r", "stable", "prod", seed="stays")
    acts = [
        once(deletes(indexes[1]["digest"]), lambda: push_again(pusher, "stable", indexes[1]["digest"], INDEX)),
        once(deletes(children[2]["digest"]), lambda: push_again(pusher, "prod", children[2]["digest"])),
    ]

    def before(request: Request) -> None:
        for act in acts:
            act(request)

    proxy.before = before
    removing = Removing(proxy.url, tmp_path)
    result = await removing.remove("<2")
    assert result is not None
    lost = {str(found.tag): found for found in result.lost}
    assert set(lost["stable"].candidates) == {index["digest"] for index in indexes}
    assert lost["stable"].mended is None
    assert lost["prod"].mended == children[2]["digest"]
    assert pusher.tags("r") == {"prod": children[2]["digest"]}
    assert pusher.is_whole("r", "prod")
    assert {str(found.tag): found for found in removing.record().lost} == lost


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize("doomed", [1, 3])
@pytest.mark.parametrize("tag", ["stable", "new"])
async def test_a_tag_copied_from_one_that_is_being_removed(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, doomed: int, tag: str
) -> None:
    """It is on a placeholder, which is not deleted before the tag has the image of the copied one, or is reported."""
    digests = [pusher.push_image("r", f"1.{n}", seed=str(n))["digest"] for n in range(doomed)]
    pusher.push_image("r", "stable", seed="stays")
    moved: list[bytes] = []

    def copy(request: Request, answer: Answer) -> Answer:
        if request.method == "PUT" and request.reference.startswith("1.") and not moved:
            moved.append(request.body)
            pusher.push_manifest("r", tag, request.body, IMAGE)
        return answer

    proxy.after = copy
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert result is not None
    (lost,) = result.lost
    if doomed == 1:
        assert lost.mended == pusher.tags("r")[tag] == digests[0]
    else:
        assert (lost.tag, set(lost.candidates), lost.mended) == (tag, set(digests), None)
        assert pusher.raw("r", tag) == moved[0], "it is where it was put"
    assert pusher.is_whole("r", tag)


@pytest.mark.usefixtures("swept")
async def test_a_tag_deleted_with_a_placeholder_is_reported(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """Copied after the last look: it may have been on any of three images."""
    digests = [pusher.push_image("r", f"1.{n}", seed=str(n))["digest"] for n in range(3)]
    pusher.push_image("r", "stable", seed="stays")
    bodies: list[bytes] = []

    def note(request: Request, answer: Answer) -> Answer:
        if request.method == "PUT" and request.reference.startswith("1."):
            bodies.append(request.body)
        return answer

    proxy.after = note
    proxy.before = once(deletes_other_than(set(digests)), lambda: pusher.push_manifest("r", "stable", bodies[0], IMAGE))
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert result is not None
    ((tag, candidates),) = [(lost.tag, set(lost.candidates)) for lost in result.unmended]
    assert (tag, candidates) == ("stable", set(digests))


async def test_a_tag_copied_from_one_that_is_being_untagged(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    image = pusher.push_image("r", "1.0", "stays", seed="one")
    pusher.push_image("r", "stable", seed="other")
    bodies: list[bytes] = []

    def copy(request: Request, answer: Answer) -> Answer:
        if request.method == "PUT" and request.reference == "1.0" and not bodies:
            bodies.append(request.body)
            pusher.push_manifest("r", "stable", request.body, IMAGE)
        return answer

    proxy.after = copy
    result = await Removing(proxy.url, tmp_path).remove("1.0", options=RemovalOptions(untag=True))
    assert result is not None
    assert [(lost.tag, lost.mended) for lost in result.lost] == [("stable", image["digest"])]
    assert pusher.tags("r") == {"stays": image["digest"], "stable": image["digest"]}
    assert results(result) == [Result.REMOVED]


@pytest.mark.every_server
@pytest.mark.only_on("olareg", "zot")  # others delete no tag by its name: there the lost tag itself is put back
async def test_what_an_index_that_came_needs_is_back_before_a_replica_lags(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    """A look sees the index; the last one asks a replica that has not heard of it."""
    image = pusher.push_image("r", "1.0", seed="needed")
    child = pusher.push_image("r", seed="child")
    pusher.push_index("r", "1.1", children=[child])  # the child goes after it, so there is a look between
    pusher.push_image("r", "2.0", seed="stays")
    seen: list[str] = []

    def push(request: Request) -> None:
        if deletes(image["digest"])(request) and not seen:
            pusher.push_index("r", "over", children=[image])
            seen.append("pushed")

    def lag(request: Request, answer: Answer) -> Answer:
        if deletes(child["digest"])(request):
            seen.append("lags")
        if "lags" not in seen or request.method == "DELETE":
            return answer
        if request.target.startswith("/v2/r/tags/list"):
            tags = [tag for tag in json.loads(answer.body)["tags"] if tag != "over"]
            return Answer(200, json.dumps({"name": "r", "tags": tags}).encode(), {"Content-Type": "application/json"})
        return Answer(404) if request.reference == "over" else answer

    proxy.before, proxy.after = push, lag
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert result is not None
    assert seen == ["pushed", "lags"]
    assert pusher.is_whole("r", "over")
    assert set(pusher.tags("r")) == {"2.0", "over"}


async def test_a_tag_removed_by_another_client_with_its_image_is_not_put_back(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    old = pusher.push_image("r", "1.0", seed="old")
    other = pusher.push_image("r", "2.0", seed="other")
    path = f"/v2/r/manifests/{other['digest']}"
    proxy.before = once(deletes(old["digest"]), lambda: pusher.request("DELETE", path))
    result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert result is not None
    assert result.lost == ()
    assert result.vanished == {Repository("r"): ("2.0",)}
    assert pusher.tags("r") == {}


def test_what_cannot_be_repaired_is_reported_and_undo_restores_the_tag(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    old = pusher.push_image("r", "1.0", seed="old")
    pusher.push_image("r", "stable", seed="new")
    act = once(deletes(old["digest"]), lambda: push_again(pusher, "stable", old["digest"]))
    denied = Answer(403, json.dumps({"errors": [{"code": "DENIED"}]}).encode(), {"Content-Type": "application/json"})

    def before(request: Request) -> Answer | None:
        act(request)
        return denied if request.method == "PUT" else None

    proxy.before = before
    program = Program(proxy.url, tmp_path)
    found = program.run("remove-tags", "-r", "r", "-t", "1.0")
    assert found.returncode == 3, found.stderr
    assert f"lost: r:stable was moved to {old['digest'][:19]}" in found.stderr
    proxy.before = lambda _: None
    assert program.run("undo", "-y").returncode == 0
    assert pusher.tags("r") == {"1.0": old["digest"], "stable": old["digest"]}
