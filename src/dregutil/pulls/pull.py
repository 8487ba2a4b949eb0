"""A pull, and where it was recorded: values. Times are in UTC, to the second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["Gap", "Pull", "RepositoryPulls", "Source", "SourceKind", "Span"]


class SourceKind(Enum):
    """How pulls become known: notifications of the registry, an access log, or the API of the registry's service."""

    EVENTS = "events"
    LOG = "log"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Pull:
    """The last known pull of a tag or digest. `agent` is the client's name and version, or empty; `source` the kind of
    the source that has it."""

    repository: Repository
    reference: Tag | Digest
    at: datetime
    agent: str
    source: SourceKind


@dataclass(frozen=True, slots=True)
class RepositoryPulls:
    """The last pulls in one repository. By tag are those whose source names no digest."""

    digests: Mapping[Digest, Pull] = field(default_factory=dict)
    tags: Mapping[Tag, Pull] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """A time that a source has recorded, from `since` to `until`."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """A time within a span in which pulls may have been lost, and why."""

    since: datetime
    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Source:
    """A source of pulls and what it has recorded; `spans` and `gaps` are in the order of time."""

    kind: SourceKind
    name: str
    spans: tuple[Span, ...] = ()
    gaps: tuple[Gap, ...] = ()
