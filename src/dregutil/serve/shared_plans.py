"""Plans in a team's store: everybody sees and decides on the same ones, on pages and in terminals.

The store has each plan's file, who approved it and what state it is in; it alone decides. This machine has copies of
what never changes, by the sum, and of what is shown:

FOLDER/SUM.jsonl, SUM.page, SUM.json   as in `plan_store`, without approvals
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from dregutil.errors import DregutilError, JournalError, NotFoundError, PlanRefusedError, StoreError
from dregutil.files import read_bytes, write_private
from dregutil.pages.label import label
from dregutil.pages.limits import Limits
from dregutil.pages.model import Plan
from dregutil.pages.page import encoded
from dregutil.pages.plan import PlanFound, plan_part, with_stays
from dregutil.plan.approval import State
from dregutil.plan.file import decode_plan
from dregutil.plan.model import Step
from dregutil.serve.listed import shown as as_shown
from dregutil.serve.plan_store import Approval, PlanStore, StoredPlan, parse_sum
from dregutil.serve.plans import BY_ITSELF
from dregutil.serve.team import Team
from dregutil.store import plans as store_plans
from dregutil.store.plan_rows import PlanState, short
from dregutil.store.plan_rows import StoredPlan as Row

__all__ = ["SharedPlans"]

_LARGEST = 256 << 20  # bytes of a plan in the store
_COPIES_FOR = timedelta(days=1)
_STATES: Mapping[PlanState, State] = {
    "waiting": "waiting",
    "approved": "approved",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "rejected": "rejected",
    "replaced": "superseded",
    "expired": "lapsed",
}


class SharedPlans:
    """The plans of one registry in a store. `policy` is the file of the server's policy, empty without one."""

    def __init__(self, folder: Path, team: Team, policy: str = "") -> None:
        self.folder = folder
        self._copies = PlanStore(folder)
        self._team = team
        self._policy = policy
        self._decided = store_plans.Plans(team.database)
        self._asked = store_plans.Plans(team.asked)
        self._bodies = store_plans.Plans(team.asked_long)
        self._rows: dict[str, Row] = {}
        self._decisions = 0  # of this server
        self._lock = threading.Lock()
        team.plans = self.refresh

    def load(self) -> None:
        """Read the copies. Raises OSError."""
        self._copies.load()

    def refresh(self) -> None:
        """Bring what is known up to date. Raises StoreError."""
        while True:
            decisions = self._decisions
            rows = {one.sum: one for one in self._asked.all(registry=self._team.key)}
            for one in rows.values():
                self._fetch(one)
            with self._lock:
                if decisions == self._decisions:  # otherwise what was read is older than what was decided
                    self._rows = rows
                    return

    @property
    def all(self) -> list[StoredPlan]:
        """The newest first."""
        rows = self._rows
        # A plan that removes nothing is for nobody to decide on: it stays on this machine.
        empty = [one for one in self._copies.all if not one.steps and one.sum not in rows]
        found = [*empty, *(self._shown(row) for row in rows.values())]
        return sorted(found, key=lambda one: (one.made, one.sum), reverse=True)

    def get(self, text: str) -> StoredPlan:
        """The plan with a sum. Raises NotFoundError, also for what is no sum."""
        sum_ = parse_sum(text)
        row = self._rows.get(sum_ or "")
        return self._copies.get(text) if row is None else self._shown(row)

    def file(self, sum_: str) -> Path:
        return self._copies.file(sum_)

    def page(self, sum_: str) -> Plan:
        """What is shown of a plan. Raises JournalError."""
        return self._copies.page(sum_)

    def check(self, sum_: str) -> None:
        """Raises PlanRefusedError unless the copy still is the plan with this sum."""
        self._copies.check(sum_)

    def commands(self, plan: StoredPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words of the commands that show a plan in a terminal, and that carry it out."""
        if plan.decided is None:
            return self._copies.commands(plan)
        return ("plans", "show", short(plan.sum)), self._copies.commands(plan)[1]

    # What comes and goes

    def add(
        self, file: Path, page: Path, *, title: str, kind: Literal["policy", "selection"], by: str | None
    ) -> StoredPlan:
        """Take over a plan and its page from files beside. Raises PlanRefusedError and JournalError."""
        return self._copies.add(file, page, title=title, kind=kind, by=by)

    def publish(self, sum_: str, needed: int) -> StoredPlan:
        """Put a plan into the store. Raises JournalError and PlanRefusedError."""
        plan = self._copies.get(sum_)
        if not plan.steps:
            return plan
        self._copies.check(sum_)
        try:
            body = read_bytes(self.file(sum_), _LARGEST)
        except OSError as error:
            raise JournalError(f"the plan cannot be read: {error.strerror or error}") from error
        return self._changed(
            self._bodies.add_file(
                body,
                registry=self._team.key,
                made_by=plan.by or BY_ITSELF,
                tags=plan.tags + self.page(sum_).signature_tags,
                steps=plan.steps,
                policy=self._policy if plan.kind == "policy" else "",
                needed=needed,
                stays=encoded(self.page(sum_)).encode() if plan.kind == "policy" else None,
            )
        )

    def renew(self, kept: str, newer: str) -> StoredPlan:
        """Show a plan with the reasons and sizes of a newer one that removes the same. Raises JournalError."""
        self._copies.renew(kept, newer)
        return self.get(kept)

    def remove(self, sum_: str) -> None:
        """Forget the copy of a plan that is not in the store."""
        if sum_ not in self._rows:
            self._copies.remove(sum_)

    def may_replace(self, plan: StoredPlan, newer: StoredPlan) -> bool:
        """Only what a server made by itself, of the same policy: what people or a schedule put there is theirs."""
        return plan.by is None and plan.title == newer.title

    def replace(self, plan: StoredPlan, when: datetime) -> None:  # noqa: ARG002 - of plans in a folder
        """Let a newer plan take its place, unless somebody has approved it. Raises StoreError."""
        if plan.decided is None:
            self.remove(plan.sum)
        else:
            self._decided.replace(plan.sum)
            self._changed(self._decided.find(plan.sum))

    def prune(self, now: datetime, kept: Collection[str]) -> None:
        """Remove the copies of what the store has no longer; it forgets plans itself, a month after their end."""
        for one in self._copies.all:
            is_left = one.sum not in self._rows and one.sum not in kept
            if is_left and now - one.made > _COPIES_FOR:
                self._copies.remove(one.sum)
        self._copies.prune(now, {one.sum for one in self._copies.all})

    # What people decide, and what becomes of it

    def approve(self, plan: StoredPlan, by: str, when: datetime) -> None:  # noqa: ARG002 - the store's clock counts
        """Raises PlanRefusedError and StoreError."""
        self._changed(self._decided.approve(plan.sum, by))

    def withdraw(self, plan: StoredPlan, by: str) -> None:
        """Raises PlanRefusedError and StoreError."""
        self._changed(self._decided.withdraw(plan.sum, by))

    def discard(self, plan: StoredPlan, by: str) -> None:
        """Reject a plan: it stays to be seen. Raises PlanRefusedError and StoreError."""
        if plan.decided is None:
            self.remove(plan.sum)
        else:
            self._changed(self._decided.reject(plan.sum, by))

    def begin(self, plan: StoredPlan, when: datetime) -> None:  # noqa: ARG002 - nothing is noted before the run begins
        """The run that begins first is the plan's, whoever begins it: the store decides that. Raises PlanRefusedError
        if it has begun, or may not."""
        found = self._decided.find(plan.sum)
        self._changed(found)
        if found.state != "approved":
            said = {"running": "it is being carried out", "done": "it was carried out already"}
            raise PlanRefusedError(said.get(found.state, f"it is {found.state}: {found.why}".rstrip(": ")))

    def ended(self, sum_: str, run: str) -> None:
        """The store has noted the run as it began."""

    def _changed(self, row: Row) -> StoredPlan:
        with self._lock:
            self._decisions += 1
            self._rows = {**self._rows, row.sum: row}
        return self._shown(row)

    def _fetch(self, row: Row) -> None:
        """Have a copy of a plan. One that was altered, or is too old to be there, is shown as a line alone. Raises
        StoreError."""
        if row.sum in {one.sum for one in self._copies.all}:
            return
        beside = self.folder / f".fetched-{row.sum[-16:]}"
        try:
            body = self._bodies.body(row.sum)
            plan, _ = decode_plan(body.splitlines(keepends=True))
            shown = plan_part(PlanFound(row.policy or "the store", is_file=not row.policy, plan=plan), Limits())
            shown = _with_stays(shown, self._bodies.stays(row.sum))
            write_private(beside, body)
            write_private(beside.with_suffix(".page"), encoded(shown).encode())
            kind: Literal["policy", "selection"] = "policy" if row.policy else "selection"
            self.add(beside, beside.with_suffix(".page"), title=_title(row, plan.steps), kind=kind, by=_maker(row))
        except (PlanRefusedError, NotFoundError):
            return
        except OSError as error:
            raise StoreError(f"plans cannot be kept in {self.folder}: {error.strerror or error}") from error

    def _shown(self, row: Row) -> StoredPlan:
        """A plan as the store has it."""
        try:
            copy = self._copies.get(row.sum)
        except DregutilError:
            copy = _bare(row)
        return msgspec.structs.replace(
            copy,
            by=_maker(row),
            approvals=[Approval(by=one.by, when=one.when, plan=row.sum) for one in row.given],
            run=row.run or None,
            decided=_STATES[row.state],
            why=row.why,
            needed=row.needed,
            expires=row.expires,
        )


def _with_stays(shown: Plan, stays: bytes | None) -> Plan:
    """With what its maker says of what stays; without, if that cannot be read, as from another version."""
    with contextlib.suppress(msgspec.MsgspecError):
        return with_stays(shown, msgspec.convert(as_shown(msgspec.json.decode(stays or b"")), Plan))
    return shown


def _maker(row: Row) -> str | None:
    return None if row.made_by == BY_ITSELF else row.made_by


def _title(row: Row, steps: Sequence[Step]) -> str:
    if row.policy:
        return label(f"policy {Path(row.policy).name}")
    tagged = [f"{one.repository}:{tag}" for one in steps for tag in one.tags][:2]
    return label(tagged[0]) if len(tagged) == 1 else f"{row.tags:,} images"


def _bare(row: Row) -> StoredPlan:
    return StoredPlan(
        sum=row.sum,
        effect="",
        title=_title(row, ()),
        kind="policy" if row.policy else "selection",
        by=_maker(row),
        made=row.made,
        tags=row.tags,
        untagged=0,
        frees=0,
        exact=False,
        steps=row.steps,
    )
