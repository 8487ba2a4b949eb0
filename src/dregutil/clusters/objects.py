"""The objects of a cluster → the text of a list of images in use, as `kubectl get -o json` would print it. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["HELM_RELEASES", "HelmError", "as_document", "is_finished"]

_HELM = "helm.sh/release.v1"
HELM_RELEASES = {"fieldSelector": f"type={_HELM}"}
"""The query for Helm's stored releases among Secrets: no other Secret is asked for."""

_LONGEST_RELEASE = 64 << 20  # bytes, decompressed
_GZIP = b"\x1f\x8b\x08"
_OVER = ("Complete", "Failed")


class HelmError(Exception):
    """A stored release of Helm that cannot be read; the message is its name."""


def as_document(resource: str, items: Sequence[Any], *, finished: bool) -> str:
    """The JSON of a list of objects. `finished`: completed jobs and pods are in it. Of Secrets, only what Helm's
    releases have of images. Raises HelmError."""
    if resource == "secrets":
        read = [_release(item) for item in items if _fields(item).get("type") == _HELM]
    else:
        read = [_without_managers(item) for item in items if finished or not is_finished(resource, item)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": read}, ensure_ascii=False)


def is_finished(resource: str, item: Any) -> bool:
    """Whether a pod or a job has ended, and will not run again."""
    status = _fields(_fields(item).get("status"))
    if resource == "pods":
        return status.get("phase") in ("Succeeded", "Failed")
    if resource == "jobs.batch":
        conditions = status.get("conditions")
        read = [_fields(one) for one in conditions] if isinstance(conditions, list) else []
        return any(one.get("type") in _OVER and one.get("status") == "True" for one in read)
    return False


def _without_managers(item: Any) -> Any:
    """An object without `managedFields`, which name fields and have no values; kubectl leaves them out as well."""
    fields = _fields(item)
    metadata = _fields(fields.get("metadata"))
    if "managedFields" not in metadata:
        return item
    return {**fields, "metadata": {key: value for key, value in metadata.items() if key != "managedFields"}}


def _release(secret: Any) -> Mapping[str, Any]:
    """What a stored release of Helm would run: its manifest, its hooks, and the values of its chart and its user.

    Helm stores gzipped JSON in base64, and Secrets have base64 around it:
    https://github.com/helm/helm/blob/main/pkg/storage/driver/util.go
    """
    metadata = _fields(_fields(secret).get("metadata"))
    name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
    try:
        raw = base64.b64decode(base64.b64decode(_fields(_fields(secret).get("data"))["release"], validate=True))
        release = _fields(json.loads(_decompressed(raw) if raw.startswith(_GZIP) else raw))
    except (KeyError, TypeError, ValueError, binascii.Error, zlib.error, RecursionError) as error:
        raise HelmError(name) from error
    if not isinstance(release.get("manifest"), str):
        raise HelmError(name)
    return {
        "kind": "HelmRelease",
        "manifest": release["manifest"],
        "hooks": list(_hooks(release)),
        "values": _fields(release.get("chart")).get("values"),
        "config": release.get("config"),
    }


def _hooks(release: Mapping[str, Any]) -> Iterator[Any]:
    hooks = release.get("hooks")
    for hook in hooks if isinstance(hooks, list) else ():
        yield _fields(hook).get("manifest")


def _decompressed(raw: bytes) -> bytes:
    """Raises ValueError if it is cut short, or too long."""
    reader = zlib.decompressobj(wbits=31)
    found = reader.decompress(raw, _LONGEST_RELEASE)
    if not reader.eof:
        raise ValueError("cut short, or too long")
    return found


def _fields(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
