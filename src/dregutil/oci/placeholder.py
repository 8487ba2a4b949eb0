"""The placeholder: a manifest that tags are moved to on servers that cannot delete a tag by name. Pure.

A run that is interrupted leaves tags on it. It is not an image: its config has a media type of its own.
"""

from __future__ import annotations

import json

from dregutil.oci.manifest import OCI_MANIFEST, Manifest
from dregutil.oci.names import Digest

__all__ = ["CONFIG_TYPE", "LEFT_BEHIND", "is_placeholder", "placeholder", "stands_for_nothing"]

LEFT_BEHIND = "left by an interrupted run: resume or undo it"
CONFIG_TYPE = "application/vnd.dregutil.placeholder.v1+json"
_OF_NOTHING = {"vnd.dregutil.placeholder.of": "nothing"}


def placeholder(config: bytes, *, of_nothing: bool = False) -> bytes:
    """The bytes of a manifest without layers. `config` is unique, so the manifest's digest is, too.

    `of_nothing`: for a single tag that resolves to nothing; if somebody else restores that tag, nothing is lost.
    """
    body: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG_TYPE, "digest": Digest.of(config), "size": len(config)},
        "layers": [],
    }
    if of_nothing:
        body["annotations"] = _OF_NOTHING
    return json.dumps(body, separators=(",", ":")).encode()


def is_placeholder(manifest: Manifest | None) -> bool:
    """Whether a manifest is a placeholder, of any run."""
    return manifest is not None and manifest.config is not None and manifest.config.media_type == CONFIG_TYPE


def stands_for_nothing(manifest: Manifest | None) -> bool:
    """Whether a manifest is a placeholder whose tag resolved to nothing before."""
    return manifest is not None and is_placeholder(manifest) and manifest.annotations == _OF_NOTHING
