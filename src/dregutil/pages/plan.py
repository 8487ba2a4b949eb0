"""A plan, and what its policies keep → the part of a report about it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from dregutil.journal.record import RunRecord
from dregutil.journal.removed import Removed
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pages import model
from dregutil.pages.label import label
from dregutil.pages.limits import Limits
from dregutil.plan.along import along_of, freed_with
from dregutil.plan.brake import braked_repositories
from dregutil.plan.diff import Change, PlanChange, plan_changes
from dregutil.plan.file import kind_of_reason, plan_sum
from dregutil.plan.model import Action, Plan, Step
from dregutil.report.removal import held_back, signature_tags
from dregutil.retention.verdict import Judgement, ReasonKind, Verdict

__all__ = ["PlanFound", "plan_part", "with_stays"]

_MOST_KEPT = 3  # images named of those that a reason keeps
_MOST_LEFT_OUT = 50


@dataclass(frozen=True, slots=True)
class PlanFound:
    """A plan to show. `source` is its file (`kind` "plan") or that of the policy it was made from. Without `plan`,
    `refused` says why there is none. `judgement` has the verdicts that it was made from; `compared` is the run whose
    plan it is compared with, `compared_left` what that removed and is not put back. `command` carries it out."""

    source: str
    is_file: bool
    plan: Plan | None = None
    refused: str = ""
    command: str = ""
    judgement: Judgement | None = None
    compared: RunRecord | None = None
    compared_left: Removed = field(default_factory=dict)


def plan_part(found: PlanFound, limits: Limits) -> model.Plan:
    """The plan as a report shows it."""
    plan, kind = found.plan, _kind(found)
    if plan is None:
        return model.Plan(source=label(found.source), kind=kind, refused=label(found.refused))
    groups = _Groups(plan, found.judgement, limits).groups()
    braked = braked_repositories(plan)
    return model.Plan(
        source=label(found.source),
        kind=kind,
        made=plan.made_at,
        sum=plan_sum(plan),
        command=label(found.command) or None,
        refused=label(found.refused) or None,
        tags=plan.removed_tags - signature_tags(plan.steps),
        untagged=plan.removed_untagged,
        signature_tags=signature_tags(plan.steps),
        held_back=held_back(plan) + sum(plan.kept_before.values()),
        frees=plan.reclaim.reclaimable_bytes,
        exact=plan.reclaim.exact,
        because=label(plan.reclaim.because),
        most_of=[*braked[:_MOST_LEFT_OUT]],
        confirm_tags=plan.removed_tags if braked else None,
        groups=groups[: limits.groups],
        groups_left_out=len(groups[limits.groups :]),
        left_out={name: label(why) for name, why in [*plan.left_out.items()][:_MOST_LEFT_OUT]},
        changes=_changes(plan, found, limits),
    )


def with_stays(own: model.Plan, other: model.Plan) -> model.Plan:
    """A plan as it is made from its file alone, with what `other`, which somebody made from its policy, says of what
    stays, and of the last run. What goes is that of the file. Unchanged if `other` is of another plan."""
    if other.sum != own.sum:
        return own
    kept = {
        (one.policy, one.repository): rows
        for one in other.groups
        if (rows := [row for row in one.rows if row.action == "KEEP"])
    }
    going = {
        (one.policy, one.repository): (one, rows)
        for one in own.groups
        if (rows := [row for row in one.rows if row.action != "KEEP"])
    }
    groups = [
        msgspec.structs.replace(one, rows=[*rows, *kept.get(key, ())], kept=_number(kept.get(key, ())))
        for key, (one, rows) in going.items()
    ]
    groups += [
        model.PlanGroup(policy=key[0], repository=key[1], removed=0, kept=_number(rows), frees=0, rows=rows)
        for key, rows in kept.items()
        if key not in going
    ]
    left_out = max(own.groups_left_out, len(other.groups) + other.groups_left_out - len(groups))
    return msgspec.structs.replace(own, groups=groups, groups_left_out=left_out, changes=other.changes)


def _number(rows: Iterable[model.PlanRow]) -> int:
    return sum(row.tags + row.untagged for row in rows)


def _kind(found: PlanFound) -> Literal["plan", "policy"]:
    return "plan" if found.is_file else "policy"


_Group = tuple[str, str]  # policy, repository
_Row = tuple[str, str]  # action, reason


@dataclass(slots=True)
class _Counted:
    """What is counted for a row."""

    tags: int = 0
    untagged: int = 0
    frees: int = 0
    images: list[model.PlanImage] = field(default_factory=list)


class _Groups:
    """The rows of a plan, by policy and repository."""

    def __init__(self, plan: Plan, judgement: Judgement | None, limits: Limits) -> None:
        self._plan = plan
        self._has_policies = plan.policy is not None or judgement is not None
        self._rows: dict[_Group, dict[_Row, _Counted]] = defaultdict(lambda: defaultdict(_Counted))
        self._owners: dict[tuple[str, str], str] = {}
        self._count_removed(limits)
        self._count_kept(judgement)

    def groups(self) -> list[model.PlanGroup]:
        """Those that free the most first."""
        found = [_group(key, rows) for key, rows in self._rows.items()]
        return sorted(found, key=lambda one: (-one.frees, -one.removed, one.repository, one.policy or ""))

    def _count_removed(self, limits: Limits) -> None:
        freed, along = freed_with(self._plan.steps), Counter(along_of(self._plan.steps).values())
        selected = [step for step in self._plan.steps if step.number in freed]
        named = {
            step.number for step in sorted(selected, key=lambda one: (-freed[one.number], one.number))[: limits.images]
        }
        for step in selected:
            policy, because = self._reason(step.because)
            action = "UNTAG" if step.action is Action.UNTAG else "REMOVE"
            row = self._rows[policy, step.repository][action, because]
            row.tags += len(step.tags)
            row.untagged += not step.tags
            row.frees += freed[step.number]
            if step.number in named:
                row.images.append(_image(step, freed[step.number], along[step.number]))

    def _count_kept(self, judgement: Judgement | None) -> None:
        owner: dict[tuple[str, Digest], str] = {}
        for verdict in judgement or ():
            owner[verdict.repository, verdict.facts.digest] = verdict.policy
            if verdict.policy and not verdict.goes:
                tags = () if verdict.facts.tag is None else (verdict.facts.tag,)
                self._keep(verdict.policy, verdict.repository, _kept_by(verdict), tags, verdict.facts.digest)
        for one in self._plan.kept:
            policy = owner.get((one.repository, one.digest), "")
            self._keep(policy, one.repository, kind_of_reason(one.reason), one.tags, one.digest)

    def _keep(self, policy: str, repository: str, because: str, tags: Sequence[Tag], digest: Digest) -> None:
        row = self._rows[label(policy), repository]["KEEP", label(because)]
        row.tags += len(tags)
        row.untagged += not tags
        if len(row.images) < _MOST_KEPT:
            row.images.append(model.PlanImage(tags=[*map(label, tags)], digest=digest))

    def _reason(self, because: str) -> tuple[str, str]:
        """The policy and the reason of a step."""
        policy, separator, reason = because.partition(": ") if self._has_policies else ("", "", because)
        return (label(policy), label(reason)) if separator else ("", label(because))


def _kept_by(verdict: Verdict) -> str:
    first = verdict.reasons[0]
    return first.text if first.kind in (ReasonKind.RULE, ReasonKind.NOT_SELECTED) else first.kind.value


def _image(step: Step, frees: int, along: int) -> model.PlanImage:
    return model.PlanImage(
        tags=[*map(label, step.tags)],
        digest=step.digest,
        frees=frees,
        size=step.size,
        along=along,
        created=step.created,
    )


def _group(key: _Group, rows: Mapping[_Row, _Counted]) -> model.PlanGroup:
    policy, repository = key
    made = [_row(action, because, counted) for (action, because), counted in rows.items()]
    going = [one for one in made if one.action != "KEEP"]
    return model.PlanGroup(
        policy=policy or None,
        repository=repository,
        removed=sum(one.tags + one.untagged for one in going),
        kept=sum(one.tags + one.untagged for one in made if one.action == "KEEP"),
        frees=sum(one.frees for one in going),
        rows=sorted(made, key=lambda one: (one.action == "KEEP", -one.frees, -one.tags, one.because)),
    )


def _row(action: str, because: str, counted: _Counted) -> model.PlanRow:
    images = sorted(counted.images, key=lambda one: (-one.frees, one.tags, one.digest))
    named = sum(max(len(one.tags), 1) for one in images)
    return model.PlanRow(
        action="UNTAG" if action == "UNTAG" else "KEEP" if action == "KEEP" else "REMOVE",
        because=because,
        tags=counted.tags,
        untagged=counted.untagged,
        frees=counted.frees,
        images=images,
        more=counted.tags + counted.untagged - named,
    )


def _changes(plan: Plan, found: PlanFound, limits: Limits) -> model.PlanChanges | None:
    record = found.compared
    if record is None:
        return None
    old = replace(record.plan, steps=tuple(_not_done(record.plan.steps, found.compared_left)))
    changes = plan_changes(old, plan)
    counts = Counter(one.change for one in changes)
    shown = [*map(_change, changes[: limits.changes])]
    return model.PlanChanges(
        run=label(record.run),
        when=record.started,
        new=counts[Change.NEW],
        moved=counts[Change.OTHER],
        no_longer=counts[Change.NO_LONGER],
        rows=shown,
        left_out=len(changes) - len(shown),
    )


def _change(one: PlanChange) -> model.Change:
    return model.Change(
        change=one.change.value,
        repository=one.repository,
        tag=None if one.tag is None else label(one.tag),
        digest=one.digest,
        was=one.was,
        frees=one.frees,
        size=one.size,
        created=one.created,
    )


def _not_done(steps: Iterable[Step], left: Removed) -> Iterator[Step]:
    """The steps but those that removed something which is still removed."""
    gone: dict[tuple[Repository, Digest], set[Tag]] = {
        (name, intent.manifest.digest): {*intent.tags} for name, intents in left.items() for intent in intents
    }
    for step in steps:
        tags = gone.get((step.repository, step.digest))
        if tags is None or not tags.issuperset(step.tags):
            yield step
