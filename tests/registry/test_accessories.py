"""Accessories that tools store next to an image as `sha256-<hex>.<suffix>`: never counted, and removed with their
subject."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_plan import REPOSITORY, going, plan

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, SignatureTag, Tag, parse_accessory_tag, parse_signature_tag
from images import Pusher, created
from program import Program
from servers import DistributionServer

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def manifest(name: str, config: str = CONFIG, layers: tuple[str, ...] = (LAYER,), **more: object) -> Manifest:
    blob = Digest.of(name.encode())
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": config, "digest": blob, "size": 1},
        "layers": [{"mediaType": layer, "digest": blob, "size": 1} for layer in layers],
        **more,
    }
    raw = json.dumps(body).encode()
    return parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom", ".src", ".dockerfile"])
def test_known_suffixes(suffix: str) -> None:
    found = SignatureTag("sha256", "a" * 64, suffix[1:])
    assert parse_signature_tag(f"sha256-{'a' * 64}{suffix}") == found
    assert parse_accessory_tag(f"sha256-{'a' * 64}{suffix}") == found


def test_other_suffixes() -> None:
    assert parse_signature_tag(f"sha256-{'a' * 64}.scan") is None
    assert parse_accessory_tag(f"sha256-{'a' * 64}.scan-2.x") == SignatureTag("sha256", "a" * 64, "scan-2.x")
    for name in ("latest", "sha-1234567", f"sha256-{'a' * 64}.", f"sha256-{'a' * 63}.scan", f"sha256-{'a' * 64}-scan"):
        assert parse_accessory_tag(name) is None


def test_images_that_may_run_are_distinguished() -> None:
    assert manifest("image").is_runnable
    assert manifest("no layers", layers=()).is_runnable
    assert manifest("docker", layers=("application/vnd.docker.image.rootfs.diff.tar.gzip",)).is_runnable
    assert manifest("mixed", layers=("text/spdx", LAYER)).is_runnable
    assert not manifest("sbom", layers=("text/spdx",)).is_runnable
    assert not manifest("chart", config="application/vnd.cncf.helm.config.v1+json").is_runnable
    assert not manifest("artifact", artifactType="application/vnd.x").is_runnable
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    assert parse_manifest(index, OCI_INDEX, Digest.of(index)).is_runnable


def test_with_an_unknown_suffix_only_what_cannot_run_goes_with_the_subject() -> None:
    subject = manifest("subject")
    name = Tag(f"sha256-{subject.digest.hex}.scan")
    for beside, goes in ((manifest("scan", layers=("text/scan",)), True), (manifest("backup"), False)):
        found = RepositoryGraph(
            REPOSITORY,
            {Tag("1"): subject.digest, name: beside.digest},
            {subject.digest: subject, beside.digest: beside},
        )
        assert going(plan(found, "1")) == [subject.digest, *([beside.digest] if goes else [])]
        assert found.tags_named_for(subject.digest) == (name,)
        assert found.signature_tags_of(subject.digest) == ((name,) if goes else ())
    unread = RepositoryGraph(REPOSITORY, {Tag("1"): subject.digest, name: beside.digest}, {subject.digest: subject})
    assert going(plan(unread, "1")) == [subject.digest]


def test_cleanup_does_not_count_accessories(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    policy = (
        "version: 1\ndefaults: {max_remove: 100%}\npolicies:\n  - {name: p, repositories: ['**'], keep: {last: 2}}\n"
    )
    (tmp_path / "policy.yml").write_text(policy)
    program = Program(registry_server.url, tmp_path)
    names = {}
    for age, tag in ((40, "old"), (30, "mid"), (20, "new")):
        one = pusher.push_image("app", tag, seed=tag, config=created(age))
        names[tag] = f"sha256-{one['digest'][7:]}"
        for suffix in (".src", ".dockerfile", ".scan"):
            blob = f"{tag}{suffix}".encode()
            layer = {"mediaType": "text/x", "digest": pusher.push_blob("app", blob), "size": len(blob)}
            config = {"mediaType": CONFIG, "digest": pusher.push_blob("app", b"{}"), "size": 2}
            raw = json.dumps(
                {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
            ).encode()
            pusher.push_manifest("app", names[tag] + suffix, raw, OCI_MANIFEST)
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    suffixes = ("", ".src", ".dockerfile", ".scan")
    assert set(pusher.tags("app")) == {
        name for tag in ("mid", "new") for name in (tag, *(names[tag] + suffix for suffix in suffixes[1:]))
    }
