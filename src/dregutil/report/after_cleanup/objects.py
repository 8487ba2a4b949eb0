"""A report as an object for JSON: cleanup.json, and the body of a generic notification. Pure."""

from __future__ import annotations

import json
from datetime import UTC

from dregutil.errors import escaped_json
from dregutil.report.after_cleanup.model import CleanupReport, Count

__all__ = ["json_text", "report_object"]


def json_text(found: object) -> str:
    """JSON in ASCII, with a line break at the end."""
    return escaped_json(json.dumps(found, indent=2)) + "\n"


def report_object(report: CleanupReport) -> dict[str, object]:
    """The keys are those of docs/json.md."""
    return {
        "registry": report.registry,
        "policy_file": report.policy_file or None,
        "started": report.started.astimezone(UTC).isoformat(timespec="seconds"),
        "seconds": round(report.seconds, 3),
        "result": report.state.value,
        "why": report.why or None,
        "success": report.is_success,
        "run": report.run or None,
        "undo": report.undo or None,
        "total": _count(report.total),
        "bytes_freed_exact": report.is_exact,
        "policies": [{"policy": one.name, "untagged": one.untagged, **_count(one)} for one in report.policies],
        "team_label": report.team_label or None,
        "teams": [{"team": one.name or None, **_count(one)} for one in report.teams],
        "removed": [
            {
                "repository": one.repository,
                "tag": one.tag,
                "digest": one.digest,
                "policy": one.policy or None,
                "team": one.team or None,
                "because": one.because,
                "size": one.size,
            }
            for one in report.removed
        ],
        "removed_left_out": report.more_removed,
        "removed_along": report.along,
        "stayed": [{"because": why, "tags": number} for why, number in report.stayed],
        "failures": [{"what": one.what or None, "why": one.why} for one in report.failures],
        "failures_left_out": report.more_failures,
        "lists": [
            {"list": one.name, "age_seconds": round(one.seconds), "images": one.images, "here": one.matched}
            for one in report.lists
        ],
    }


def _count(one: Count) -> dict[str, object]:
    return {
        "selected": one.selected,
        "removed": one.removed,
        "kept": one.kept,
        "failed": one.failed,
        "already_gone": one.gone,
        "bytes_freed": one.bytes_freed,
    }
