"""What a review needs of GitHub or GitLab."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from dregutil.errors import UsageError

__all__ = ["Change", "Comment", "Service", "needed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A pull or merge request: its number, and its last commit."""

    number: int
    head: str


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment that this job, or an earlier one of it, has written."""

    id: int
    body: str


class Service(Protocol):
    """The service that runs this job. All that ask it raise UnreachableError, RefusedError."""

    what: str
    """What a change is called."""
    commit: str
    """The commit of this job."""
    job: str
    """What has the plan that this job writes, in words of the service."""

    def under_review(self) -> Change | None:
        """The change that this job is about; None in one of the main branch. Raises RefusedError for any other job."""

    def merged(self) -> Change | None:
        """The merged change that brought this commit to the main branch; None if it came without one."""

    def comments(self, change: Change) -> Iterator[Comment]:
        """Our comments; what others wrote is not among them, whatever it says."""

    def write(self, change: Change, body: str, earlier: Comment | None) -> None:
        """Write a comment, in place of an earlier one."""

    def saved_plan(self, change: Change, key: str, job: str) -> bytes:
        """The plan that a job of this change saved. Raises RefusedError if it is not there, or of another change."""


def needed(environment: Mapping[str, str], name: str) -> str:
    """A variable of the environment. Raises UsageError if it is not set."""
    found = environment.get(name, "")
    if not found:
        raise UsageError(f"{name} is not set", advice="docs/ci.md says what the job needs")
    return found
