"""Why a policy removes what a plan says, as far as that may change before the plan is carried out. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Grounds, Plan, Step, StepKind
from dregutil.pulls.pull import Pull, Source
from dregutil.retention.lists_since import lists_naming, named_since, no_longer_doomed
from dregutil.retention.names import name_rules
from dregutil.retention.policy import PolicySet, applies_to
from dregutil.retention.pulled import asks_for_pulls, longest_pulled_within, newly_unknown
from dregutil.retention.verdict import Judgement, Verdict

__all__ = ["Since", "since_by_lists", "since_by_pulls", "with_grounds"]

_ROOTS = (StepKind.IMAGE, StepKind.INDEX)
_NEVER = datetime.min.replace(tzinfo=UTC)

Since: TypeAlias = Mapping[tuple[Repository, Digest], Mapping[Tag | None, str]]
"""Why images stay since the plan was made: by tag, or None for the digest."""


def with_grounds(plan: Plan, policies: PolicySet, judgement: Judgement) -> Plan:
    """`plan` with what the lists of `policies` and the recorded pulls said of its images when they were judged."""
    by_names, by_pulls = any(name_rules(policies)), asks_for_pulls(policies)
    if not (by_names or by_pulls or any(policy.doomed for policy in policies.policies)):
        return plan
    wanted = {(step.repository, step.digest) for step in plan.steps}
    verdicts: dict[tuple[Repository, Digest], list[Verdict]] = defaultdict(list)
    for verdict in judgement:
        image = verdict.repository, verdict.facts.digest
        if image in wanted:
            verdicts[image].append(verdict)

    def grounds(step: Step) -> Grounds:
        found = verdicts.get((step.repository, step.digest), ())
        named = [(tag, lists_naming(policies, step.repository, tag)) for tag in step.tags if by_names]
        doomed = [(one.facts.tag or "", one.doomed_by) for one in found if one.goes]
        pulls = [one.facts.pull.at for one in found if by_pulls and one.facts.pull is not None]
        return Grounds(
            tuple((tag, files) for tag, files in named if files),
            tuple((tag, files) for tag, files in doomed if files),
            max(pulls, default=None),
        )

    return replace(plan, steps=tuple(replace(step, grounds=grounds(step)) for step in plan.steps))


def since_by_lists(plan: Plan, policies: PolicySet) -> Since:
    """What of a plan stays by the lists of `policies` as they are now: a list of names has it since the plan was made,
    or no list of images to remove has it any more."""
    found: dict[tuple[Repository, Digest], Mapping[Tag | None, str]] = {}
    by_names = any(name_rules(policies))
    for step in plan.steps:
        gone = no_longer_doomed(policies, step.repository, step.digest, step.grounds.doomed_by)
        reasons: dict[Tag | None, str] = {tag: f"no longer in {files}" for tag, files in gone.items()}
        before = dict(step.grounds.named_in)
        for tag in step.tags if by_names else ():
            name = named_since(policies, step.repository, tag, before.get(tag, ()))
            if name:
                reasons[tag] = f"named by now: {name}"
        if reasons:
            found[step.repository, step.digest] = reasons
    return found


def since_by_pulls(
    plan: Plan,
    policies: PolicySet,
    sources: Sequence[Source],
    now: datetime,
    last: Callable[[Step], Pull | None],
) -> Since:
    """What of a plan stays by what is known of pulls now: it was pulled since the plan was made, a pull that counts
    became known since then, or pulls are not recorded any more. `last` returns the last pull of a step."""
    made = plan.made_at.replace(microsecond=0)  # a pull in the second of the plan may have come after it
    unknown = newly_unknown(policies, sources, made, now)
    found: dict[tuple[Repository, Digest], Mapping[Tag | None, str]] = {}
    for repository, steps in plan.by_repository.items():
        counts_since = made - longest_pulled_within(policies, repository)
        is_unknown = any(applies_to(policy, repository) for policy in unknown)
        for step in steps:
            why = _pulled_text(step, last(step), made, counts_since)
            if not why and is_unknown and step.kind in _ROOTS:
                why = "whether it was pulled since the plan was made is not recorded"
            if why:
                found[repository, step.digest] = {None: why}
    return found


def _pulled_text(step: Step, pull: Pull | None, made: datetime, counts_since: datetime) -> str:
    """Why a pull keeps the image of a step; empty if it does not. `counts_since`: from when pulls keep anything."""
    if pull is None:
        return ""
    if pull.at >= made:
        return "pulled since the plan was made"
    # Pulls of what goes along with a root are among those of the root.
    is_new = step.kind in _ROOTS and pull.at > (step.grounds.pulled or _NEVER)
    return f"known by now: pulled on {pull.at:%Y-%m-%d %H:%M} UTC" if is_new and pull.at > counts_since else ""
