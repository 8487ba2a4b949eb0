"""Any run, and any of the images that it removed: an undo brings back these with what belongs to them, whole, and
changes nothing else; then an undo of the run brings back the rest."""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_removal_properties import TAGS, contents, push

from dregutil.apply.undo.plan import plan_undo
from dregutil.apply.undo.run import UndoResult, UndoRun, apply_undo
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import chosen, put_back_by, removed_by, without
from dregutil.oci.names import Reference, Repository
from dregutil.plan.model import RemovalOptions
from dregutil.registry import connect_writable
from images import Pusher
from removing import Removing
from servers import DistributionServer

pytestmark = pytest.mark.property

_number = itertools.count()
_SIGNATURE = re.compile(r"sha256-([0-9a-f]{64})(\.sig)?")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionServer]:
    with DistributionServer(Path(tmp_path_factory.mktemp("registry"))) as found:
        yield found


@settings(max_examples=40)
@given(
    made=contents(),
    tags=st.lists(st.sampled_from(TAGS), min_size=1, max_size=5, unique=True),
    untag=st.booleans(),
    picks=st.lists(st.integers(0, 30), min_size=1, max_size=3),
)
async def test_an_undo_of_images_brings_back_exactly_these(
    server: DistributionServer, made: list[tuple[str, list[str], Any]], tags: list[str], untag: bool, picks: list[int]
) -> None:
    name = Repository(f"u{next(_number)}")
    with Pusher(server.url) as pusher, tempfile.TemporaryDirectory() as folder:
        push(pusher, name, made)
        before = pusher.tags(name)
        removing = Removing(server.url, Path(folder), (name,))
        plan = await removing.plan(*tags, options=RemovalOptions(untag=untag))
        if not plan.steps:
            return
        assert await removing.apply(plan) is not None
        after, record = pusher.tags(name), removing.record()
        removed = removed_by(record)
        everything = _images(record)
        images = [everything[pick % len(everything)] for pick in picks]
        part = {intent.manifest.digest: intent for intent in chosen(removed, images).get(name, ())}
        gone = {intent.manifest.digest for intent in removed[name] if not pusher.has(name, intent.manifest.digest)}

        assert await _undone(server, record, images) <= {UndoResult.RESTORED, UndoResult.THERE}
        now = pusher.tags(name)
        for image in images:
            assert pusher.is_whole(name, str(image.tag or image.digest))
        asked = {str(image.tag) for image in images if image.tag} | {
            str(tag) for image in images if image.digest for tag in part[image.digest].tags
        }
        assert asked <= now.keys()
        assert after.items() <= now.items() <= before.items()
        for tag in now.keys() - after.keys() - asked:
            signature = _SIGNATURE.fullmatch(tag)
            assert signature is not None, f"{tag} was not asked for"
            assert f"sha256:{signature[1]}" in part, f"{tag} belongs to nothing that was asked for"
        assert all(pusher.is_whole(name, tag) for tag in now)
        assert {digest for digest in gone if not pusher.has(name, digest)} == gone - part.keys()

        assert await _undone(server, record, ()) <= {UndoResult.RESTORED, UndoResult.THERE}
        assert pusher.tags(name) == before
        assert all(pusher.is_whole(name, tag) for tag in before)
        assert all(pusher.has(name, digest) for digest in gone)


async def _undone(server: DistributionServer, record: RunRecord, images: Any) -> set[str]:
    async with connect_writable(server.url) as registry:
        result: UndoRun = await apply_undo(registry, await plan_undo(registry, record, images))
    assert result.error is None
    return {what for _, what, _ in result.entries}


def _images(record: RunRecord) -> list[Reference]:
    """Each removed tag, and each removed digest."""
    found = [intent for intents in removed_by(record).values() for intent in intents]
    by_tag = [Reference(intent.repository, tag) for intent in found for tag in intent.tags]
    return [*by_tag, *(Reference(intent.repository, None, intent.manifest.digest) for intent in found)]


@settings(max_examples=25)
@given(made=contents(), picks=st.lists(st.integers(0, 30), max_size=3))
async def test_undos_of_all_images_leave_nothing(
    server: DistributionServer, made: list[tuple[str, list[str], Any]], picks: list[int]
) -> None:
    """By the records alone: what is chosen and what is left make up the whole, and nothing is in both."""
    name = Repository(f"u{next(_number)}")
    with Pusher(server.url) as pusher, tempfile.TemporaryDirectory() as folder:
        push(pusher, name, made)
        removing = Removing(server.url, Path(folder), (name,))
        plan = await removing.plan(*TAGS)
        if not plan.steps:
            return
        assert await removing.apply(plan) is not None
        record = removing.record()
    removed = removed_by(record)
    images = [image for number, image in enumerate(_images(record)) if number in picks]
    part = chosen(removed, images)
    put = {(name, intent.manifest.digest): frozenset(intent.tags) for intent in part.get(name, ())}
    left = without(removed, put)
    assert _tags(part) | _tags(left) == _tags(removed)
    assert not _tags(part) & _tags(left)
    assert not without(removed, _all(removed))
    assert chosen(removed, _images(record)) == removed
    assert put_back_by(record, {}) == {}


def _tags(removed: Mapping[Repository, Any]) -> set[tuple[str, str]]:
    return {(intent.manifest.digest, tag) for intents in removed.values() for intent in intents for tag in intent.tags}


def _all(removed: Mapping[Repository, Any]) -> dict[Any, frozenset[Any]]:
    return {(name, one.manifest.digest): frozenset(one.tags) for name, ones in removed.items() for one in ones}
