"""The subject in the name of a tag with an unknown suffix."""

from __future__ import annotations

import json

from test_plan import REPOSITORY, graph, image

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Tag


def runnable() -> Manifest:
    """An image with an ordinary config."""
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest.of(b"c"), "size": 2}
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest.of(b"l"), "size": 2}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    raw = json.dumps(body).encode()
    return parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))


def test_an_image_that_may_run_is_never_an_accessory_whatever_its_tag() -> None:
    one = image("one")
    odd, known = (Tag(f"sha256-{one.digest.hex}.{suffix}") for suffix in ("scan", "sig"))
    assert runnable().is_runnable
    assert not image("scan").is_runnable
    on_image = graph({"1.0": one, odd: runnable(), known: runnable()})
    assert on_image.signature(odd) is None
    assert on_image.signature(known) is not None
    beside = graph({"1.0": one, odd: image("scan")}).signature(odd)
    assert beside is not None
    assert beside.names(one.digest)
    unread = RepositoryGraph(REPOSITORY, {odd: Digest.of(b"unread")})
    assert unread.signature(odd) is None
    assert graph({"1.0": one}).signature(odd) is None
    assert on_image.tags_named_for(one.digest) == (odd, known)
    assert on_image.signature_tags_of(one.digest) == (known,)
