"""Unusual manifests in registries: each kind once caused a lost image, or a wrong figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from images import CONFIG, IMAGE, INDEX, LAYER, Pusher

__all__ = ["ODD", "push_odd"]

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_Descriptor = dict[str, Any]


def _cache(pusher: Pusher, repository: str, seed: str, _: _Descriptor) -> tuple[bytes, str]:
    """A cache as exported by BuildKit: an index whose entries are blobs; one layer is also that of an image."""
    layer, config = b"image 0 layer 0", f"cache {seed}".encode()
    entries = [
        {"mediaType": LAYER, "digest": pusher.push_blob(repository, layer), "size": len(layer)},
        {"mediaType": CACHE_CONFIG, "digest": pusher.push_blob(repository, config), "size": len(config)},
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode(), INDEX


def _image(pusher: Pusher, repository: str, seed: str, *layers: _Descriptor, **more: Any) -> tuple[bytes, str]:
    config = f'{{"odd": "{seed}"}}'.encode()
    body = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": CONFIG, "digest": pusher.push_blob(repository, config), "size": len(config)},
        "layers": list(layers),
        **more,
    }
    return json.dumps(body).encode(), IMAGE


def _layer(pusher: Pusher, repository: str, raw: bytes, **more: Any) -> _Descriptor:
    return {"mediaType": LAYER, "digest": pusher.push_blob(repository, raw), "size": len(raw), **more}


def _foreign(pusher: Pusher, repository: str, seed: str, _: _Descriptor) -> tuple[bytes, str]:
    """A foreign layer that was pushed anyway."""
    layer = _layer(pusher, repository, f"foreign {seed}".encode(), mediaType=FOREIGN, urls=["https://example.com/1"])
    return _image(pusher, repository, seed, layer)


def _empty(pusher: Pusher, repository: str, seed: str, _: _Descriptor) -> tuple[bytes, str]:
    """A layer of no bytes."""
    return _image(pusher, repository, seed, _layer(pusher, repository, b""))


def _lying(pusher: Pusher, repository: str, seed: str, _: _Descriptor) -> tuple[bytes, str]:
    """A layer and a config with wrong stated sizes."""
    return _image(
        pusher,
        repository,
        seed,
        _layer(pusher, repository, f"long {seed}".encode(), size=1),
        _layer(pusher, repository, f"short {seed}".encode(), size=10**9),
    )


def _manifest_as_layer(pusher: Pusher, repository: str, seed: str, other: _Descriptor) -> tuple[bytes, str]:
    """A layer that is also a manifest of the repository."""
    raw = pusher.raw(repository, other["digest"])
    return _image(pusher, repository, seed, _layer(pusher, repository, raw, mediaType=other["mediaType"]))


def _referrer(pusher: Pusher, repository: str, seed: str, other: _Descriptor) -> tuple[bytes, str]:
    """An image with its own tag that refers to another."""
    return _image(pusher, repository, seed, _layer(pusher, repository, b"referrer"), subject=other)


def _odd_case(_: Pusher, __: str, ___: str, other: _Descriptor) -> tuple[bytes, str]:
    """An index to every client in Go, and without children to others."""
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "Manifests": [other]}).encode(), INDEX


def _doubled(_: Pusher, __: str, ___: str, other: _Descriptor) -> tuple[bytes, str]:
    """An index with a duplicate key for its children."""
    entries = json.dumps([other])
    return f'{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": [], "manifests": {entries}}}'.encode(), INDEX


ODD: dict[str, Callable[[Pusher, str, str, _Descriptor], tuple[bytes, str]]] = {
    "a cache": _cache,
    "a foreign layer": _foreign,
    "an empty layer": _empty,
    "sizes that lie": _lying,
    "a manifest as a layer": _manifest_as_layer,
    "a tagged referrer": _referrer,
    "keys in odd case": _odd_case,
    "a doubled key": _doubled,
}


def push_odd(pusher: Pusher, repository: str, *tags: str, kind: str, seed: str, other: _Descriptor) -> _Descriptor:
    """Push a manifest of a kind, one of `ODD`; return its descriptor. `other` is one that exists."""
    raw, media_type = ODD[kind](pusher, repository, seed, other)
    digest = pusher.push_manifest(repository, None, raw, media_type)
    for tag in tags:
        pusher.push_manifest(repository, tag, raw, media_type)
    return {"mediaType": media_type, "digest": digest, "size": len(raw)}
