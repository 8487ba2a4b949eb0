"""A report in the exposition format of Prometheus, for the textfile collector of node_exporter. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dregutil.errors import escaped
from dregutil.report.after_cleanup.model import CleanupReport

__all__ = ["last_success", "metrics"]

_PREFIX = "dregutil_cleanup_"
_SUCCESS = f"{_PREFIX}last_success_timestamp_seconds"
_SAMPLE = re.compile(rf"^{_SUCCESS}(\{{.*\}}) ([0-9]+(?:\.[0-9]+)?)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Metric:
    """A gauge: its samples are values by label, besides the registry's."""

    name: str
    help: str
    label: str
    samples: Mapping[str, float]


def metrics(report: CleanupReport, *, succeeded: float = 0.0) -> str:
    """The text of the file. `succeeded`: when a run last succeeded before this one, in seconds since 1970; 0 if none
    is known."""
    return "".join(f"{line}\n" for one in _metrics(report, succeeded) for line in _lines(report.registry, one))


def last_success(text: str, registry: str) -> float:
    """When the last run on a registry succeeded according to an older file, in seconds since 1970; 0 if none did."""
    wanted = _labels({"registry": registry})
    return next((float(found[2]) for found in _SAMPLE.finditer(text) if found[1] == wanted), 0.0)


def _metrics(report: CleanupReport, succeeded: float) -> Iterator[_Metric]:
    ended = report.started.timestamp() + report.seconds
    policies = report.policies
    what = "Tags, and for a policy with untagged: true manifests without a tag,"
    yield _Metric("tags_removed", f"{what} that the last run removed.", "policy", {x.name: x.removed for x in policies})
    yield _Metric(
        "bytes_freed",
        "Bytes that the registry frees for the last run when it collects its garbage, at most.",
        "policy",
        {one.name: one.bytes_freed for one in policies},
    )
    yield _Metric("tags_failed", f"{what} that could not be removed.", "policy", {x.name: x.failed for x in policies})
    yield _Metric(
        "tags_kept", f"{what} that the policy selects and that stay.", "policy", {x.name: x.kept for x in policies}
    )
    yield _Metric("duration_seconds", "How long the last run took.", "", {"": round(report.seconds, 3)})
    yield _Metric("last_run_timestamp_seconds", "When the last run ended.", "", {"": round(ended, 3)})
    yield _Metric(
        "last_success_timestamp_seconds",
        "When the last run ended that did everything; 0 if none is known.",
        "",
        {"": round(ended if report.is_success else succeeded, 3)},
    )
    yield _Metric(
        "list_age_seconds",
        "How old a list of images in use was when the last run read it.",
        "list",
        {one.name: round(one.seconds) for one in report.lists},
    )


def _lines(registry: str, metric: _Metric) -> Iterator[str]:
    if not metric.samples:
        return
    name = f"{_PREFIX}{metric.name}"
    yield f"# HELP {name} {metric.help}"
    yield f"# TYPE {name} gauge"
    for value, number in metric.samples.items():
        labels = {"registry": registry, **({metric.label: value} if metric.label else {})}
        yield f"{name}{_labels(labels)} {number}"


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_value(value)}"' for name, value in labels.items()) + "}"


def _value(text: str) -> str:
    return escaped(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
