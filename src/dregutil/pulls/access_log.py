"""Lines of access logs, as pulls. Pure.

Formats that are known: distribution's access line (that of Apache's `combined`), nginx's `combined`, Traefik's common
format and Envoy's default, which are one but for details; AWS ALB; and those of `structured_log`; each also in the log
of a container. Any other needs a regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dregutil.errors import UsageError
from dregutil.pulls.request import LONGEST_LINE, MANIFESTS, LoggedPull, log_time, logged_pull
from dregutil.pulls.structured_log import is_structured, structured_pull, structured_time, unwrapped

__all__ = ["KNOWN", "LineReader", "line_reader", "line_time", "parse_line"]


@dataclass(frozen=True, slots=True)
class LineReader:
    """How lines are read: the pull of a line, and the time of any line in seconds since 1970; None if there is none."""

    pull: Callable[[bytes], LoggedPull | None]
    time: Callable[[bytes], int | None]


# `[time] "GET path HTTP/1.1" 200 … "referer or forwarded-for" "agent"`
_COMBINED = re.compile(
    rb'\[([0-9][^\]]{9,40})\] "(GET|HEAD) ([^ "]+)[^"]*" (200|304)(?= )[^"]*(?:"(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)")?'
)
# `https time elb client target 0.1 0.2 0.3 200 200 0 0 "GET https://host:443/path HTTP/1.1" "agent"`
_ALB = re.compile(
    rb'(?:http|https|h2) ([0-9]{4}-[0-9T:.-]+Z) [^ ]+ [^ ]+ [^ ]+ [^ ]+ [^ ]+ [^ ]+ (200|304) [^"]*'
    rb'"(GET|HEAD) ([^ "]+)[^"]*" "((?:[^"\\]|\\.)*)"'
)
# The time before a request is looked for first: the name of a user, which a client chooses, may look like a time, but
# a quote in it is escaped.
_TIMES = (
    re.compile(rb'\[([0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4})\] "'),
    re.compile(rb"\[([0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4})\]"),
    re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,20}(?:Z|[+-][0-9:]{5,6}))"),
)
_GROUPS = ("time", "method", "path", "status")


def parse_line(line: bytes) -> LoggedPull | None:
    """The pull of a line in one of the known formats; None if it has none."""
    if MANIFESTS not in line or len(line) > LONGEST_LINE:
        return None
    line = unwrapped(line)
    if is_structured(line):
        return structured_pull(line)
    found = _COMBINED.search(line)
    if found is not None:
        time, method, target, status, agent = found.groups(b"")
        return logged_pull(time, method, target, status, agent)
    found = _ALB.match(line)
    if found is None:
        return None
    time, status, method, target, agent = found.groups()
    return logged_pull(time, method, target, status, agent)


def line_time(line: bytes) -> int | None:
    """The time of any line in one of the known formats, in seconds since 1970."""
    if len(line) > LONGEST_LINE:
        return None
    line = unwrapped(line)
    if is_structured(line):
        return structured_time(line)
    found = next(filter(None, (time.search(line) for time in _TIMES)), None)
    return None if found is None else log_time(found[1])


KNOWN = LineReader(parse_line, line_time)


def line_reader(line_format: str) -> LineReader:
    """Reads lines by a regular expression with the groups `time`, `method`, `path`, `status` and, if the log has it,
    `agent`. Raises UsageError."""
    pattern = _compiled(line_format)

    def fields(line: bytes) -> Mapping[str, bytes]:
        found = None if len(line) > LONGEST_LINE else pattern.search(line)
        return {} if found is None else found.groupdict(b"")

    def pull(line: bytes) -> LoggedPull | None:
        given = fields(line) if MANIFESTS in line else {}
        if not given:
            return None
        return logged_pull(given["time"], given["method"], given["path"], given["status"], given.get("agent", b""))

    return LineReader(pull, lambda line: log_time(fields(line).get("time", b"")))


def _compiled(line_format: str) -> re.Pattern[bytes]:
    try:
        pattern = re.compile(line_format.encode())
    except (re.error, UnicodeEncodeError) as error:
        raise UsageError(f"not a regular expression: {line_format[:200]!r}: {error}") from error
    missing = [name for name in _GROUPS if name not in pattern.groupindex]
    if missing:
        raise UsageError(
            f"the regular expression for lines has no group {missing[0]!r}",
            advice="name the groups time, method, path, status and agent: (?P<status>[0-9]{3})",
        )
    return pattern
