"""Selectors by content: age, size, labels, platforms, media types, base image. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from dregutil.errors import NotFoundError, UsageError
from dregutil.oci.image import ImageDetails, known_date
from dregutil.oci.names import Digest
from dregutil.select.glob import Glob
from dregutil.select.platforms import is_for

__all__ = ["ANYTHING", "ContentSelector", "Label", "Match", "base_layers", "with_bases"]


class Match(enum.Enum):
    """Whether an image is selected. An unknown date is neither older nor newer than anything."""

    YES = "yes"
    NO = "no"
    DATE_UNKNOWN = "its date is not known"


@dataclass(frozen=True, slots=True)
class Label:
    """A label: a key, or a key with a value."""

    key: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`key` or `key=value`. Raises UsageError."""
        key, equals, value = text.partition("=")
        if not key:
            raise UsageError(f"--label {text!r}: no key", advice="write --label KEY or --label KEY=VALUE")
        return cls(key, value if equals else None)

    def matches(self, details: ImageDetails) -> bool:
        found = details.labels.get(self.key)
        return found is not None and self.value in (None, found)


@dataclass(frozen=True, slots=True)
class ContentSelector:
    """All conditions must hold: every label, one of the platforms, one of the media types, one of the bases.

    `older_than` and `newer_than` are ages; `larger_than` is in bytes. A platform can be a prefix, `linux/arm` for
    all of its variants, or an architecture alone. `media_types` are globs for the type of the manifest or its
    artifact. For an index, the platform or base of one of its images is enough.
    """

    older_than: timedelta | None = None
    newer_than: timedelta | None = None
    larger_than: int | None = None
    labels: tuple[Label, ...] = ()
    platforms: tuple[str, ...] = ()
    media_types: tuple[Glob, ...] = ()
    bases: tuple[tuple[Digest, ...], ...] = ()
    artifact_types: tuple[Glob, ...] = ()

    def __bool__(self) -> bool:
        return self is not ANYTHING and self != ANYTHING  # asked once for each tag of a registry

    def match(self, details: ImageDetails, now: datetime) -> Match:
        if not self._matches_apart_from_date(details):
            return Match.NO
        if self.older_than is None and self.newer_than is None:
            return Match.YES
        created = known_date(details.created, now)
        if created is None:
            return Match.DATE_UNKNOWN
        age = now - created
        too_young = self.older_than is not None and age <= self.older_than
        too_old = self.newer_than is not None and age >= self.newer_than
        return Match.NO if too_young or too_old else Match.YES

    def _matches_apart_from_date(self, details: ImageDetails) -> bool:
        return (
            (self.larger_than is None or details.size > self.larger_than)
            and all(label.matches(details) for label in self.labels)
            and (not self.platforms or any(map(self._has_platform, details.platforms)))
            and (not self.media_types or any(map(self._has_media_type, (details.media_type, details.artifact_type))))
            and (not self.artifact_types or any(one.matches(details.artifact_type) for one in self.artifact_types))
            and (not self.bases or any(self._is_based(layers) for layers in _layers(details)))
        )

    def _has_platform(self, platform: str) -> bool:
        return any(is_for(platform, wanted) for wanted in self.platforms)

    def _has_media_type(self, media_type: str) -> bool:
        return bool(media_type) and any(wanted.matches(media_type) for wanted in self.media_types)

    def _is_based(self, layers: tuple[Digest, ...]) -> bool:
        return any(layers[: len(base)] == base for base in self.bases)


ANYTHING = ContentSelector()


def with_bases(selector: ContentSelector | None, bases: Mapping[str, ImageDetails | None]) -> ContentSelector:
    """`selector` with the layers of its bases, by their names. Raises NotFoundError for one that could not be read,
    UsageError for one without layers."""
    found: list[tuple[Digest, ...]] = []
    for name, details in bases.items():
        if details is None:
            raise NotFoundError(f"--based-on {name}: what is behind it could not be read")
        layers = base_layers(details)
        if not layers:
            raise UsageError(f"--based-on {name}: it has no layers, so everything would be based on it")
        found += layers
    return replace(selector or ContentSelector(), bases=tuple(found))


def base_layers(details: ImageDetails) -> tuple[tuple[Digest, ...], ...]:
    """The layers of an image, or of each image of an index, to compare as a base. Images without layers are left out:
    everything would be based on them."""
    return tuple(dict.fromkeys(layers for layers in _layers(details) if layers))


def _layers(details: ImageDetails) -> Iterator[tuple[Digest, ...]]:
    yield details.layers
    for child in details.children:
        yield from _layers(child)
