"""Plans on the disk: for each its file, as `--plan-out` wrote it, its page with the reasons, and what people did.

PLANS/SUM.jsonl   the plan; SUM are the 64 digits of its sum, without `sha256:`
PLANS/SUM.page    what is shown of it: the JSON that `--reasons-out` wrote
PLANS/SUM.json    who made and approved it, and its run; a plan without this file is none
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from dregutil.errors import JournalError, NotFoundError, PlanRefusedError
from dregutil.files import bounded_lines, make_private_folder, read_bytes, sync_folder, write_atomically
from dregutil.pages.model import Plan
from dregutil.plan.approval import State

__all__ = ["Approval", "PlanStore", "StoredPlan", "examined", "parse_sum"]

_SUM = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_LONGEST_PLAN = 8 << 30  # bytes
_LONGEST_PAGE = 64 << 20
_LONGEST_STATE = 1 << 20
_KEPT_FOR = timedelta(days=30)
_REPLACED_FOR = timedelta(days=1)
_MOST = 200
_ADVICE = "make the plan again"
_MODULUS = 1 << 256


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """That `by` approved the plan with this sum, when."""

    by: str
    when: datetime
    plan: str


class StoredPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a plan besides its file. `by` is None if the program made it by itself. `effect` is the sum of
    what its steps remove: plans with the same effect remove the same. `applied`: when somebody last began to carry it
    out; `run`: the run that did; `replaced`: since when a newer plan takes its place.

    Of a plan in a team's store, `decided` is the state that it has there, `why` what the store says of that, `needed`
    how many people must approve it, `expires` when it may no longer be begun."""

    version: Literal[1] = 1
    sum: str
    effect: str
    title: str
    kind: Literal["policy", "selection"]
    by: str | None
    made: datetime
    tags: int
    untagged: int
    frees: int
    exact: bool
    steps: int
    most_of: list[str] = []
    confirm_tags: int | None = None
    approvals: list[Approval] = []
    applied: datetime | None = None
    run: str | None = None
    replaced: datetime | None = None
    decided: State | None = None
    why: str = ""
    needed: int | None = None
    expires: datetime | None = None


class _Step(msgspec.Struct):
    """What of a step says what it removes: its number and what it frees depend on the order of the steps."""

    action: str
    repository: str
    digest: str
    tags: list[str]


_step = msgspec.json.Decoder(_Step).decode


class _Trailer(msgspec.Struct, forbid_unknown_fields=True):
    steps: int
    sha256: str


def _effect(line: bytes) -> int:
    """Raises msgspec.MsgspecError."""
    found = _step(line)
    found.tags.sort()
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(found)).digest(), "big")


def parse_sum(text: str) -> str | None:
    """The sum as `sha256:…`, of the sum or its 64 digits; None for anything else."""
    found = _SUM.fullmatch(text)
    return None if found is None else f"sha256:{found[1]}"


def examined(path: Path) -> tuple[str, str, int]:
    """The sum of a plan file, that of what it removes in whatever order, and how many steps it has; a line at a time,
    whatever its size.

    Raises PlanRefusedError if the file cannot be read or is not whole.
    """
    whole, effect, lines, before = hashlib.sha256(), 0, 0, b""
    try:
        with path.open("rb") as file:
            for line in bounded_lines(file, _LONGEST_PLAN):
                if before:
                    whole.update(before)
                    effect += _effect(before) if lines else 0  # the first one has the time and the command
                    lines += 1
                before = line
        trailer = msgspec.json.decode(before, type=_Trailer)
    except OSError as error:
        why = f"the file of the plan cannot be read: {error.strerror or error}"
        raise PlanRefusedError(why, advice=_ADVICE) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PlanRefusedError("the file of the plan was altered or truncated", advice=_ADVICE) from error
    if trailer.sha256 != whole.hexdigest() or trailer.steps != lines - 1:
        raise PlanRefusedError("the file of the plan was altered: its checksum does not match", advice=_ADVICE)
    return f"sha256:{trailer.sha256}", f"{effect % _MODULUS:064x}", trailer.steps


