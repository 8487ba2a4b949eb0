"""The details of an image from its contents: plausible dates, sizes, platforms, labels, layers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.image import DEEPEST, EARLIEST_DATE, ImageConfig, describe, known_date, parse_config
from dregutil.oci.manifest import DOCKER_SCHEMA1_SIGNED, OCI_INDEX, OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.mark.parametrize(
    "created",
    [
        None,
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1980, 1, 1, 0, 0, 1, tzinfo=UTC),
        EARLIEST_DATE - timedelta(microseconds=1),
        NOW + timedelta(seconds=1),
    ],
)
def test_an_implausible_date_is_unknown(created: datetime | None) -> None:
    assert known_date(created, NOW) is None


@pytest.mark.parametrize("created", [EARLIEST_DATE, datetime(2025, 3, 2, tzinfo=UTC), NOW])
def test_other_dates_are_known(created: datetime) -> None:
    assert known_date(created, NOW) == created


@pytest.mark.parametrize(
    ("text", "created"),
    [
        ("2025-03-02T10:11:12Z", datetime(2025, 3, 2, 10, 11, 12, tzinfo=UTC)),
        ("2025-03-02T10:11:12.123456789Z", datetime(2025, 3, 2, 10, 11, 12, 123456, tzinfo=UTC)),
        ("2025-03-02T10:11:12+02:00", datetime(2025, 3, 2, 8, 11, 12, tzinfo=UTC)),
        ("2025-03-02T10:11:12", datetime(2025, 3, 2, 10, 11, 12, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00+02:00", None),
        ("yesterday", None),
        (1741000000, None),
        (None, None),
    ],
)
def test_the_date_of_a_config_is_read_in_utc(text: object, created: datetime | None) -> None:
    assert parse_config(json.dumps({"created": text}).encode()).created == created


def test_platform_and_labels_are_read_from_the_config() -> None:
    raw = {"os": "linux", "architecture": "arm64", "variant": "v8", "config": {"Labels": {"a": "1", "b": 2}}}
    assert parse_config(json.dumps(raw).encode()) == ImageConfig(None, "linux/arm64/v8", {"a": "1"})


@given(
    st.binary() | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
@pytest.mark.property
def test_an_odd_config_is_never_an_error(raw: bytes) -> None:
    parse_config(raw)


@pytest.mark.parametrize(
    "raw", [b'{"config": []}', b'{"config": {"Labels": []}}', b'{"os": {}}', b"[" * 100_000, b"\xff"]
)
def test_an_odd_config_has_no_details(raw: bytes) -> None:
    assert parse_config(raw) == ImageConfig()


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def image(name: str, *layers: tuple[str, int], **more: Any) -> Manifest:
    body = {
        "schemaVersion": 2,
        "config": {"mediaType": CONFIG, "digest": digest(f"{name} config"), "size": 100},
        "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": size} for layer, size in layers],
        **more,
    }
    return manifest(body, OCI_MANIFEST)


def index(*children: Manifest, **more: Any) -> Manifest:
    listed = [{"mediaType": child.media_type, "digest": child.digest, "size": len(child.raw)} for child in children]
    return manifest({"schemaVersion": 2, "manifests": listed, **more}, OCI_INDEX)


def manifest(body: Any, media_type: str) -> Manifest:
    raw = json.dumps(body).encode()
    return parse_manifest(raw, media_type, Digest.of(raw))


def known(*manifests: Manifest) -> dict[Digest, Manifest]:
    return {found.digest: found for found in manifests}


def test_the_size_of_an_image_counts_manifest_config_and_layers_once() -> None:
    one = image("one", ("base", 1000), ("base", 1000), ("top", 50))
    found = describe(one.digest, known(one), {})
    assert found is not None
    assert found.size == len(one.raw) + 100 + 1000 + 50
    assert found.layers == (digest("base"), digest("base"), digest("top"))


def test_a_layer_stored_elsewhere_has_no_size() -> None:
    one = image("one", ("top", 50))
    body = json.loads(one.raw)
    body["layers"].insert(0, {**body["layers"][0], "digest": digest("windows"), "size": 10**9, "urls": ["https://x"]})
    found = describe((windows := manifest(body, OCI_MANIFEST)).digest, known(windows), {})
    assert found is not None
    assert found.size == len(windows.raw) + 100 + 50
    assert len(found.layers) == 2


def test_an_index_takes_the_latest_date_all_labels_and_what_children_share_once() -> None:
    amd, arm = image("amd", ("base", 1000), ("amd", 1)), image("arm", ("base", 1000), ("arm", 2))
    both = index(amd, arm)
    configs = {
        digest("amd config"): ImageConfig(datetime(2024, 1, 1, tzinfo=UTC), "linux/amd64", {"a": "1", "b": "1"}),
        digest("arm config"): ImageConfig(datetime(2025, 1, 1, tzinfo=UTC), "linux/arm64", {"a": "2", "c": "2"}),
    }
    found = describe(both.digest, known(both, amd, arm), configs)
    assert found is not None
    assert found.size == sum(len(one.raw) for one in (both, amd, arm)) + 2 * 100 + 1000 + 1 + 2
    assert found.created == datetime(2025, 1, 1, tzinfo=UTC)
    assert found.labels == {"a": "1", "b": "1", "c": "2"}
    assert found.platforms == ("linux/amd64", "linux/arm64")
    assert [child.digest for child in found.children] == [amd.digest, arm.digest]
    assert found.layers == ()


def test_an_attestation_has_a_size_but_is_not_an_image_of_the_index() -> None:
    amd, note = image("amd", ("amd", 1)), image("note", ("statement", 7))
    body = json.loads(index(amd, note).raw)
    body["manifests"][1] |= {
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    both = manifest(body, OCI_INDEX)
    found = describe(both.digest, known(both, amd, note), {digest("amd config"): ImageConfig(platform="linux/amd64")})
    assert found is not None
    assert found.platforms == ("linux/amd64",)
    assert [child.digest for child in found.children] == [amd.digest]
    assert found.size == len(both.raw) + len(amd.raw) + len(note.raw) + 200 + 1 + 7


def test_an_index_with_a_missing_part_is_not_described() -> None:
    amd, arm = image("amd"), image("arm")
    both = index(amd, arm)
    assert describe(both.digest, known(both, amd), {}) is None


def test_without_a_config_an_annotation_gives_the_date() -> None:
    chart = image("chart", annotations={"org.opencontainers.image.created": "2025-01-01T00:00:00Z"})
    found = describe(chart.digest, known(chart), {})
    assert found is not None
    assert found.created == datetime(2025, 1, 1, tzinfo=UTC)


def test_a_schema_1_image_has_the_details_of_its_newest_layer() -> None:
    newest = {
        "created": "2015-01-01T00:00:00Z",
        "os": "linux",
        "architecture": "amd64",
        "config": {"Labels": {"a": "b"}},
    }
    old = manifest(
        {
            "schemaVersion": 1,
            "fsLayers": [{"blobSum": digest("layer")}],
            "history": [{"v1Compatibility": json.dumps(newest)}, {"v1Compatibility": "{}"}],
        },
        DOCKER_SCHEMA1_SIGNED,
    )
    found = describe(old.digest, known(old), {})
    assert found is not None
    assert (found.created, found.platforms, found.labels) == (
        datetime(2015, 1, 1, tzinfo=UTC),
        ("linux/amd64",),
        {"a": "b"},
    )


def test_nested_indexes_are_followed_to_a_sufficient_depth() -> None:
    chain = [image("bottom", ("layer", 5))]
    for _ in range(DEEPEST - 1):
        chain.append(index(chain[-1], chain[-1]))
    found = describe(chain[-1].digest, known(*chain), {})
    assert found is not None
    assert found.size == sum(len(one.raw) for one in chain) + 105
    chain.append(index(chain[-1]))
    assert describe(chain[-1].digest, known(*chain), {}) is None
