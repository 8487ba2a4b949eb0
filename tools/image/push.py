"""Pushes an image with all that refers to it: `python tools/image/push.py build/image REGISTRY/REPOSITORY[:TAG]`.

The login is REGISTRY_USER and REGISTRY_PASSWORD, else that of `docker login` or `podman login`. The tag comes last: who
pulls it finds everything. On a registry without the referrers API, OCI's tags for that are written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dregutil.errors import DregutilError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.connect import ConnectOptions, connect_writable
from dregutil.registry.writer import WritableRegistry

__all__ = ["main", "push"]

_INDEX = "application/vnd.oci.image.index.v1+json"
_TAG = "org.opencontainers.image.ref.name"
_SECONDS = 600.0  # for an answer: a layer is uploaded in one request


class _Layout:
    """An OCI layout on disk, as `build` writes it: one tagged index, its images, and what refers to them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        listed = json.loads((folder / "index.json").read_bytes())["manifests"]
        self.index = next(one for one in listed if _TAG in one.get("annotations", {}))
        self.tag: str = self.index["annotations"][_TAG]
        self.images: list[dict[str, Any]] = json.loads(self.raw(self.index))["manifests"]
        self.referrers: list[dict[str, Any]] = [one for one in listed if one is not self.index]

    def raw(self, descriptor: Mapping[str, Any]) -> bytes:
        """The bytes that a descriptor names. Raises ValueError where they are others."""
        digest = Digest(descriptor["digest"])
        raw = (self._folder / "blobs" / digest.replace(":", "/")).read_bytes()
        if not digest.matches(raw):
            raise ValueError(f"{digest} in {self._folder} is damaged")
        return raw

    def blobs(self) -> dict[str, dict[str, Any]]:
        """The descriptors of all blobs, by digest."""
        found = {}
        for manifest in (*self.images, *self.referrers):
            body = json.loads(self.raw(manifest))
            found.update({one["digest"]: one for one in (body["config"], *body["layers"])})
        return found


async def push(folder: Path, registry: str, repository: str, tag: str, options: ConnectOptions) -> str:
    """Push a layout; returns the digest that the tag names. Raises DregutilError, OSError, ValueError."""
    layout, name = _Layout(folder), Repository(repository)
    async with connect_writable(registry, options) as opened:
        for digest, blob in layout.blobs().items():
            if await opened.blob_size(name, Digest(digest)) is None:
                await opened.put_blob(name, layout.raw(blob))
        for manifest in (*layout.images, layout.index, *layout.referrers):
            await opened.put_manifest(name, Digest(manifest["digest"]), layout.raw(manifest), manifest["mediaType"])
        for subject, listed in _by_subject(layout).items():
            await _list(opened, name, Digest(subject), listed)
        await opened.put_manifest(name, Tag(tag or layout.tag), layout.raw(layout.index), layout.index["mediaType"])
    return str(layout.index["digest"])


def _by_subject(layout: _Layout) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in layout.referrers:
        found.setdefault(json.loads(layout.raw(one))["subject"]["digest"], []).append(one)
    return found


async def _list(registry: WritableRegistry, name: Repository, subject: Digest, listed: list[dict[str, Any]]) -> None:
    """See to it that the referrers of a subject are found. Raises DregutilError."""
    shown = await registry.referrers(name, subject)
    if shown is not None and {str(one.digest) for one in shown} >= {one["digest"] for one in listed}:
        return
    tag = Tag(subject.replace(":", "-"))
    there = await registry.manifest(name, tag)
    earlier = [] if there is None else json.loads(there.raw)["manifests"]
    known = {one["digest"] for one in earlier}
    manifests = [*earlier, *(one for one in listed if one["digest"] not in known)]
    body = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
    await registry.put_manifest(name, tag, json.dumps(body, separators=(",", ":")).encode(), _INDEX)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Push an image that tools/image/build.py has built.")
    parser.add_argument("layout", type=Path, help="its folder")
    parser.add_argument("name", metavar="REGISTRY/REPOSITORY[:TAG]", help="without a tag, the layout's")
    parser.add_argument("--insecure", action="store_true", help="plain HTTP, or a certificate that is not trusted")
    options = parser.parse_args(arguments)
    registry, _, rest = options.name.partition("/")
    repository, _, tag = rest.partition(":")
    user, password = (os.environ.get(one) for one in ("REGISTRY_USER", "REGISTRY_PASSWORD"))
    login: dict[str, Any] = {"user": user, "password": password, "credential_source": "environment"} if user else {}
    chosen = ConnectOptions(insecure=options.insecure, timeout=_SECONDS, **login)
    warnings.filterwarnings("ignore", "Sending a large body", ResourceWarning)  # nothing else waits for the loop
    try:
        digest = asyncio.run(push(options.layout, registry, repository, tag, chosen))
    except (DregutilError, OSError, ValueError) as error:
        sys.stderr.write(f"push.py: {error}\n")
        return 1
    print(f"{registry}/{repository}@{digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
