"""The placeholder: its form, and that nothing else is recognised as one."""

from __future__ import annotations

import json

import pytest
from test_plan import image, index

from dregutil.oci.manifest import OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest
from dregutil.oci.placeholder import is_placeholder, placeholder, stands_for_nothing


def parsed(raw: bytes) -> Manifest:
    return parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))


def test_a_placeholder_is_an_oci_manifest_without_layers() -> None:
    body = json.loads(placeholder(b"run 1"))
    assert body == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.dregutil.placeholder.v1+json",
            "digest": Digest.of(b"run 1"),
            "size": 5,
        },
        "layers": [],
    }


def test_each_placeholder_has_its_own_digest_and_a_fixed_form() -> None:
    made = {placeholder(b"run 1"), placeholder(b"run 2"), placeholder(b"run 1", of_nothing=True)}
    assert len(made) == 3
    assert placeholder(b"run 1") in made


@pytest.mark.parametrize("of_nothing", [False, True])
def test_a_placeholder_is_recognised(of_nothing: bool) -> None:
    found = parsed(placeholder(b"run 1", of_nothing=of_nothing))
    assert is_placeholder(found)
    assert stands_for_nothing(found) is of_nothing
    assert not found.is_runnable
    assert [blob.digest for blob in found.blobs] == [Digest.of(b"run 1")]


def test_nothing_else_is_recognised_as_a_placeholder() -> None:
    annotated = json.loads(placeholder(b"run 1", of_nothing=True))
    annotated["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    for other in (None, image("one"), index(image("one")), parsed(json.dumps(annotated).encode())):
        assert not is_placeholder(other)
        assert not stands_for_nothing(other)


def test_a_placeholder_with_other_annotations_stands_for_something() -> None:
    body = json.loads(placeholder(b"run 1"))
    for others in ({}, {"vnd.dregutil.placeholder.of": "r:1.0"}, {"x": "nothing"}):
        found = parsed(json.dumps({**body, "annotations": others}).encode())
        assert is_placeholder(found)
        assert not stands_for_nothing(found)
