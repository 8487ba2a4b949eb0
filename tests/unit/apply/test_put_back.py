"""Putting back, request by request: the order, what may be overwritten, and what is read back."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import cast

import pytest

from dregutil.apply.put_back import (
    Guard,
    if_free,
    if_free_or_on,
    just_denied_twice,
    just_seen_on_placeholder,
    put_back,
    put_back_missing,
    put_back_tags,
    put_back_unread,
)
from dregutil.errors import DregutilError, ProtocolError, RegistryError, UnreachableError
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry import absence
from dregutil.registry.values import Resolved
from dregutil.registry.writer import WritableRegistry

R = Repository("r")
TAG, OTHER = Tag("1.0"), Tag("2.0")
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def image(seed: str) -> Manifest:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest.of(seed.encode()), "size": 1}
    return made({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []}, IMAGE)


def index(*children: Manifest) -> Manifest:
    entries = [{"mediaType": one.media_type, "digest": one.digest, "size": len(one.raw)} for one in children]
    return made({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)


def made(body: object, media_type: str) -> Manifest:
    raw = json.dumps(body).encode()
    return parse_manifest(raw, media_type, Digest.of(raw))


MINE, PUSHED, OURS = image("mine"), image("pushed since"), image("a placeholder")


class Scripted:
    """A registry that answers from a table, and records its requests.

    `tags` and `manifests` are its contents; `denies`: so many of the next requests for a reference are answered "not
    found"; `forgets`: what it accepts but does not store; `refuses`: what it does not take. `kept`: what its service
    brings back, with these tags.
    """

    def __init__(self, tags: dict[Tag, Manifest] | None = None, manifests: Collection[Manifest] = ()) -> None:
        self.tags = tags or {}
        self.manifests = {one.digest: one for one in (*manifests, *self.tags.values())}
        self.denies: dict[Tag | Digest, int] = {}
        self.forgets: set[Tag | Digest] = set()
        self.refuses: set[Tag | Digest] = set()
        self.kept: dict[Digest, tuple[Manifest, tuple[Tag, ...]]] = {}
        self.asked: list[str] = []

    @property
    def writable(self) -> WritableRegistry:
        return cast("WritableRegistry", self)

    def _find(self, how: str, reference: Tag | Digest) -> Manifest | None:
        self.asked.append(f"{how} {reference}")
        if self.denies.get(reference, 0) > 0:
            self.denies[reference] -= 1
            return None
        return self.manifests.get(reference) if isinstance(reference, Digest) else self.tags.get(reference)

    async def resolve(self, repository: Repository, reference: Tag | Digest) -> Resolved | None:
        assert repository == R
        found = self._find("HEAD", reference)
        return None if found is None else Resolved(found.digest, found.media_type, len(found.raw))

    find = resolve

    async def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        assert repository == R
        return self._find("GET", reference)

    async def put_manifest(
        self,
        repository: Repository,
        reference: Tag | Digest,
        raw: bytes,
        media_type: str,
        *,
        digest: Digest | None = None,
    ) -> None:
        assert repository == R
        assert digest == Digest.of(raw)
        self.asked.append(f"PUT {reference}")
        if reference in self.refuses:
            raise RegistryError("it has lost a blob", status=400)
        manifest = parse_manifest(raw, media_type, Digest.of(raw))
        missing = [child.digest for child in manifest.children if child.digest not in self.manifests]
        assert not missing, "what it needs comes first"
        if reference in self.forgets:
            return
        self.manifests[manifest.digest] = manifest
        if isinstance(reference, Tag):
            self.tags[reference] = manifest

    async def restore(self, repository: Repository, digest: Digest, tags: Collection[Tag] | None) -> bool:
        assert repository == R
        if digest not in self.kept or (tags is not None and not set(self.kept[digest][1]) <= set(tags)):
            return False
        self.asked.append(f"RESTORE {digest}")
        manifest, returning = self.kept.pop(digest)
        self.manifests[digest] = manifest
        self.tags.update(dict.fromkeys(returning, manifest))
        return True

    def puts(self) -> list[str]:
        return [one.removeprefix("PUT ") for one in self.asked if one.startswith("PUT ")]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "_PAUSE", 0.0)


@pytest.mark.parametrize(
    ("guard", "free", "mine", "pushed", "ours"),
    [
        (if_free, True, False, False, False),
        (if_free_or_on(MINE.digest), True, True, False, False),
        (if_free_or_on(OURS.digest), True, False, False, True),
        (if_free_or_on(MINE.digest, OURS.digest), True, True, False, True),
    ],
)
async def test_what_a_guard_allows_to_be_overwritten(
    guard: Guard, free: bool, mine: bool, pushed: bool, ours: bool
) -> None:
    for manifest, wanted in ((None, free), (MINE, mine), (PUSHED, pushed), (OURS, ours)):
        registry = Scripted({} if manifest is None else {TAG: manifest})
        assert await guard(registry.writable, R, TAG) is wanted
        # A tag that one answer denies and the next one does not exists.
        registry.denies[TAG] = 1
        assert await guard(registry.writable, R, TAG) is wanted


@pytest.mark.parametrize("guard", [if_free, if_free_or_on(MINE.digest)])
async def test_a_guard_asks_twice_only_if_the_tag_is_denied(guard: Guard) -> None:
    registry = Scripted()
    await guard(registry.writable, R, TAG)
    assert registry.asked == ["HEAD 1.0"] * 2
    registry = Scripted({TAG: PUSHED})
    await guard(registry.writable, R, TAG)
    assert registry.asked == ["HEAD 1.0"]


@pytest.mark.parametrize("guard", [just_denied_twice, just_seen_on_placeholder])
async def test_what_the_caller_has_just_read_is_not_requested_again(guard: Guard) -> None:
    registry = Scripted({TAG: OURS})
    assert await put_back_tags(registry.writable, R, MINE, (TAG,), guard=guard) == (TAG,)
    assert registry.asked == ["PUT 1.0"]


async def test_a_guard_is_asked_just_before_each_put() -> None:
    """Somebody may push the last of many tags while the first ones are put."""
    registry = Scripted({OTHER: PUSHED})
    third = Tag("3.0")
    put = await put_back_tags(registry.writable, R, MINE, (TAG, OTHER, third), guard=if_free)
    assert put == (TAG, third)
    assert registry.asked == ["HEAD 1.0", "HEAD 1.0", "PUT 1.0", "HEAD 2.0", "HEAD 3.0", "HEAD 3.0", "PUT 3.0"]


async def test_a_tag_whose_guard_fails_is_not_put() -> None:
    async def unreachable(_: WritableRegistry, __: Repository, ___: Tag) -> bool:
        raise UnreachableError("no answer")

    registry = Scripted()
    with pytest.raises(UnreachableError):
        await put_back_tags(registry.writable, R, MINE, (TAG,), guard=unreachable)
    assert registry.puts() == []


async def test_children_come_first_then_the_manifest_then_its_tags_and_all_is_read_back() -> None:
    left, right, there = image("left"), image("right"), image("there")
    inner = index(left)
    outer = index(inner, right, there)
    registry = Scripted(manifests=[there])
    put: list[Digest] = []
    below = {one.digest: one for one in (left, right, inner, there)}
    assert await put_back(registry.writable, R, outer, (TAG,), below=below, put=put) == ()
    order = [left.digest, inner.digest, right.digest, outer.digest]
    assert put == order
    assert registry.puts() == [*order, "1.0"]
    assert [one for one in registry.asked if one.startswith("GET")] == [f"GET {digest}" for digest in order]
    assert registry.asked[-4:] == ["HEAD 1.0", "HEAD 1.0", "PUT 1.0", "HEAD 1.0"]


async def test_a_child_is_put_once_however_many_indexes_need_it() -> None:
    child = image("child")
    one, two = index(child), index(child, image("another"))
    outer = index(one, two)
    below = {manifest.digest: manifest for manifest in (child, one, two, image("another"))}
    registry = Scripted()
    put: list[Digest] = []
    await put_back(registry.writable, R, outer, below=below, put=put)
    assert sorted(put) == sorted({*below, outer.digest})


@pytest.mark.parametrize("what", ["child", "itself"])
async def test_a_manifest_accepted_but_missing_is_an_error_that_lists_what_was_put(what: str) -> None:
    child = image("child")
    outer = index(child)
    registry = Scripted()
    registry.forgets.add(child.digest if what == "child" else outer.digest)
    put: list[Digest] = []
    with pytest.raises(ProtocolError, match="does not have it"):
        await put_back(registry.writable, R, outer, (TAG,), below={child.digest: child}, put=put)
    assert put == [child.digest] if what == "child" else [child.digest, outer.digest]
    assert TAG not in registry.tags, "no tag names what is not there"


async def test_a_tag_accepted_but_missing_is_an_error() -> None:
    registry = Scripted()
    registry.forgets.add(TAG)
    with pytest.raises(ProtocolError, match="it is not on"):
        await put_back(registry.writable, R, MINE, (TAG,), below={})


async def test_a_tag_on_another_digest_is_requested_again_and_left() -> None:
    registry = Scripted({TAG: PUSHED})
    assert await put_back(registry.writable, R, MINE, (TAG, OTHER), below={}) == (TAG,)
    assert registry.tags == {TAG: PUSHED, OTHER: MINE}
    assert registry.asked.count("HEAD 1.0") == 2


async def test_a_tag_that_a_replica_still_had_is_put_after_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Scripted({TAG: PUSHED})

    async def goes(_: float) -> None:
        registry.tags.pop(TAG)

    monkeypatch.setattr("dregutil.registry.absence.asyncio.sleep", goes)
    assert await put_back(registry.writable, R, MINE, (TAG,), below={}) == ()
    assert registry.tags == {TAG: MINE}


async def test_what_exists_is_not_put_again() -> None:
    registry = Scripted(manifests=[MINE])
    assert await put_back_missing(registry.writable, R, MINE, (TAG,)) == (TAG,)
    assert registry.puts() == ["1.0"]
    registry = Scripted({TAG: MINE, OTHER: PUSHED})
    assert await put_back_missing(registry.writable, R, MINE, (TAG, OTHER)) == ()
    assert registry.puts() == []


async def test_what_is_missing_comes_before_its_tags() -> None:
    registry = Scripted({OTHER: PUSHED})
    assert await put_back_missing(registry.writable, R, MINE, (TAG, OTHER)) == (TAG,)
    assert registry.puts() == [MINE.digest, "1.0"]
    assert registry.tags == {TAG: MINE, OTHER: PUSHED}


async def test_a_digest_is_put_without_a_guard() -> None:
    registry = Scripted()
    await put_back_unread(registry.writable, R, MINE)
    assert registry.asked == [f"PUT {MINE.digest}"]


Reading = Callable[[Collection[int]], Awaitable[Collection[int]]]


def denying(*answers: Collection[int]) -> tuple[Reading, list[Collection[int]]]:
    asked: list[Collection[int]] = []

    async def read(things: Collection[int]) -> Collection[int]:
        asked.append(things)
        return [thing for thing in things if thing in answers[len(asked) - 1]]

    return read, asked


async def test_only_what_two_readings_deny_is_absent() -> None:
    read, asked = denying([2, 3], [1, 3])
    assert await absence.denied_twice([1, 2, 3], read) == [3]
    assert asked == [[1, 2, 3], [2, 3]], "the second reading is about what the first one denied"
    read, asked = denying([])
    assert await absence.denied_twice([1, 2, 3], read) == []
    assert asked == [[1, 2, 3]], "what is there is read once"


async def test_an_error_of_the_second_reading_is_not_an_absence() -> None:
    async def read(_: Collection[int]) -> Collection[int]:
        raise DregutilError("not read")

    assert await absence.denied_again([], read) == []
    with pytest.raises(DregutilError):
        await absence.denied_again([1], read)


async def test_what_a_service_brings_back_is_not_put() -> None:
    registry = Scripted()
    registry.kept[MINE.digest] = MINE, (TAG,)
    await put_back_unread(registry.writable, R, MINE, (TAG, OTHER))
    assert registry.asked == [f"RESTORE {MINE.digest}"]


async def test_what_would_bring_back_another_tag_is_put() -> None:
    registry = Scripted()
    registry.kept[MINE.digest] = MINE, (TAG, OTHER)
    await put_back_unread(registry.writable, R, MINE, (TAG,))
    assert registry.asked == [f"PUT {MINE.digest}"]
    assert registry.tags == {}


async def test_what_a_registry_no_longer_takes_comes_back_with_all_its_tags() -> None:
    registry = Scripted()
    registry.kept[MINE.digest] = MINE, (TAG, OTHER)
    registry.refuses = {MINE.digest}
    await put_back_unread(registry.writable, R, MINE)
    assert registry.asked == [f"PUT {MINE.digest}", f"RESTORE {MINE.digest}"]
    with pytest.raises(RegistryError, match="lost a blob"):
        await put_back_unread(registry.writable, R, MINE)
