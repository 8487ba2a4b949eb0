"""The number of requests that the looks around a batch of DELETEs add: a list per batch, and a HEAD for each tag that
stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil.apply import looks, sweep
from images import Pusher
from removing import Removing
from servers import DistributionServer
from servers.http import Proxy

STAYING = 5


@pytest.fixture
def proxy(registry_server: DistributionServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """On a busy machine, a batch does not end sooner."""
    monkeypatch.setattr(looks, "_BATCH", 60.0)
    with Proxy(registry_server.port) as found:
        yield found


async def asked(proxy: Proxy, folder: Path) -> Counter[str]:
    """The requests of a removal, after the plan."""
    removing = Removing(proxy.url, folder)
    plan = await removing.plan("<2")
    proxy.requests.clear()
    await removing.apply(plan)
    lists = sum(request.path.endswith("/tags/list") for request in proxy.requests)
    stay = sum(request.method in ("GET", "HEAD") and request.reference.startswith("2.") for request in proxy.requests)
    return Counter({"lists": lists, "questions about what stays": stay})


async def test_one_batch_adds_no_requests(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """The reading is the look before the batch, and the last look the one after it."""
    for number in range(30):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    for number in range(STAYING):
        pusher.push_image("r", f"2.{number}", seed=f"stays {number}")
    assert await asked(proxy, tmp_path) == {"lists": 2, "questions about what stays": 2 * STAYING}


async def test_another_batch_adds_one_list_and_a_head_for_each_tag_that_stays(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    """Children are in the batch after that of their index, for any number of indexes."""
    for number in range(8):
        children = [pusher.push_image("r", seed=f"{number} {platform}") for platform in ("amd", "arm")]
        pusher.push_index("r", f"1.{number}", children=children)
    for number in range(STAYING):
        pusher.push_image("r", f"2.{number}", seed=f"stays {number}")
    assert await asked(proxy, tmp_path) == {"lists": 3, "questions about what stays": 3 * STAYING}


async def test_if_many_tags_stay_only_the_list_is_requested(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "_FEW_STAYING", STAYING - 1)
    child = pusher.push_image("r", seed="child")
    pusher.push_index("r", "1.0", children=[child])
    for number in range(STAYING):
        pusher.push_image("r", f"2.{number}", seed=f"stays {number}")
    assert await asked(proxy, tmp_path) == {"lists": 3, "questions about what stays": 2 * STAYING}


@pytest.mark.parametrize(("lives", "whole"), [(60.0, 0), (0.0, 8)])
async def test_a_sweep_adds_two_heads_for_each_tag_that_stays_and_none_for_others(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: float, whole: int
) -> None:
    """One before the placeholder is deleted, one after it. What was swept is known, even if the repository is read
    again completely, as may happen before each DELETE."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)
    monkeypatch.setattr("dregutil.apply.live_graph._LOOK_LIVES", (lives, lives))
    for number in range(8):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    for number in range(STAYING):
        pusher.push_image("r", f"2.{number}", seed=f"stays {number}")
    going = {digest for tag, digest in pusher.tags("r").items() if tag.startswith("1.")}
    found = await asked(proxy, tmp_path)
    assert found["questions about what stays"] == (4 + whole) * STAYING
    reads = {request.reference for request in proxy.requests if request.method == "GET"}
    assert len(going & reads) == 1, "after the first DELETE, whether the server does what it says"


@pytest.mark.parametrize(("took", "lasts"), [(0.0, 1.0), (0.1, 1.0), (0.5, 3.0), (10.0, 10.0)])
def test_looks_take_at_most_about_a_seventh_of_the_time(took: float, lasts: float) -> None:
    assert looks.batch_seconds(took) == lasts
