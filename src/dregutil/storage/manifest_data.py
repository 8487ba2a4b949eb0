"""The data of a blob → the manifest in it, as a registry and its collector read it."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Kind, Manifest, parse_manifest
from dregutil.oci.names import Digest
from dregutil.storage.files import UnreadError

__all__ = ["NoManifestError", "manifest_of_data"]


class NoManifestError(UnreadError):
    """Data that no collector can read as a manifest."""


class _Named(msgspec.Struct, rename="camel"):
    media_type: str = ""
    schema_version: int = 0
    manifests: list[msgspec.Raw] | None = None


def manifest_of_data(digest: Digest, content: bytes | UnreadError | None) -> Manifest:
    """The manifest in `content`. One that names no media type is what its shape says, as for the registry.

    Raises UnreadError if there is no content or it is damaged, and ManifestError.
    """
    if isinstance(content, UnreadError):
        raise content
    if content is None:
        raise UnreadError("disappeared while it was read")
    if not digest.matches(content):
        damaged = f"does not match its digest ({len(content):,} bytes): damaged, or cut short"
        raise UnreadError(damaged) if _is_json(content) else NoManifestError(damaged)
    found = parse_manifest(content, "", digest)
    if found.kind is not Kind.UNKNOWN:
        return found
    try:
        named = msgspec.json.decode(content, type=_Named)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoManifestError("is not a manifest") from error
    if named.media_type:
        return replace(found, media_type=named.media_type)
    if named.schema_version == 1:
        return replace(found, kind=Kind.SCHEMA1)
    return parse_manifest(content, OCI_INDEX if found.children or named.manifests is not None else OCI_MANIFEST, digest)


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True
