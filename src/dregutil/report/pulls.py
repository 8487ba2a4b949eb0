"""When images were last pulled, as lines and as objects; and what a registry needs to send its notifications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from dregutil.pulls.coverage import source_since
from dregutil.pulls.log_files import LogRead
from dregutil.pulls.pull import Source
from dregutil.report.layout import Column, table_lines
from dregutil.report.text import short_tag
from dregutil.report.units import age_text, plural
from dregutil.session.results import MAX_GAP, ImagePull, PullReport

__all__ = ["log_objects", "log_text", "notification_lines", "pull_lines", "pull_objects", "source_lines"]

_COLUMNS = (
    Column("IMAGE", cut="middle", least=20),
    Column("LAST PULLED", right=True),
    Column("BY", cut="end", least=8),
    Column("SOURCE"),
)


def pull_lines(report: PullReport, *, width: int | None) -> Iterator[str]:
    """A table; with `width`, that of a terminal, signature tags are short, and what does not fit is cut."""
    return table_lines(_COLUMNS, (_row(one, report, is_short=width is not None) for one in report.images), width=width)


def _row(one: ImagePull, report: PullReport, *, is_short: bool) -> tuple[str, ...]:
    tag = one.tag or ""
    image = f"{one.repository}:{short_tag(tag) if is_short else tag}"
    if one.pull is None:
        return image, "not recorded", "-", "-"
    when = f"{age_text((report.now - one.pull.at).total_seconds())} ago"
    return image, when, one.pull.agent or "-", one.pull.source.value


def pull_objects(report: PullReport, *, address: str) -> Iterator[dict[str, object]]:
    """An object for each tag. `pulled`, `by` and `source` are None where no pull is recorded; `recorded_since` is since
    when one would be."""
    since = report.recorded_since
    for one in report.images:
        yield {
            "repository": one.repository,
            "tag": one.tag,
            "digest": one.digest,
            "image": f"{address}/{one.repository}:{one.tag}",
            "pulled": None if one.pull is None else one.pull.at.isoformat(timespec="seconds"),
            "by": None if one.pull is None else one.pull.agent or None,
            "source": None if one.pull is None else one.pull.source.value,
            "recorded_since": None if since is None else since.isoformat(timespec="seconds"),
        }


def source_lines(report: PullReport, *, advised: str) -> Iterator[str]:
    """Since when each source has recorded; `advised` is the command that begins it."""
    if not any(source.spans for source in report.sources):
        yield f"no pulls were recorded yet; {advised} records them"
    for source in report.sources:
        if source.spans:
            yield _source_line(source, report)


def _source_line(source: Source, report: PullReport) -> str:
    since, last = source_since(source, report.now, MAX_GAP), source.spans[-1].until
    text = f"{source.kind.value} ({source.name}): "
    if since is None:
        text += f"nothing since {last:%Y-%m-%d %H:%M} UTC"
    else:
        text += f"recorded since {since:%Y-%m-%d %H:%M} UTC"
    gaps = [gap for gap in source.gaps if gap.until - gap.since > MAX_GAP]
    return f"{text}, {plural(len(gaps), 'gap')} of more than a day" if gaps else text


def log_text(path: str, read: LogRead) -> str:
    """What was read of a file of logs."""
    text = f"{path}: {plural(read.pulls, 'pull')} in {plural(read.lines, 'new line')}"
    if read.span is None:
        return text if not read.lines else f"{text}, none with a time that is known: see --line-format"
    since, until = (datetime.fromtimestamp(one, UTC) for one in read.span)
    return f"{text}, from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"


def log_objects(paths: Sequence[str], reads: Sequence[LogRead]) -> Iterator[dict[str, object]]:
    """An object for each file; `since` and `until` are None without a line that has a time."""
    for path, read in zip(paths, reads, strict=True):
        since, until = (None, None) if read.span is None else map(_time, read.span)
        yield {"file": path, "lines": read.lines, "pulls": read.pulls, "since": since, "until": until}


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def notification_lines(address: str, *, has_token: bool) -> Iterator[str]:
    """What listens at `address`, and what makes a registry send its notifications there."""
    yield f"listening on http://{address}/events; the registry's configuration needs:"
    yield "notifications:"
    yield "  endpoints:"
    yield "    - name: dregutil"
    yield f"      url: http://{address}/events"
    if has_token:
        yield "      headers: {Authorization: [Bearer TOKEN]}"
    yield "      timeout: 5s"
    yield "      threshold: 5"
    yield "      backoff: 5s"
