"""Which labels and annotations an image or an index has for a policy."""

from __future__ import annotations

import json

from dregutil.oci.image import ImageDetails, describe, parse_config
from dregutil.oci.manifest import parse_manifest
from dregutil.oci.names import Digest

INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def image(name: str, labels: dict[str, str], *children: ImageDetails, **annotations: str) -> ImageDetails:
    return ImageDetails(Digest.of(name.encode()), "", 1, labels=labels, children=children, annotations=annotations)


def test_an_image_has_its_labels_and_its_annotations() -> None:
    found = image("a", {"team": "web", "stage": "dev"}, team="shop", keep="true")
    assert found.marked("team") == {"web", "shop"}
    assert (found.marked("stage"), found.marked("keep"), found.marked("none")) == (
        frozenset({"dev"}),
        frozenset({"true"}),
        frozenset(),
    )


def test_an_index_has_what_all_of_its_images_have() -> None:
    one = image("one", {"team": "web", "stage": "dev"})
    two = image("two", {"stage": "prod"}, team="web")
    assert image("i", {}, one, two).marked("team") == {"web"}
    assert image("i", {}, one, two).marked("stage") == set()
    assert image("i", {"team": "web"}, one, image("three", {})).marked("team") == set()
    assert image("o", {}, image("i", {}, one, two), one).marked("team") == {"web"}


def test_an_index_has_its_own_annotations() -> None:
    assert image("i", {}, image("one", {}), keep="true").marked("keep") == {"true"}


def test_the_annotations_of_manifests_are_read() -> None:
    config = json.dumps({"config": {"Labels": {"team": "web"}}}).encode()
    layer = {"mediaType": CONFIG, "digest": str(Digest.of(config)), "size": len(config)}
    raw = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": layer, "layers": [], "annotations": {"a": "1"}})
    child = parse_manifest(raw.encode(), IMAGE, Digest.of(raw.encode()))
    entry = {"mediaType": IMAGE, "digest": str(child.digest), "size": len(raw)}
    whole = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry], "annotations": {"b": "2"}})
    index = parse_manifest(whole.encode(), INDEX, Digest.of(whole.encode()))
    manifests = {one.digest: one for one in (child, index)}
    found = describe(index.digest, manifests, {Digest.of(config): parse_config(config)})
    assert found is not None
    assert [found.marked(key) for key in ("team", "a", "b")] == [{"web"}, {"1"}, {"2"}]
