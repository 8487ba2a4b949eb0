"""Notifications of a registry: an envelope of 2.8 (`events.v1+json`) or 3.x (`events.v2+json`) as events. Pure.

https://distribution.github.io/distribution/about/notifications/
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.agents import agent_name

__all__ = ["LARGEST_ENVELOPE", "Envelope", "Event", "parse_envelope"]

LARGEST_ENVELOPE = 4 * 1024 * 1024
_BLOB = "application/octet-stream"
_LONGEST = 200  # characters of an identity that are kept


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in a registry. `action` is push, pull, mount or delete; `digest` is None where a tag was deleted.
    `instance` identifies the process of the registry, `address` its host. What is not known is empty."""

    id: str
    time: datetime
    action: str
    repository: Repository
    digest: Digest | None
    tag: Tag | None
    agent: str = ""
    method: str = ""
    instance: str = ""
    address: str = ""
    media_type: str = ""
    url: str = ""

    @property
    def is_of_manifest(self) -> bool:
        """Whether it is about a manifest: a blob has no media type of its own."""
        return self.media_type != _BLOB and "/blobs/" not in self.url


@dataclass(frozen=True, slots=True)
class Envelope:
    """The events of one notification, and the number of those that could not be parsed."""

    events: tuple[Event, ...]
    malformed: int = 0


class _Target(msgspec.Struct):
    repository: str
    digest: str | None = None
    tag: str | None = None
    media_type: str | None = msgspec.field(default=None, name="mediaType")
    url: str | None = None


class _Request(msgspec.Struct):
    method: str | None = None
    useragent: str | None = None


class _Source(msgspec.Struct):
    addr: str | None = None
    instance: str | None = msgspec.field(default=None, name="instanceID")


class _Event(msgspec.Struct):
    timestamp: datetime
    action: str
    target: _Target
    id: str | None = None
    request: _Request | None = None
    source: _Source | None = None


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_EVENT = msgspec.json.Decoder(_Event)
_NONE = _Request(), _Source()


def parse_envelope(body: bytes) -> Envelope:
    """Parse a notification. An event that is malformed is counted. Raises UsageError for what is no envelope."""
    if len(body) > LARGEST_ENVELOPE:
        raise UsageError(f"the notification has more than {LARGEST_ENVELOPE >> 20} MB")
    try:
        raw = _ENVELOPE.decode(body).events
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"this is no notification of a registry: {error}") from error
    events = tuple(event for one in raw if (event := _parsed(one)) is not None)
    return Envelope(events, len(raw) - len(events))


def _parsed(raw: msgspec.Raw) -> Event | None:
    try:
        found = _EVENT.decode(raw)
        target, request, source = found.target, found.request or _NONE[0], found.source or _NONE[1]
        return Event(
            (found.id or "")[:_LONGEST],
            _in_utc(found.timestamp),
            found.action,
            Repository.parse(target.repository),
            Digest.parse(target.digest) if target.digest else None,
            Tag.parse(target.tag) if target.tag else None,
            agent_name(request.useragent or ""),
            request.method or "",
            (source.instance or "")[:_LONGEST],
            (source.addr or "")[:_LONGEST],
            target.media_type or "",
            target.url or "",
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UsageError, OverflowError):
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
