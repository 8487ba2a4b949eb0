"""What a worker has done and sees: for `/healthz` and `/metrics`."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Account", "metrics"]

STUCK = 60.0  # seconds without a round of the loop
UNREACHABLE = 30.0  # seconds without an answer of the store


@dataclass(slots=True)
class Account:
    """`round` is the time of the loop's last round, on the clock of `time.monotonic`. `jobs` and `seconds` are by kind
    and result; `plans` by state; `succeeded` by schedule, in seconds since 1970."""

    started: float = field(default_factory=time.time)
    round: float = field(default_factory=time.monotonic)
    jobs: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    running: Counter[str] = field(default_factory=Counter)
    plans: Mapping[str, int] = field(default_factory=dict)
    succeeded: Mapping[str, float] = field(default_factory=dict)
    paused: Mapping[str, bool] = field(default_factory=dict)
    leases: int = 0
    workers: int = 0

    def why_unhealthy(self, answered: float, now: float) -> str | None:
        """What is wrong; None if nothing is. `answered` is when the store last answered; both times are on the clock of
        `time.monotonic`."""
        if now - answered > UNREACHABLE:
            return f"the store has not answered for {now - answered:.0f} seconds"
        if now - self.round > STUCK:
            return f"the loop has made no round for {now - self.round:.0f} seconds"
        return None

    def ended(self, kind: str, result: str, seconds: float) -> None:
        """A job ended: `result` is done, failed or stopped."""
        self.jobs[kind, result] += 1
        self.seconds[kind, result] += seconds


def metrics(account: Account, *, store_seconds: float, is_healthy: bool) -> str:
    """The text of `/metrics`, in the exposition format of Prometheus. Names are those of the configuration alone."""
    return "".join(f"{line}\n" for line in _lines(account, store_seconds, is_healthy=is_healthy))


def _lines(account: Account, store_seconds: float, *, is_healthy: bool) -> Iterator[str]:
    by_job = [({"kind": kind, "result": result}, float(n)) for (kind, result), n in sorted(account.jobs.items())]
    yield from _metric("jobs_total", "counter", "Jobs that ended.", by_job)
    by_time = [({"kind": kind, "result": result}, round(n, 3)) for (kind, result), n in sorted(account.seconds.items())]
    yield from _metric("job_seconds_total", "counter", "Seconds that jobs took.", by_time)
    running = [({"kind": kind}, float(n)) for kind, n in sorted(account.running.items())]
    yield from _metric("jobs_running", "gauge", "Jobs of this worker that run.", running)
    plans = [({"state": state}, float(account.plans.get(state, 0))) for state in ("waiting", "approved", "running")]
    yield from _metric("plans", "gauge", "Plans in the store that have not ended.", plans)
    yield from _metric("leases_held", "gauge", "Leases of all workers and people.", [({}, float(account.leases))])
    yield from _metric("workers", "gauge", "Workers that are alive.", [({}, float(account.workers))])
    paused = [({"registry": name}, float(is_paused)) for name, is_paused in sorted(account.paused.items())]
    yield from _metric("paused", "gauge", "Whether a registry is paused.", paused)
    last = [({"schedule": name}, round(at, 3)) for name, at in sorted(account.succeeded.items())]
    what = "When a schedule last ended well, on any worker; 0 if never."
    yield from _metric("schedule_last_success_timestamp_seconds", "gauge", what, last)
    yield from _metric("store_seconds_total", "counter", "Seconds of waiting for the store.", [({}, store_seconds)])
    yield from _metric("healthy", "gauge", "Whether /healthz answers 200.", [({}, float(is_healthy))])
    yield from _metric("start_time_seconds", "gauge", "When this worker started.", [({}, round(account.started, 3))])


def _metric(name: str, kind: str, help_: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield f"# HELP dregutil_work_{name} {help_}"
    yield f"# TYPE dregutil_work_{name} {kind}"
    for labels, value in samples:
        shown = ",".join(f'{key}="{_value(text)}"' for key, text in labels.items())
        yield f"dregutil_work_{name}{{{shown}}} {value:.15g}" if shown else f"dregutil_work_{name} {value:.15g}"


def _value(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
