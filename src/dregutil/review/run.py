"""The two halves of a review: plan and comment; find what was approved, see that it still holds, and apply it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from dregutil.errors import RefusedError, UsageError
from dregutil.files import write_named
from dregutil.pages.model import Plan
from dregutil.plan.file import read_plan
from dregutil.plan.model import Plan as RemovalPlan
from dregutil.review.service import Change, Comment, Service
from dregutil.review.text import Marker, comment, mistakes, read_marker, with_result
from dregutil.session import load_policy

__all__ = ["Review"]

_MOST_LINES = 40
_TOKENS = ("GITHUB_TOKEN", "DREGUTIL_GITLAB_TOKEN")  # what reads a registry has no use for them


class _Row(msgspec.Struct, frozen=True):
    """What a dry run says of an image, as JSON."""

    action: str
    repository: str
    digest: str = ""
    tags: list[str] = []


class _Approved(NamedTuple):
    change: Change
    comment: Comment
    marker: Marker


@dataclass(frozen=True)
class Review:
    """Of one policy in one registry, which the environment names. `out` is for the plan, `state` for the records."""

    service: Service
    policy: str
    out: Path
    state: Path

    @property
    def registry(self) -> str:
        """The registry's name, for people. Raises UsageError if none is named: a comment must say which it is about."""
        found = os.environ.get("REGISTRY", "")
        if not found:
            raise UsageError("REGISTRY is not set", advice="name the registry")
        return found.rpartition("@")[2].partition("://")[2] or found.rpartition("@")[2]

    @property
    def key(self) -> str:
        """Tells the comments and plans of several policies apart."""
        return hashlib.sha256(f"{self.registry}\n{self.policy}".encode()).hexdigest()[:12]

    def run(self) -> int:
        """The exit status. Raises DregutilError."""
        change = self.service.under_review()
        _tell_job(key=self.key, mode="apply" if change is None else "plan")
        return self._apply() if change is None else self._plan(change)

    # A change is reviewed

    def _plan(self, change: Change) -> int:
        """Comment the plan. A policy with mistakes has none, and says so."""
        folder = self.out / self.key
        marker = Marker(key=self.key, head=change.head, job=self.service.job)
        try:
            load_policy(self.policy)
        except UsageError as error:
            self._say(change, mistakes(marker, self.registry, [*error.message.splitlines(), error.advice]))
            raise
        reasons = folder / "reasons.json"
        planned = self._cleanup(folder / "plan.jsonl", reasons)
        if planned.returncode:
            self._say(change, mistakes(marker, self.registry, planned.lines))
            return planned.returncode
        plan = msgspec.json.decode(reasons.read_bytes(), type=Plan)
        marker = msgspec.structs.replace(marker, sum=plan.sum or "")
        self._say(change, comment(marker, self.registry, plan, on=self.service.what))
        return 0

    def _cleanup(self, plan: Path, reasons: Path) -> _Done:
        plan.parent.mkdir(parents=True, exist_ok=True)
        files = ("--plan-out", str(plan), "--reasons-out", str(reasons))
        return self._dregutil("--cache", "None", "cleanup", "--policy", self.policy, *files)

    def _say(self, change: Change, body: str) -> None:
        self.service.write(change, body, self._ours(change))
        _summary(body)

    def _ours(self, change: Change) -> Comment | None:
        """The last comment about this policy."""
        found = None
        for one in self.service.comments(change):
            marker = read_marker(one.body)
            if marker is not None and marker.key == self.key:
                found = one
        return found

    # A change was merged

    def _apply(self) -> int:
        """Carry out what was approved, and nothing else; the comment gets the result."""
        found = self._approved()
        if found.marker.applied:
            sys.stderr.write(f"the plan was applied with {found.marker.applied}\n")
            return 0
        try:
            done = self._carried_out(found)
        except RefusedError as error:
            self._report(found, found.marker, [f"Nothing was removed: {error.message}", error.advice])
            raise
        marker = found.marker
        if done.returncode == 0:
            marker = msgspec.structs.replace(marker, applied=self.service.commit)
        outcome = "Applied" if done.returncode == 0 else f"Applying ended with exit status {done.returncode}"
        self._report(found, marker, [f"{outcome} with {self.service.commit[:12]}.", *done.lines])
        return done.returncode

    def _approved(self) -> _Approved:
        change = self.service.merged()
        if change is None:
            raise RefusedError(
                f"commit {self.service.commit[:12]} came without a {self.service.what}: nothing was approved",
                advice=f"edit the policy in a {self.service.what}; nothing was removed",
            )
        ours = self._ours(change)
        marker = None if ours is None else read_marker(ours.body)
        if ours is None or marker is None or not marker.sum:
            raise RefusedError(
                f"{self.service.what} {change.number} has no plan: nothing was approved",
                advice="the job about it must end before it is merged; nothing was removed",
            )
        return _Approved(change, ours, marker)

    def _carried_out(self, found: _Approved) -> _Done:
        change, _, marker = found
        if marker.head != change.head:
            raise RefusedError(
                f"the plan is of {marker.head[:12]}, and {change.head[:12]} was merged", advice="nothing was removed"
            )
        folder = self.out / self.key
        approved, now = folder / "approved.jsonl", folder / "now.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        write_named(approved, [self.service.saved_plan(change, self.key, marker.job)], "the plan")
        planned = self._cleanup(now, folder / "now.json")
        if planned.returncode:
            raise RefusedError("the policy makes no plan any more", advice="; ".join(planned.lines))
        self._check_covered(approved, now, marker.sum)
        return self._dregutil("apply", str(approved), "--expect", marker.sum, "-y")

    def _check_covered(self, approved: Path, now: Path, sum_: str) -> None:
        """Raises RefusedError if the plan is not the approved one, or removes what the merged policy keeps."""
        left = self._still_going(approved, sum_)
        kept = sorted(left - _going(read_plan(now)[0]))
        if kept:
            named = ", ".join(name.partition("@")[0] for name in kept[:5])
            more = f" and {len(kept) - 5:,} more" if len(kept) > 5 else ""
            raise RefusedError(
                f"the merged policy keeps {named}{more} by now, and the approved plan removes that",
                advice=f"plan again, in a new {self.service.what}",
            )

    def _still_going(self, plan: Path, sum_: str) -> set[str]:
        """What of a plan still holds. Raises RefusedError."""
        done = self._dregutil("apply", str(plan), "--dry-run", "--expect", sum_, "--format", "json")
        if done.returncode:
            first, *others = done.said.splitlines() or [f"exit status {done.returncode}"]
            raise RefusedError(first.removeprefix("dregutil: "), advice="; ".join(others).strip())
        rows = msgspec.json.decode(done.output, type=list[_Row])
        going = (row for row in rows if row.action not in ("keep", "leave"))
        return {name for row in going for name in _names(row.repository, row.digest, row.tags)}

    def _report(self, found: _Approved, marker: Marker, result: Sequence[str]) -> None:
        body = with_result(found.comment.body, marker, result)
        self.service.write(found.change, body, found.comment)
        _summary("\n".join(result))

    def _dregutil(self, *words: str) -> _Done:
        """Run the command line; what it says is shown in the job's log, too."""
        self.state.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "dregutil", "--color", "never", "--state-dir", str(self.state), *words]
        environment = {name: value for name, value in os.environ.items() if name not in _TOKENS}
        done = subprocess.run(  # noqa: S603 - no shell, and this program
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment
        )
        output, said = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if "json" not in words:
            sys.stdout.write(output)
        sys.stderr.write(said)
        return _Done(done.returncode, output, said)


def _going(plan: RemovalPlan) -> set[str]:
    return {name for step in plan.steps for name in _names(step.repository, step.digest, step.tags)}


def _names(repository: str, digest: str, tags: Sequence[str]) -> Sequence[str]:
    return [f"{repository}:{tag}@{digest}" for tag in tags] or [f"{repository}@{digest}"]


class _Done(NamedTuple):
    returncode: int
    output: str
    said: str

    @property
    def lines(self) -> list[str]:
        """What it said, for a comment."""
        return [*self.output.splitlines(), *self.said.splitlines()][:_MOST_LINES]


def _tell_job(**values: str) -> None:
    """Outputs of the step, for those that follow it."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())


def _summary(text: str) -> None:
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a") as file:
            file.write(f"{text}\n")
