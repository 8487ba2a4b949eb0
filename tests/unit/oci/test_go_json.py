"""JSON that Go reads differently from exact readers: keys in another case, duplicate keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.go_json import Struct, other_readings

ENTRY = Struct({"mediaType": None, "digest": None, "size": None, "annotations": None})
MANIFEST = Struct({"schemaVersion": None, "config": ENTRY, "manifests": ENTRY, "annotations": None})


def read(text: str) -> tuple[Any, ...]:
    return other_readings(text.encode(), MANIFEST)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"schemaVersion": 2, "config": {"digest": "a", "size": 3}, "manifests": [{"digest": "b"}, {}]}',
        '{"Other": 1, "other": 2, "other": 3}',
        '{"other": {"Digest": "a", "digest": "b"}}',
        '{"config": {"digest": "a", "other": 1, "Other": 2}}',
        '{"annotations": {"digest": "a", "Digest": "b", "Digest": "c"}}',
        '{"config": "Digest", "manifests": ["Digest", 3, null]}',
        '[{"Config": 1, "config": 2}]',
        '"Config"',
        "3",
        "null",
    ],
)
def test_unambiguous_json_has_one_reading(text: str) -> None:
    assert read(text) == ()


@pytest.mark.parametrize("key", ["Config", "CONFIG", "conFig"])
def test_a_key_in_another_case_is_the_field(key: str) -> None:
    once = {"config": {"digest": "a"}}
    assert read(f'{{"{key}": {{"digest": "a"}}}}') == (once, once)
    after_others = read(f'{{"other": 1, "schemaVersion": 2, "{key}": {{"digest": "a"}}}}')
    assert after_others == ({"schemaVersion": 2, **once},) * 2


def test_the_long_s_and_the_kelvin_sign_are_folded_too() -> None:
    assert read('{"\u017fchemaVer\u017fion": 2}') == ({"schemaVersion": 2},) * 2
    assert other_readings('{"\u212aey": 1}'.encode(), Struct({"key": None})) == ({"key": 1},) * 2
    assert read('{"configs": 2, "\u00e7onfig": 1}') == ()


def test_of_a_duplicate_key_the_last_or_the_first_counts() -> None:
    assert read('{"schemaVersion": 1, "schemaVersion": 2}') == ({"schemaVersion": 2}, {"schemaVersion": 1})
    assert read('{"SchemaVersion": 1, "schemaVersion": 2, "SCHEMAVERSION": 3}') == (
        {"schemaVersion": 3},
        {"schemaVersion": 1},
    )
    assert read('{"schemaVersion": 1, "other": 0, "schemaVersion": 1}') == ({"schemaVersion": 1},) * 2


@pytest.mark.parametrize("inside", ['{"Digest": "a"}', '[{"Digest": "a"}]', '[{}, 3, {"Digest": "a"}]'])
def test_nested_keys_are_folded_too(inside: str) -> None:
    folded = json.loads(inside.replace("Digest", "digest"))
    assert read(f'{{"config": {inside}}}') == ({"config": folded},) * 2
    assert (
        read(f'{{"schemaVersion": 2, "config": {inside}, "manifests": []}}')
        == ({"schemaVersion": 2, "config": folded, "manifests": []},) * 2
    )


def test_of_each_entry_the_last_or_the_first_counts() -> None:
    text = '{"manifests": [{"digest": "a", "digest": "b"}, {"digest": "c", "DIGEST": "d"}]}'
    assert read(text) == (
        {"manifests": [{"digest": "b"}, {"digest": "d"}]},
        {"manifests": [{"digest": "a"}, {"digest": "c"}]},
    )


def test_the_keys_of_annotations_are_data_and_not_folded() -> None:
    text = '{"Config": {"annotations": {"Digest": "a", "digest": "b", "digest": ["c", {"X": 1}]}}, "other": 1}'
    assert read(text) == (
        {"config": {"annotations": {"Digest": "a", "digest": ["c", {"X": 1}]}}},
        {"config": {"annotations": {"Digest": "a", "digest": "b"}}},
    )


def test_a_number_that_cannot_be_a_size_is_none() -> None:
    longest = "1" * 20
    assert read(f'{{"Config": {{"size": {longest}}}}}') == ({"config": {"size": int(longest)}},) * 2
    assert read(f'{{"Config": {{"size": {longest}1}}}}') == ({"config": {"size": 0}},) * 2
    assert read(f'{{"Config": {{"size": {"9" * 100_000}}}}}') == ({"config": {"size": 0}},) * 2


@pytest.mark.parametrize("text", ["", "{", "{'config': 1}", '{"config": }'])
def test_invalid_json_is_refused(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        read(text)


_SPELLINGS = st.sampled_from(["config", "Config", "CONFIG", "\u017fchemaver\u017fion", "schemaVersion", "other"])


@pytest.mark.property
@given(st.lists(st.tuples(_SPELLINGS, st.integers(0, 9)), max_size=6))
def test_there_is_another_reading_exactly_where_readers_may_differ(members: list[tuple[str, int]]) -> None:
    def field(key: str) -> str:
        return {"config": "config", "schemaversion": "schemaVersion"}.get(key.replace("\u017f", "s").lower(), "")

    known = [(field(key), value) for key, value in members if field(key)]
    exact = [key for key, _ in members if key in ("config", "schemaVersion")]
    differs = len(exact) < len(known) or len(set(exact)) < len(exact)
    found = read("{" + ", ".join(f'"{key}": {value}' for key, value in members) + "}")
    assert found == ((dict(known), dict(reversed(known))) if differs else ())
