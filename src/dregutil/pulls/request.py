"""A request for a manifest as an access log has it, whatever the format of the log. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.agents import agent_name

__all__ = ["LONGEST_LINE", "MANIFESTS", "LoggedPull", "log_time", "logged_pull"]

MANIFESTS = b"/manifests/"
LONGEST_LINE = 64 * 1024  # bytes; a longer line is none of a registry's
_MONTHS = {
    name: number
    for number, name in enumerate(
        (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1
    )
}
_METHODS = frozenset((b"GET", b"HEAD"))
_STATUSES = frozenset((b"200", b"304"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_API = "/v2/"


@dataclass(frozen=True, slots=True)
class LoggedPull:
    """A pull of a line. `at` is in seconds since 1970; `agent` is a name and a version, or empty."""

    at: int
    repository: Repository
    reference: Tag | Digest
    agent: str


def logged_pull(time: bytes, method: bytes, target: bytes, status: bytes, agent: bytes) -> LoggedPull | None:
    """The pull that a request is: a GET or HEAD of a manifest, answered with 200 or 304. None for any other.

    `target` is a path or a URL, with or without a query; a prefix before `/v2/` is left out.
    """
    if method not in _METHODS or status not in _STATUSES:
        return None
    wanted = _manifest_of(target)
    at = None if wanted is None else log_time(time)
    return None if wanted is None or at is None else LoggedPull(at, *wanted, _agent(agent))


@lru_cache(maxsize=65536)
def _manifest_of(target: bytes) -> tuple[Repository, Tag | Digest] | None:
    """The repository and the reference of a path."""
    try:
        path = unquote_to_bytes(target.partition(b"?")[0]).decode("ascii")
    except UnicodeDecodeError:
        return None
    before, found, reference = path.rpartition("/manifests/")
    _, api, name = before.partition(_API)
    if not found or not api:
        return None
    try:
        repository = Repository.parse(name)
        return repository, Digest.parse(reference) if ":" in reference else Tag.parse(reference)
    except UsageError:
        return None


@lru_cache(maxsize=4096)
def _agent(agent: bytes) -> str:
    return agent_name(agent.decode("utf-8", "replace"))


def log_time(text: bytes) -> int | None:
    """A time as logs write it, in seconds since 1970: `26/Nov/2026:16:12:30 +0000`, RFC 3339, or a number of seconds
    or milliseconds. Without a zone it is UTC. None if it is none."""
    if text[2:3] == b"/":
        return _common_time(text)
    return _other_time(text)


def _common_time(text: bytes) -> int | None:
    minute = _common_minute(text[:17] + text[20:26])
    seconds = text[18:20]
    return minute + int(seconds) if minute is not None and seconds.isdigit() and int(seconds) <= 60 else None


@lru_cache(maxsize=4096)
def _common_minute(text: bytes) -> int | None:
    """`26/Nov/2026:16:12 +0000`: a log has many lines of one minute."""
    try:
        zone = text[17:].strip()
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5])) if len(zone) == 5 else timedelta()
        moment = datetime(
            int(text[7:11]),
            _MONTHS[text[3:6]],
            int(text[:2]),
            int(text[12:14]),
            int(text[15:17]),
            tzinfo=timezone(-offset if zone[:1] == b"-" else offset),
        )
        return _seconds(moment)
    except (ValueError, KeyError, OverflowError):
        return None


@lru_cache(maxsize=4096)
def _other_time(text: bytes) -> int | None:
    try:
        if text[:4].isdigit() and text[4:5] == b"-":
            moment = datetime.fromisoformat(text.decode("ascii").replace(",", "."))
            return _seconds(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
        number = float(text)
        return _seconds(datetime.fromtimestamp(number / 1000 if number > 1e11 else number, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _seconds(moment: datetime) -> int | None:
    """None before 1970."""
    found = int((moment - _EPOCH).total_seconds())
    return found if found >= 0 else None
