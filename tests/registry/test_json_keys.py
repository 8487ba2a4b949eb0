"""Manifests whose JSON different programs read differently (keys in another case, duplicate keys): whatever any of them
finds holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import ManifestError
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest
from dregutil.plan.model import RemovalOptions
from dregutil.plan.outcome import Result
from images import CONFIG, IMAGE, INDEX, LAYER, Pusher
from removing import Removing, results
from servers import DistributionServer


def digest(letter: str) -> str:
    return f"sha256:{letter * 64}"


def entry(letter: str, media_type: str = IMAGE) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(letter), "size": 3}


def parsed(raw: str, media_type: str = OCI_INDEX) -> Manifest:
    return parse_manifest(raw.encode(), media_type, Digest.of(raw.encode()))


def children(found: Manifest) -> set[str]:
    return {child.digest for child in found.children}


@pytest.mark.parametrize("key", ["Manifests", "MANIFESTS", "manifest\u017f", "ManifeST\u017f"])
def test_a_key_in_another_case_names_children(key: str) -> None:
    found = parsed(json.dumps({"schemaVersion": 2, key: [entry("a")]}))
    assert children(found) == {digest("a")}
    assert found.is_ambiguous


@pytest.mark.parametrize("escaped", [False, True])
def test_the_kelvin_sign_is_a_k(escaped: bool) -> None:
    """No relevant field of a manifest contains a k, but the folding is that of Go."""
    from dregutil.oci.go_json import Struct, other_readings

    key = "\\u212aey" if escaped else "\u212aey"
    assert other_readings(f'{{"{key}": 1}}'.encode(), Struct({"key": None})) == ({"key": 1}, {"key": 1})


def test_a_later_duplicate_replaces_an_earlier_one_and_both_hold() -> None:
    one, other = json.dumps([entry("a")]), json.dumps([entry("b")])
    for text in (
        f'{{"manifests": {one}, "manifests": {other}}}',
        f'{{"manifests": {one}, "Manifests": {other}}}',
        f'{{"Manifests": {one}, "manifests": {other}}}',
    ):
        found = parsed(text)
        assert children(found) == {digest("a"), digest("b")}
        assert found.is_ambiguous
    assert children(parsed(f'{{"manifests": {one}, "manifests": null}}')) == {digest("a")}


def test_keys_within_an_entry_are_folded_too() -> None:
    text = f'{{"manifests": [{{"mediaType": "{IMAGE}", "digest": "{digest("a")}", "Digest": "{digest("b")}"}}]}}'
    assert children(parsed(text)) == {digest("a"), digest("b")}


def test_config_and_layers_of_every_reading_are_kept() -> None:
    config, layer = entry("c", CONFIG), entry("d", LAYER)
    found = parsed(json.dumps({"config": config, "Config": entry("e", CONFIG), "LAYERS": [layer]}), OCI_MANIFEST)
    assert {blob.digest for blob in found.blobs} == {digest("c"), digest("d"), digest("e")}
    assert found.is_ambiguous


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ('{"manifests": [], "Manifests": "none"}', set()),
        (f'{{"manifests": [{{"Digest": "{digest("a")}"}}]}}', {digest("a")}),
        (f'{{"manifests": "none", "Manifests": [{{"digest": "{digest("a")}"}}]}}', {digest("a")}),
        (f'{{"manifests": [{{"digest": "x", "Digest": "{digest("a")}"}}]}}', {digest("a")}),
    ],
)
def test_a_manifest_that_only_some_readers_accept_holds_what_they_find(text: str, held: set[str]) -> None:
    found = parsed(text)
    assert found.is_ambiguous
    assert children(found) == held


@pytest.mark.parametrize("text", ['{"manifests": [{}]}', '{"manifests": 3}', '{"Manifests": 3, "manifests": 4}', "[]"])
def test_what_no_reader_accepts_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        parsed(text)


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=5)))
def test_the_keys_of_annotations_are_data(annotations: dict[str, str]) -> None:
    more = {"Manifests": "x", "manifests": "y", "Digest": "z", **annotations}
    body = {"manifests": [{**entry("a"), "annotations": more}], "annotations": more}
    found = parsed(json.dumps(body))
    assert not found.is_ambiguous
    assert found.annotations == more
    assert found.children[0].annotations == more


@given(st.sets(st.sampled_from("abcdef"), max_size=4), st.sets(st.sampled_from("abcdef"), max_size=4), st.data())
def test_every_entry_under_a_key_that_folds_is_held(first: set[str], second: set[str], data: st.DataObject) -> None:
    key = "".join(data.draw(st.sampled_from((letter, letter.upper()))) for letter in "manifests")
    lists = [json.dumps([entry(letter) for letter in sorted(letters)]) for letters in (first, second)]
    found = parsed(f'{{"manifests": {lists[0]}, "{key}": {lists[1]}}}')
    assert children(found) == {digest(letter) for letter in first | second}


async def test_the_children_of_an_index_in_another_case_stay(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """To the registry and to docker it is an index with a child; only the child has another tag, which is removed."""
    child = pusher.push_image("r", "1.0", seed="child")
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "Manifests": [child]}).encode()
    pusher.push_manifest("r", "nightly", raw, INDEX)
    removing = Removing(registry_server.url, tmp_path)
    plan = await removing.plan("1.0")
    assert not plan.steps
    assert "which stays" in plan.kept[0].reason
    assert set(pusher.tags("r")) == {"1.0", "nightly"}


async def test_an_ambiguous_index_is_removed_only_with_the_option(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    child = pusher.push_image("r", seed="child")
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "Manifests": [child]}).encode()
    pusher.push_manifest("r", "1.0", raw, INDEX)
    removing = Removing(registry_server.url, tmp_path)
    plan = await removing.plan("1.0")
    assert not plan.steps
    assert "--allow-irreversible" in plan.kept[0].reason
    result = await removing.remove("1.0", options=RemovalOptions(allow_irreversible=True))
    assert results(result) == [Result.REMOVED, Result.REMOVED]
    await removing.undo()
    assert pusher.raw("r", "1.0") == raw
    assert pusher.has("r", child["digest"])
