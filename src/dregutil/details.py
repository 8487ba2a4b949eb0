"""What the content behind a digest tells about it: size, date, platforms, labels, layers. Pure.

A value, however it was read: from the registry, from the content database, from a registry's storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dregutil.reference import Digest

__all__ = ["EARLIEST_DATE", "ImageDetails", "known_date"]

# Docker's first release is of March 2013: what claims to be older was built reproducibly, with a date made up.
EARLIEST_DATE = datetime(2013, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """A manifest's content.

    `size` is in bytes: the manifest, its config, layers and children, each digest once. `created` is what its config
    says (of an index, the latest that a child says), in UTC; None where nothing says so. `labels` are those of its
    config (of an index, those of its children together, the first that says one). `layers` go from the base up, and
    are empty for an index; `children` holds an index's images, attestations left out.
    """

    digest: Digest
    media_type: str
    size: int
    created: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    layers: tuple[Digest, ...] = ()
    children: tuple[ImageDetails, ...] = ()


def known_date(created: datetime | None, now: datetime) -> datetime | None:
    """`created` if it can be believed; None where it is missing, before 2013 or in the future: unknown, never old."""
    if created is None or created < EARLIEST_DATE or created > now:
        return None
    return created
