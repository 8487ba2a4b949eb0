"""A report as the body of a notification: generic JSON, Slack's blocks, or an Adaptive Card for Teams. Pure."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from dregutil.errors import escaped, escaped_json
from dregutil.report.after_cleanup.model import CleanupReport
from dregutil.report.after_cleanup.objects import report_object
from dregutil.report.after_cleanup.sections import facts, headline
from dregutil.report.units import size_text

__all__ = ["MessageFormat", "format_for", "message"]

_MOST_COUNTS = 10  # policies, teams and failures that a message names: channels are for reading
_LONGEST = 300  # characters of a value
_TEAMS = (".webhook.office.com", ".logic.azure.com", ".powerplatform.com", ".powerautomate.com")


class MessageFormat(enum.StrEnum):
    GENERIC = "generic"
    SLACK = "slack"
    TEAMS = "teams"


def format_for(url: str) -> MessageFormat:
    """The format that the host of a URL takes; generic if it is not known."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host in ("hooks.slack.com", "hooks.slack-gov.com"):
        return MessageFormat.SLACK
    is_teams = host == "outlook.office.com" or host.endswith(_TEAMS)
    return MessageFormat.TEAMS if is_teams else MessageFormat.GENERIC


def message(report: CleanupReport, form: MessageFormat) -> bytes:
    """The JSON of a message."""
    make = {MessageFormat.SLACK: _slack, MessageFormat.TEAMS: _teams, MessageFormat.GENERIC: report_object}[form]
    return escaped_json(json.dumps(make(report))).encode()


def _slack(report: CleanupReport) -> dict[str, object]:
    title = _for_slack(headline(report))
    fields = [f"*{name}*: {_for_slack(value)}" for name, value in facts(report)]
    parts = ["\n".join(fields), *("\n".join(map(_for_slack, lines)) for lines in _details(report))]
    return {
        "text": title,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": _short(headline(report), 150), "emoji": False}},
            *({"type": "section", "text": {"type": "mrkdwn", "text": part[:3000]}} for part in parts),
        ],
    }


def _teams(report: CleanupReport) -> dict[str, object]:
    pairs = [{"title": name, "value": _for_teams(value)} for name, value in facts(report)]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            _block(headline(report), weight="Bolder", size="Medium"),
            {"type": "FactSet", "facts": pairs},
            *(_block(line) for lines in _details(report) for line in lines),
        ],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _block(text: str, **style: str) -> dict[str, object]:
    return {"type": "TextBlock", "text": _for_teams(text), "wrap": True, **style}


def _details(report: CleanupReport) -> Iterator[list[str]]:
    """Lines on policies, on teams, and on failures; those that there are."""
    verb = "would go" if report.is_dry else "removed"
    for counts in (report.policies, report.teams):
        found = [
            f"{one.name or '-'}: {one.removed:,} of {one.selected:,} {verb}, {size_text(one.bytes_freed)}"
            for one in counts
        ]
        if found:
            yield _bounded(found, len(found))
    failed = [f"failed: {one.what or 'the run'}: {one.why}" for one in report.failures]
    if failed:
        yield _bounded(failed, len(failed) + report.more_failures)


def _bounded(lines: list[str], number: int) -> list[str]:
    left = number - len(lines[:_MOST_COUNTS])
    return [*lines[:_MOST_COUNTS], *([f"and {left:,} more"] if left else [])]


def _short(text: str, most: int = _LONGEST) -> str:
    text = escaped(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _for_slack(text: str) -> str:
    """Slack escapes three characters; without `<` there is no link and no mention. `*` only makes text bold."""
    return _short(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_teams(text: str) -> str:
    """A card shows Markdown: links, lists and bold text."""
    return re.sub(r"[\\`*_\[\]()#<>!]", r"\\\g<0>", _short(text))
