"""Lines of logs in JSON or logfmt, as pulls. Pure.

Known are distribution's own lines, Traefik, Envoy and nginx in JSON as they are usually configured, Google's load
balancer (`httpRequest`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dregutil.pulls.request import LoggedPull, log_time, logged_pull

__all__ = ["is_structured", "structured_pull", "structured_time", "unwrapped"]

_DECODER = msgspec.json.Decoder(dict[str, Any])
_NAMES: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "@timestamp", "timestamp", "StartUTC", "start_time", "time_iso8601", "ts", "time_local", "msec"),
    "method": ("http.request.method", "RequestMethod", "requestMethod", "method", "request_method", "verb"),
    "path": ("http.request.uri", "RequestPath", "requestUrl", "path", "request_uri", "uri", "url"),
    "status": (
        *("http.response.status", "DownstreamStatus", "OriginStatus", "status", "response_code"),
        *("status_code", "code"),
    ),
    "agent": (
        *("http.request.useragent", "request_User-Agent", "userAgent", "user_agent", "http_user_agent"),
        *("useragent", "agent"),
    ),
}
_TIMES = _NAMES["time"]
_LOGFMT = re.compile(rb'([A-Za-z.@_-]+)=("(?:[^"\\]|\\.)*"|[^ "]*)')
_DOCKER = b'{"log":"'
_CRI = re.compile(rb"[0-9TZ:.+-]{20,40} (?:stdout|stderr) [FP] ")
_IS_LOGFMT = b"http.request.method="
_ESCAPED = re.compile(rb"\\(.)")


def is_structured(line: bytes) -> bool:
    """Whether a line is JSON, or a line of distribution in logfmt."""
    return line[:1] == b"{" or _IS_LOGFMT in line


def unwrapped(line: bytes) -> bytes:
    """A line without what the log of a container adds to it: Docker's JSON, or the prefix of a CRI log."""
    if line.startswith(_DOCKER):
        try:
            inner = _DECODER.decode(line).get("log")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return line
        return inner.strip().encode("utf-8", "replace") if isinstance(inner, str) else line
    prefix = _CRI.match(line)
    return line if prefix is None else line[prefix.end() :]


def structured_pull(line: bytes) -> LoggedPull | None:
    """The pull of a line; None if it has none."""
    fields = _json(line) if line[:1] == b"{" else _logfmt(line)
    if fields is None:
        return None
    found = {what: _first(fields, names) for what, names in _NAMES.items()}
    return logged_pull(found["time"], found["method"], found["path"], found["status"], found["agent"])


def structured_time(line: bytes) -> int | None:
    """The time of a line, in seconds since 1970."""
    fields = _json(line) if line[:1] == b"{" else _logfmt(line)
    return None if fields is None else log_time(_first(fields, _TIMES))


def _json(line: bytes) -> Mapping[str, Any] | None:
    try:
        fields = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    inner = fields.get("httpRequest")
    if isinstance(inner, dict):
        return {**fields, **inner}
    return fields


def _logfmt(line: bytes) -> Mapping[str, Any]:
    return {
        name.decode("ascii"): _ESCAPED.sub(rb"\1", value[1:-1]) if value[:1] == b'"' else value
        for name, value in _LOGFMT.findall(line)
    }


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> bytes:
    """The first of some fields that is there, as text; empty if none is."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode("utf-8", "replace")
        if isinstance(value, int | float):
            return str(value).encode()
    return b""
