"""`inspect`: an image as lines and as an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from dregutil.inventory.inspect import InspectedImage
from dregutil.inventory.referrer_tree import Referrer
from dregutil.oci.attestation import Attestation
from dregutil.oci.image import ImageDetails, known_date
from dregutil.oci.manifest import Descriptor, Manifest, is_foreign
from dregutil.oci.names import Digest
from dregutil.report.text import column_lines
from dregutil.report.units import size_text

__all__ = ["image_lines", "image_object"]


def image_object(image: InspectedImage) -> dict[str, object]:
    """The object of an image. `created` is an RFC 3339 date or null; sizes are in bytes."""
    return {
        "image": image.name,
        "repository": image.repository,
        "tags": list(image.tags),
        **_described(image.details, image),
        "missing": [{"digest": child.digest, "platform": child.platform or None} for child in image.missing],
        "annotations": dict(image.manifest.annotations),
        "referrers": [_referrer(found) for found in image.referrers],
        "attestations": [_attestation(found, image) for found in image.attestations],
    }


def image_lines(
    image: InspectedImage, now: datetime, *, tag_text: Callable[[str], str] = str, width: int | None = None
) -> Iterator[str]:
    """Facts first, then the platforms of an index or the layers of an image, labels, annotations and referrers.

    `tag_text`: how tags are shown; `width`: that of the terminal.
    """
    details = image.details
    facts = [
        ("image", image.name),
        ("digest", details.digest),
        ("tags", ", ".join(map(tag_text, image.tags))),
        ("type", details.media_type),
        ("artifact", _artifact(details)),
        ("created", _created(details, now)),
        ("platform", "" if details.children or image.missing else _platform(details)),
        ("size", f"{size_text(details.size)} ({details.size:,} bytes, compressed as the registry keeps it)"),
    ]
    yield from column_lines([(name, value) for name, value in facts if value])
    if details.children or image.missing:
        rows = [("PLATFORM", "DIGEST", "SIZE", "CREATED")]
        rows += [
            (_platform(child) or "-", child.digest, size_text(child.size), _created(child, now) or "-")
            for child in details.children
        ]
        rows += [(child.platform or "-", child.digest, "missing", "") for child in image.missing]
        yield from _section("platforms", rows, width)
    yield from _section("attestations", [_attestation_row(found) for found in image.attestations], width)
    yield from _section("layers", _layer_rows(image.manifest), width)
    yield from _section("labels", sorted(details.labels.items()), width)
    yield from _section("annotations", sorted(image.manifest.annotations.items()), width)
    referrers = [
        *_referrer_rows(image.referrers, tag_text, is_short=width is not None),
        *_child_referrer_rows(image, tag_text, is_short=width is not None),
    ]
    yield from _section("referrers", referrers, width)


def _described(details: ImageDetails, image: InspectedImage) -> dict[str, object]:
    manifest = image.manifests[details.digest]
    return {
        "digest": details.digest,
        "media_type": details.media_type,
        "artifact_type": details.artifact_type,
        "size": details.size,
        "created": None if details.created is None else details.created.isoformat(),
        "platforms": list(details.platforms),
        "os_version": details.os_version or None,
        "labels": dict(details.labels),
        "config": None if manifest.config is None else manifest.config.digest,
        "layers": [_descriptor(layer) for layer in manifest.layers],
        "children": [
            {**_described(child, image), "referrers": _referrers_of(child.digest, image)} for child in details.children
        ],
    }


def _referrers_of(child: Digest, image: InspectedImage) -> list[dict[str, object]]:
    return [_referrer(found) for found in image.referrers_of.get(child, ())]


def _referrer(found: Referrer) -> dict[str, object]:
    return {
        "digest": found.digest,
        "type": found.type,
        "tag": found.tag or None,
        "referrers": [_referrer(below) for below in found.referrers],
    }


def _referrer_rows(
    referrers: Iterable[Referrer], tag_text: Callable[[str], str], *, is_short: bool, depth: int = 0
) -> Iterator[tuple[str, str, str]]:
    """A row for each referrer, then what refers to it, indented."""
    for found in referrers:
        digest = found.digest.hex[:12] if is_short else found.digest  # as in all columns on a terminal
        yield f"{'  ' * depth}{digest}", found.type, tag_text(found.tag)
        yield from _referrer_rows(found.referrers, tag_text, is_short=is_short, depth=depth + 1)


def _child_referrer_rows(
    image: InspectedImage, tag_text: Callable[[str], str], *, is_short: bool
) -> Iterator[tuple[str, str, str]]:
    """For each child that has any, a row with its platform or digest, then its referrers, indented."""
    about = {found.digest: f"attestation of {found.platform}" for found in image.attestations if found.platform}
    for manifest in image.manifests.values():
        about.update((child.digest, child.platform) for child in manifest.children if child.platform)
    for child, referrers in image.referrers_of.items():
        yield about.get(child, child.short), "", ""
        yield from _referrer_rows(referrers, tag_text, is_short=is_short, depth=1)


def _attestation(found: Attestation, image: InspectedImage) -> dict[str, object]:
    return {
        "digest": found.digest,
        "subject": found.subject,
        "platform": found.platform or None,
        "size": found.size,
        "statements": [
            {"digest": one.digest, "predicate_type": one.predicate_type or None, "name": one.name, "size": one.size}
            for one in found.statements
        ],
        "referrers": _referrers_of(found.digest, image),
    }


def _attestation_row(found: Attestation) -> tuple[str, str, str, str]:
    about = found.platform or ("-" if found.subject is None else found.subject.short)
    names = dict.fromkeys(one.name or "unknown" for one in found.statements)
    return about, found.digest, size_text(found.size), ", ".join(names)


def _platform(details: ImageDetails) -> str:
    platforms = ", ".join(details.platforms)
    return f"{platforms} {details.os_version}" if platforms and details.os_version else platforms


def _descriptor(layer: Descriptor) -> dict[str, object]:
    return {"digest": layer.digest, "media_type": layer.media_type, "size": layer.size}


def _section(title: str, rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    if rows:
        yield ""
        yield f"{title}:"
        room = None if width is None else width - 2
        yield from (f"  {line}".rstrip() for line in column_lines(rows, width=room))


def _layer_rows(manifest: Manifest) -> list[tuple[str, str]]:
    return [
        (layer.digest, "kept elsewhere" if is_foreign(layer) else size_text(layer.size)) for layer in manifest.layers
    ]


def _artifact(details: ImageDetails) -> str:
    is_image = not details.artifact_type or "image" in details.artifact_type
    return "" if is_image else details.artifact_type


def _created(details: ImageDetails, now: datetime) -> str:
    if details.created is None:
        return ""
    text = details.created.strftime("%Y-%m-%d %H:%M:%S UTC")
    return text if known_date(details.created, now) else f"{text} (taken as unknown)"