class PlanStore:
    """The plans in a folder. One process writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._plans: dict[str, StoredPlan] = {}

    def load(self) -> None:
        """Read what is there. Files without a readable state are no plans; they are removed. Raises OSError."""
        make_private_folder(self.folder)
        self._plans = {}
        for path in self.folder.glob("*.json"):
            with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError):
                found = msgspec.json.decode(read_bytes(path, _LONGEST_STATE), type=StoredPlan)
                if parse_sum(path.stem) == found.sum and self.file(found.sum).is_file():
                    self._plans[found.sum] = found
        for path in [*self.folder.glob("*.jsonl"), *self.folder.glob("*.page"), *self.folder.glob("*.json")]:
            if parse_sum(path.stem) not in self._plans:
                _remove(path)
        for path in self.folder.glob(".*"):  # what a crash left of a file that was being written
            _remove(path)

    @property
    def all(self) -> list[StoredPlan]:
        """The newest first."""
        return sorted(self._plans.values(), key=lambda one: (one.made, one.sum), reverse=True)

    def get(self, text: str) -> StoredPlan:
        """The plan with a sum. Raises NotFoundError, also for what is no sum."""
        sum_ = parse_sum(text)
        if sum_ is None or sum_ not in self._plans:
            raise NotFoundError("there is no such plan", advice="it was discarded, or is older than 30 days")
        return self._plans[sum_]

    def file(self, sum_: str) -> Path:
        return self._path(sum_, ".jsonl")

    def page(self, sum_: str) -> Plan:
        """What is shown of a plan. Raises JournalError if it cannot be read."""
        return _page(self._path(sum_, ".page"))

    def put(self, plan: StoredPlan) -> None:
        """Keep the state of a plan; it is on the disk when this returns. Raises JournalError; then nothing changed."""
        path = self._path(plan.sum, ".json")
        try:
            write_atomically(path, [msgspec.json.format(msgspec.json.encode(plan), indent=1), b"\n"])
            sync_folder(self.folder)
        except OSError as error:
            raise _not_kept(error) from error
        self._plans[plan.sum] = plan

    def add(
        self, file: Path, page: Path, *, title: str, kind: Literal["policy", "selection"], by: str | None
    ) -> StoredPlan:
        """Take over a plan and its page, which a process wrote into files beside. Returns it, or the one that is there
        already. Raises PlanRefusedError and JournalError."""
        sum_, effect, steps = examined(file)
        shown = _page(page)
        if shown.sum != sum_ or shown.made is None:
            raise PlanRefusedError("the plan and its reasons do not belong together", advice=_ADVICE)
        if sum_ in self._plans:
            return self._plans[sum_]
        found = StoredPlan(
            sum=sum_,
            effect=effect,
            title=title,
            kind=kind,
            by=by,
            made=shown.made,
            tags=shown.tags,
            untagged=shown.untagged,
            frees=shown.frees,
            exact=shown.exact,
            steps=steps,
            most_of=shown.most_of,
            confirm_tags=shown.confirm_tags,
        )
        try:
            for path in (file, page):
                path.chmod(0o600)
            file.replace(self.file(sum_))
            page.replace(self._path(sum_, ".page"))
        except OSError as error:
            raise _not_kept(error) from error
        self.put(found)
        return found

    def renew(self, kept: str, newer: str) -> StoredPlan:
        """Show a plan with the reasons and sizes of a newer one that removes the same. Its file stays, and with it the
        sum and what must be confirmed. Raises JournalError."""
        plan, before, now = self.get(kept), self.page(kept), self.page(newer)
        shown = msgspec.structs.replace(
            now, sum=before.sum, made=before.made, most_of=before.most_of, confirm_tags=before.confirm_tags
        )
        try:
            write_atomically(self._path(kept, ".page"), [msgspec.json.encode(shown), b"\n"])
        except OSError as error:
            raise _not_kept(error) from error
        plan = msgspec.structs.replace(plan, frees=now.frees, exact=now.exact)
        self.put(plan)
        return plan

    def publish(self, sum_: str, needed: int) -> StoredPlan:  # noqa: ARG002 - of a team's store
        """Let people decide on a plan that was added: here they may already."""
        return self.get(sum_)

    def approve(self, plan: StoredPlan, by: str, when: datetime) -> None:
        """Keep an approval. Raises JournalError."""
        others = [one for one in plan.approvals if one.by != by]
        self.put(msgspec.structs.replace(plan, approvals=[*others, Approval(by=by, when=when, plan=plan.sum)]))

    def withdraw(self, plan: StoredPlan, by: str) -> None:
        """Forget an approval. Raises JournalError."""
        self.put(msgspec.structs.replace(plan, approvals=[one for one in plan.approvals if one.by != by]))

    def begin(self, plan: StoredPlan, when: datetime) -> None:
        """Note that a plan is about to be carried out. Raises JournalError."""
        self.put(msgspec.structs.replace(plan, applied=when))

    def ended(self, sum_: str, run: str) -> None:
        """Note the run that carried a plan out. Raises JournalError."""
        self.put(msgspec.structs.replace(self.get(sum_), run=run))

    def may_replace(self, plan: StoredPlan, newer: StoredPlan) -> bool:  # noqa: ARG002 - of a team's store
        """Whether a newer plan of the policy may take the place of one that nobody has approved."""
        return True

    def replace(self, plan: StoredPlan, when: datetime) -> None:
        """Let a newer plan take its place. Raises JournalError."""
        self.put(msgspec.structs.replace(plan, replaced=when))

    def discard(self, plan: StoredPlan, by: str) -> None:  # noqa: ARG002 - of a team's store
        """Somebody wants a plan to be gone."""
        self.remove(plan.sum)

    def commands(self, plan: StoredPlan) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words of the commands that show a plan in a terminal, and that carry it out."""
        file = str(self.file(plan.sum))
        return ("plan", "show", file), ("apply", file, "--expect", plan.sum)

    def check(self, sum_: str) -> None:
        """Raises PlanRefusedError unless the file still is the plan with this sum."""
        if examined(self.file(sum_))[0] != sum_:
            raise PlanRefusedError("the file of the plan has changed since it was approved", advice=_ADVICE)

    def remove(self, sum_: str) -> None:
        """Forget a plan and remove its files."""
        self._plans.pop(sum_, None)
        for suffix in (".json", ".jsonl", ".page"):  # without its state it is no plan
            _remove(self._path(sum_, suffix))

    def prune(self, now: datetime, kept: Collection[str]) -> None:
        """Remove plans that are older than 30 days, replaced ones after a day, and the oldest of more than 200; but
        none of `kept`, which people have approved or a run carries out."""
        for number, plan in enumerate([one for one in self.all if one.sum not in kept]):
            is_old = now - plan.made > _KEPT_FOR
            is_replaced = plan.replaced is not None and now - plan.replaced > _REPLACED_FOR
            if is_old or is_replaced or number >= _MOST - len(kept):
                self.remove(plan.sum)
        for path in self.folder.glob("*.images"):  # the selections that plans were made of
            with contextlib.suppress(OSError):
                if now.timestamp() - path.stat().st_mtime > _KEPT_FOR.total_seconds():
                    path.unlink()

    def _path(self, sum_: str, suffix: str) -> Path:
        found = parse_sum(sum_)
        if found is None:
            raise NotFoundError("there is no such plan")
        return self.folder / f"{found.partition(':')[2]}{suffix}"


def _page(path: Path) -> Plan:
    try:
        return msgspec.json.decode(read_bytes(path, _LONGEST_PAGE), type=Plan)
    except OSError as error:
        raise JournalError(f"the reasons of the plan cannot be read: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise JournalError("the reasons of the plan cannot be read", advice=_ADVICE) from error


def _not_kept(error: OSError) -> JournalError:
    return JournalError(f"the plan cannot be kept: {error.strerror or error}", advice="free some space and try again")


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
