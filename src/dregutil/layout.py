"""A run's removed manifests as an OCI image layout (image-spec, "Image Layout"), for `skopeo` and its like.

Derived from the journal, and made again at will: nothing here is needed to put a run back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dregutil.outcome import Intent
from dregutil.private import make_private_folder, write_private

__all__ = ["write_layout"]

REF_NAME = "org.opencontainers.image.ref.name"
REPOSITORY = "dregutil.repository"
TAGS = "dregutil.tags"


def write_layout(folder: Path, intents: Iterable[Intent]) -> None:
    """Write the manifests of `intents` under `folder`: an entry for each tag, named `repository:tag`.

    Raises OSError. Layers and configs are not in it: they stay in the registry until it collects its garbage.
    """
    entries: list[dict[str, Any]] = []
    seen: set[str] = set()
    named: set[tuple[str, str]] = set()
    folders: set[Path] = set()
    for intent in intents:
        manifest = intent.manifest
        path = folder / "blobs" / manifest.digest.algorithm / manifest.digest.hex
        if manifest.digest not in seen:
            if path.parent not in folders:
                make_private_folder(path.parent)
                folders.add(path.parent)
            write_private(path, manifest.raw)
            seen.add(manifest.digest)
        names = [f"{intent.repository}:{tag}" for tag in intent.tags] or [f"{intent.repository}@{manifest.digest}"]
        for name in names:
            if (name, manifest.digest) in named:
                continue  # recorded twice, as a run that was taken up does
            named.add((name, manifest.digest))
            annotations = {REF_NAME: name, REPOSITORY: str(intent.repository), TAGS: " ".join(intent.tags)}
            entries.append(
                {
                    "mediaType": manifest.media_type,
                    "digest": manifest.digest,
                    "size": len(manifest.raw),
                    "annotations": annotations,
                }
            )
    make_private_folder(folder)
    write_private(folder / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    write_private(folder / "index.json", json.dumps(index).encode())
