"""Where a server's plans are kept: in its folder (`plan_store`), or in a team's store (`shared_plans`)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from dregutil.pages.model import Plan
from dregutil.serve.plan_store import StoredPlan

__all__ = ["PlanKeeper"]


class PlanKeeper(Protocol):
    """The plans of one registry. What waits for a disk or a database is called in a thread; all of that raises
    JournalError, and PlanRefusedError for what may not be decided any more."""

    folder: Path
    """For files that plans are made of."""

    @property
    def all(self) -> list[StoredPlan]:
        """The newest first, as far as is known; it waits for nothing."""

    def load(self) -> None:
        """Read what is there."""

    def get(self, text: str) -> StoredPlan:
        """The plan with a sum, as far as is known; it waits for nothing. Raises NotFoundError."""

    def file(self, sum_: str) -> Path:
        """The file of a plan on this machine."""

    def page(self, sum_: str) -> Plan:
        """What is shown of a plan."""

    def check(self, sum_: str) -> None:
        """Raises PlanRefusedError unless the file still is the plan with this sum."""

    def commands(self, plan: StoredPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words of the commands that show a plan in a terminal, and that carry it out."""

    # What comes and goes

    def add(
        self, file: Path, page: Path, *, title: str, kind: Literal["policy", "selection"], by: str | None
    ) -> StoredPlan:
        """Take over a plan and its page from files beside. Nobody decides on it before `publish`."""

    def publish(self, sum_: str, needed: int) -> StoredPlan:
        """Let people decide on a plan that was added: `needed` must approve it."""

    def renew(self, kept: str, newer: str) -> StoredPlan:
        """Show a plan with the reasons and sizes of a newer one that removes the same."""

    def remove(self, sum_: str) -> None:
        """Forget a plan that was added and not published."""

    def may_replace(self, plan: StoredPlan, newer: StoredPlan) -> bool:
        """Whether a newer plan of the policy may take the place of one that nobody has approved."""

    def replace(self, plan: StoredPlan, when: datetime) -> None:
        """Let a newer plan take its place, unless somebody has approved it."""

    def prune(self, now: datetime, kept: Collection[str]) -> None:
        """Remove what is too old, but none of `kept`."""

    # What people decide, and what becomes of it

    def approve(self, plan: StoredPlan, by: str, when: datetime) -> None:
        """Keep an approval, durably."""

    def withdraw(self, plan: StoredPlan, by: str) -> None:
        """Forget an approval, durably."""

    def discard(self, plan: StoredPlan, by: str) -> None:
        """Somebody wants that nobody carries a plan out."""

    def begin(self, plan: StoredPlan, when: datetime) -> None:
        """A plan is about to be carried out by a process of this server."""

    def ended(self, sum_: str, run: str) -> None:
        """The process has ended; `run` is what it did."""
