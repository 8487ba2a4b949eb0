"""The placeholder: a manifest of our own, onto which tags are moved where a server cannot delete them by name. Pure.

A run that is cut off leaves tags on it. It is no image, and nothing treats it as one: its config has a type of its own.
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
    """A manifest without layers. `config` is unique, and so is the manifest's digest.

    `of_nothing`: it is for one tag that names nothing, so that nothing is lost when somebody else puts that tag back.
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
    """Whether a manifest is a placeholder, of whatever run."""
    return manifest is not None and manifest.config is not None and manifest.config.media_type == CONFIG_TYPE


def stands_for_nothing(manifest: Manifest | None) -> bool:
    """Whether a manifest is a placeholder whose tag named nothing before it was put there."""
    return manifest is not None and is_placeholder(manifest) and manifest.annotations == _OF_NOTHING
