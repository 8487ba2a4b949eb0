"""Packed tags are the mapping that was packed, and an inventory finds the same in them as in plain mappings."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.inventory.packed_tags import PackedTags
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag

# Few digests, so that tags and repositories share them; one ends as another begins, when they are packed side by side.
DIGESTS = [
    Digest(f"sha256:{'ab' * 32}"),
    Digest(f"sha256:{'cd' * 16}{'ab' * 16}"),
    Digest(f"sha256:{'ab' * 16}{'ef' * 16}"),
    Digest.of(b"another"),
    Digest.of(b"of another algorithm", "sha512"),
    Digest.of(b"and of a third", "sha384"),
]
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,5}", fullmatch=True).map(Tag)
MAPPINGS = st.dictionaries(TAGS, st.sampled_from(DIGESTS), max_size=8) | st.dictionaries(
    TAGS, st.sampled_from(DIGESTS[:4]), max_size=8
)
REPOSITORIES = st.sampled_from([Repository(name) for name in ("a", "b/c", "d", "e", "f", "g")])
REGISTRIES = st.dictionaries(REPOSITORIES, MAPPINGS)


@given(MAPPINGS)
def test_packed_tags_are_the_mapping(tags: dict[Tag, Digest]) -> None:
    packed = PackedTags(tags)
    assert packed == tags
    assert tags == packed
    assert packed == PackedTags(tags)
    assert list(packed) == list(tags)
    assert list(packed.items()) == list(tags.items())
    assert len(packed) == len(tags)
    assert {*map(type, packed)} <= {Tag}
    assert {*map(type, packed.values())} <= {Digest}
    assert list(map(Digest.of_key, packed.keys_of_digests())) == list(tags.values())
    assert [digest for digest in DIGESTS if packed.names(digest)] == [one for one in DIGESTS if one in tags.values()]


@given(MAPPINGS, MAPPINGS)
def test_they_are_equal_to_what_has_the_same_tags(one: dict[Tag, Digest], other: dict[Tag, Digest]) -> None:
    assert (PackedTags(one) == PackedTags(other)) == (one == other)
    assert (PackedTags(one) == other) == (one == other)
    assert PackedTags(one) == PackedTags(dict(reversed(one.items())))


def test_an_absent_tag_is_not_there() -> None:
    packed = PackedTags({Tag("1"): DIGESTS[0]})
    assert Tag("2") not in packed
    assert packed.get(Tag("2")) is None
    with pytest.raises(KeyError):
        packed[Tag("2")]


def test_the_four_that_were_accessed_last_stay_unpacked() -> None:
    several = [PackedTags({Tag(str(place)): DIGESTS[0]}) for place in range(6)]
    for one in several:
        assert list(one.values()) == DIGESTS[:1]
    assert [one.is_open for one in several] == [False, False, True, True, True, True]
    assert list(several[0]) == ["0"]
    assert [one.is_open for one in several] == [True, False, False, True, True, True]


def test_unpacked_tags_are_freed_with_the_inventory() -> None:
    one = PackedTags({Tag("1"): Digest.of(b"1")})
    digest = next(iter(one.values()))
    del one
    gc.collect()
    assert not [held for held in gc.get_referrers(digest) if isinstance(held, dict) and Tag("1") in held]


@given(REGISTRIES, st.lists(st.sampled_from(DIGESTS)))
def test_an_inventory_finds_the_holders_of_digests(
    tags: dict[Repository, dict[Tag, Digest]], asked: list[Digest]
) -> None:
    inventory = Inventory(tags)
    model = {
        digest: sorted((name, tag) for name, there in tags.items() for tag, on in there.items() if on == digest)
        for digest in DIGESTS
    }
    assert {digest: sorted(inventory.holders(digest)) for digest in DIGESTS} == model
    assert {digest for digest in DIGESTS if inventory.has(digest)} == {digest for digest in DIGESTS if model[digest]}
    found = {digest: sorted(holders) for digest, holders in inventory.holders_of(asked).items()}
    assert found == {digest: model[digest] for digest in asked if model[digest]}
    shared = {digest: sorted(holders) for digest, holders in inventory.shared(asked).items()}
    assert shared == {one: held for one, held in found.items() if len({name for name, _ in held}) > 1}
    assert inventory.digest_count == len({digest for there in tags.values() for digest in there.values()})
    assert inventory.tag_count == sum(map(len, tags.values()))
    assert inventory.repositories == sorted(name for name, there in tags.items() if there)
    assert inventory.as_mapping() == {name: there for name, there in tags.items() if there}
    assert sorted(inventory.held()) == sorted(
        (name, digest) for name, there in tags.items() for digest in {*there.values()}
    )
    assert all(
        inventory.names(name, digest) == (digest in tags.get(name, {}).values())
        for name in map(Repository, "af")
        for digest in DIGESTS
    )


TEXTS = st.sampled_from([*DIGESTS, "", "sha256:", f"sha256:{'AB' * 32}", f"sha256:{' ' * 64}", f"sha256:{'ab ' * 21}a"])
ODD = ["", "sha256:" * 2 + "ab" * 28 + "c", "ab" * 35 + "c", f"sha256:{'ab' * 31}", f"sha256:{'ab' * 31}é0"]
NAMES = st.sampled_from(["1", "2", "v1.0", "_", "", "-1", "a\nb", "a\n", "é", "a" * 128, "b" * 129])


@given(st.dictionaries(NAMES, TEXTS | st.sampled_from(ODD)) | MAPPINGS)
def test_text_is_packed_where_each_name_and_digest_parses(tags: dict[str, str]) -> None:
    try:
        parsed = {Tag.parse(tag): Digest.parse(digest) for tag, digest in tags.items()}
    except UsageError:
        assert PackedTags.parse(tags) is None
        return
    packed = PackedTags.parse(tags)
    assert (packed is not None) == (bool(tags) and all(one.algorithm == "sha256" for one in parsed.values()))
    if packed is not None:
        assert packed == PackedTags(parsed)
        assert list(packed.keyed()) == [(tag, digest.key) for tag, digest in parsed.items()]
