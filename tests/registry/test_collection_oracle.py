"""The storage after a collection against the real collectors: blobs, manifests and links to layers, in random
registries that were cleaned up a little, with and without -m."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from test_reclaim_oracle import EXAMPLES, UNTAGGED, Made, push_all, registries

from dregutil.oci.names import Digest, Repository
from dregutil.plan.collection import compared, predicted
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import GarbageCollector, Generation, after_collection, stops_at
from dregutil.storage.opened import read_storage
from dregutil.storage.stored import StoredRegistry
from images import Pusher
from servers import DistributionServer
from servers.real import KINDS

pytestmark = pytest.mark.property

_number = itertools.count()


def shape(stored: StoredRegistry) -> Mapping[Repository, tuple[frozenset[Digest], frozenset[Digest]]]:
    """The manifests and the layers that can be pulled from each repository."""
    here = stored.blobs.keys()
    return {name: (held.revisions & here, held.layers & here) for name, held in stored.repositories.items()}


def collected(server: DistributionServer, folder: Path, *options: str) -> StoredRegistry | None:
    """A copy of the storage after the real collector; None if it stopped with an error."""
    copy = type(server)(folder)
    shutil.copytree(server.storage, copy.storage)
    try:
        copy.garbage_collect(*options)
    except subprocess.CalledProcessError:
        return None
    return read_storage(str(copy.storage))


@pytest.mark.parametrize("generation", Generation)
@given(made=registries(), removed=st.lists(st.integers(0, 11), max_size=4, unique=True))
@settings(max_examples=EXAMPLES)
def test_the_storage_after_a_collection_is_as_predicted(
    tmp_path_factory: pytest.TempPathFactory, generation: Generation, made: list[Made], removed: list[int]
) -> None:
    here = Path(tmp_path_factory.mktemp(f"oracle-{next(_number)}"))
    if generation is Generation.V3:  # which takes no cache: an index whose entries are layers
        made = [replace(one, kind="image") if one.kind == "cache" else one for one in made]
    with KINDS["distribution-3" if generation is Generation.V3 else "distribution-2.8"].start(here / "it") as server:
        assert isinstance(server, DistributionServer)
        push_all(server, made)
        with Pusher(server.url) as pusher:
            for place in removed:
                delete(pusher, made, place)
    stored = read_storage(str(server.storage))
    for how in Collector:
        collector = GarbageCollector(generation, how)
        options = (UNTAGGED[generation],) if how is Collector.UNTAGGED else ()
        after = collected(server, here / how.value, *options)
        if next(stops_at(stored, collector), ""):
            assert after is None
            continue
        assert after is not None
        left = after_collection(stored, collector)
        assert after.blobs == left.blobs
        assert shape(after) == shape(left)
        prediction = predicted(stored, collector)
        found = compared(stored, after, [prediction])
        assert set(found.broken) <= set(prediction.tags)  # whatever a collection damages was refused
        event(f"{how.value}: freed {bool(found.freed)}, tags damaged {bool(found.broken)}")
    shutil.rmtree(here)


def delete(pusher: Pusher, made: list[Made], place: int) -> None:
    """Delete what one of the tags names, if it was pushed with one."""
    if place < len(made) and made[place].tags:
        one = made[place]
        digest = pusher.tags(one.repository).get(one.tags[0])
        if digest is not None:
            pusher.request("DELETE", f"/v2/{one.repository}/manifests/{digest}")


def test_with_m_2_8_takes_a_child_that_another_repository_tags(tmp_path: Path) -> None:
    """No blob of the index goes, and yet it loses its child: the link."""
    server = KINDS["distribution-2.8"].start(tmp_path / "it")
    assert isinstance(server, DistributionServer)
    with server, Pusher(server.url) as pusher:
        child = pusher.push_image("shop/web", seed="child")
        pusher.push_image("shop/api", "1.0", seed="child")
        pusher.push_index("shop/web", "multi", children=[child])
        assert json.loads(pusher.raw("shop/api", "1.0"))
    stored = read_storage(str(server.storage))
    prediction = predicted(stored, GarbageCollector(Generation.V2, Collector.UNTAGGED))
    assert not prediction.swept
    after = collected(server, tmp_path / "after", "-m")
    assert after is not None
    found = compared(stored, after, [prediction])
    assert (found.freed, found.broken) == ({}, ("shop/web:multi",))
    assert prediction.tags == ("shop/web:multi",)
