"""Pushing and reading images over plain HTTP, independent of the client under test."""

from __future__ import annotations

import hashlib
import http.client
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlsplit

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
BLOBS_IN_INDEXES = (LAYER, "application/vnd.buildkit.cacheconfig.v0")  # as in BuildKit caches
ACCEPT = ", ".join(
    (
        IMAGE,
        INDEX,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)


def created(days: float) -> dict[str, str]:
    """Additional config of an image that was built so many days ago."""
    moment = datetime.now(UTC).replace(microsecond=123456)  # always as long
    return {"created": (moment - timedelta(days=days)).isoformat()}


class RefusedError(AssertionError):
    """A registry refuses to store a manifest (400)."""


@dataclass
class Pusher:
    """A registry at `url`, over one persistent connection."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    context: Any = None
    _connection: Any = None

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self.url)
        if self._connection is None:
            kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
            options = {"context": self.context} if parts.scheme == "https" else {}
            self._connection = kind(parts.netloc, timeout=30, **options)
        try:
            self._connection.request(method, parts.path + path, body, {**self.headers, **(headers or {})})
            answer = self._connection.getresponse()
            return answer.status, {key.lower(): value for key, value in answer.getheaders()}, answer.read()
        except (http.client.HTTPException, OSError):
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @staticmethod
    def digest_of(raw: bytes) -> str:
        return f"sha256:{hashlib.sha256(raw).hexdigest()}"

    def raw(self, repository: str, reference: str) -> bytes:
        """The bytes of a manifest."""
        return self.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})[2]

    def push_blob(self, repository: str, raw: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if self.request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] == 200:
            return digest
        status, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, status
        place = urlsplit(headers["location"])
        path = f"{place.path}?{place.query}&digest={digest}" if place.query else f"{place.path}?digest={digest}"
        path = path.removeprefix(urlsplit(self.url).path)
        status, _, body = self.request("PUT", path, raw, {"Content-Type": "application/octet-stream"})
        assert status == 201, body
        return digest

    def push_manifest(self, repository: str, tag: str | None, raw: bytes, media_type: str) -> str:
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        status, _, body = self.request(
            "PUT", f"/v2/{repository}/manifests/{tag or digest}", raw, {"Content-Type": media_type}
        )
        if status == 400:
            raise RefusedError((repository, tag, body))
        assert status == 201, (status, body)
        return digest

    def push_image(
        self,
        repository: str,
        *tags: str,
        seed: str,
        layers: int | list[bytes] = 1,
        subject: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Push an image and return its descriptor. `layers`: their number, or their bytes. `config`: additional
        config."""
        raw = json.dumps({"architecture": "amd64", "os": "linux", "seed": seed, **(config or {})}).encode()
        blobs = layers if isinstance(layers, list) else [f"{seed} layer {n}".encode() for n in range(layers)]
        body: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": {"mediaType": CONFIG, "digest": self.push_blob(repository, raw), "size": len(raw)},
            "layers": [
                {"mediaType": LAYER, "digest": self.push_blob(repository, blob), "size": len(blob)} for blob in blobs
            ],
        }
        if subject is not None:
            body["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
        return self._push(repository, tags, body, IMAGE)

    def push_index(
        self, repository: str, *tags: str, children: list[dict[str, Any]], subject: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Push an index of descriptors and return its descriptor."""
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
        return self._push(repository, tags, body if subject is None else {**body, "subject": subject}, INDEX)

    def _push(self, repository: str, tags: tuple[str, ...], body: dict[str, Any], media_type: str) -> dict[str, Any]:
        raw = json.dumps(body).encode()
        digest = self.push_manifest(repository, None, raw, media_type)
        for tag in tags:
            self.push_manifest(repository, tag, raw, media_type)
        return {"mediaType": media_type, "digest": digest, "size": len(raw)}

    def tags(self, repository: str) -> dict[str, str]:
        """Every tag that resolves, and its digest."""
        status, _, body = self.request("GET", f"/v2/{repository}/tags/list")
        names = (json.loads(body).get("tags") or []) if status == 200 else []
        found = {}
        for name in names:
            status, headers, _ = self.request("HEAD", f"/v2/{repository}/manifests/{name}", headers={"Accept": ACCEPT})
            if status == 200:
                found[name] = headers["docker-content-digest"]
        return found

    def has(self, repository: str, reference: str) -> bool:
        status, _, _ = self.request("HEAD", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
        return status == 200

    def is_whole(self, repository: str, reference: str, seen: set[str] | None = None) -> bool:
        """Whether a manifest exists completely, with its bytes, blobs and children. `seen`: the digests of this
        repository that were already found complete; it grows."""
        seen = set() if seen is None else seen
        if reference in seen:
            return True
        status, headers, raw = self.request(
            "GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT}
        )
        if status != 200:
            return False
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if headers["docker-content-digest"] != digest or (":" in reference and reference != digest):
            return False
        body = {key.lower(): value for key, value in json.loads(raw).items()}  # as clients in Go read it
        blobs = [*body.get("layers", []), *([body["config"]] if "config" in body else [])]
        entries = body.get("manifests", [])
        blobs += [entry for entry in entries if entry["mediaType"] in BLOBS_IN_INDEXES]
        children = [entry for entry in entries if entry["mediaType"] not in BLOBS_IN_INDEXES]
        if not all(self._has_blob(repository, blob["digest"], seen) for blob in blobs):
            return False
        if not all(self.is_whole(repository, child["digest"], seen) for child in children):
            return False
        seen.add(digest)
        return True

    def _has_blob(self, repository: str, digest: str, seen: set[str]) -> bool:
        key = f"blob {digest}"
        if key not in seen and self.request("HEAD", f"/v2/{repository}/blobs/{digest}")[0] != 200:
            return False
        seen.add(key)
        return True
