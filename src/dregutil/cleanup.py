"""Verdicts → selection: which digests a cleanup asks to remove, and what its policies say about how much. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dregutil.reference import Digest, Repository, Tag
from dregutil.retention import Decision, Judgement, PolicySet, ReasonKind, Verdict
from dregutil.selection import HeldBack, Selected, Selection

__all__ = ["PolicySummary", "RuleSummary", "limited", "rule_summaries", "selection_of", "summaries", "surprises"]

_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """What a policy takes. `allowed` is its `max_remove` as written, `refused`: it takes more than that."""

    name: str
    selected: int
    removed: int
    allowed: str
    refused: bool

    @property
    def kept(self) -> int:
        return self.selected - self.removed


@dataclass(frozen=True, slots=True)
class RuleSummary:
    """What a reason keeps: `tags`; `alone`: those that nothing else keeps, on images of `size` bytes in all."""

    policy: str
    rule: str
    tags: int
    alone: int
    size: int


def limited(judgement: Judgement, number: int | None) -> tuple[Verdict, ...]:
    """The verdicts that take a tag away; with a limit, those of the oldest images, whole, up to `number` tags."""
    going = list(judgement.removed())
    if number is None or len(going) <= number:
        return tuple(going)
    images: dict[tuple[Repository, Digest], list[Verdict]] = defaultdict(list)
    for verdict in going:
        images[verdict.repository, verdict.facts.digest].append(verdict)
    chosen: list[Verdict] = []
    for verdicts in sorted(images.values(), key=lambda found: max(verdict.date or _FIRST for verdict in found)):
        if len(chosen) + len(verdicts) > number:
            break
        chosen += verdicts
    return tuple(chosen)


def selection_of(policies: PolicySet, going: Iterable[Verdict]) -> Selection:
    """What the plan is made from: the digests of `going`, and the tags that go alone."""
    untagging = {policy.name for policy in policies.policies if policy.untag}
    removed: dict[tuple[Repository, Digest], list[Verdict]] = defaultdict(list)
    held: list[HeldBack] = []
    for verdict in going:
        if verdict.decision is Decision.UNTAG:
            reason = verdict.reasons[-1].text
            held.append(HeldBack(verdict.repository, verdict.facts.digest, (verdict.facts.tag,), reason))
        else:
            removed[verdict.repository, verdict.facts.digest].append(verdict)
    return Selection(
        tuple(
            Selected(
                repository,
                digest,
                tuple(verdict.facts.tag for verdict in verdicts),
                because=f"{verdicts[0].policy}: {verdicts[0].reasons[0]}",
                may_untag=all(verdict.policy in untagging for verdict in verdicts),
            )
            for (repository, digest), verdicts in removed.items()
        ),
        tuple(held),
    )


def summaries(policies: PolicySet, judgement: Judgement, going: Sequence[Verdict]) -> tuple[PolicySummary, ...]:
    """A summary for each policy, in their order."""
    selected = Counter(verdict.policy for verdict in judgement)
    removed = Counter(verdict.policy for verdict in going)
    return tuple(
        PolicySummary(
            policy.name,
            selected[policy.name],
            removed[policy.name],
            policy.max_remove.text,
            not policy.max_remove.allows(removed[policy.name], selected[policy.name]),
        )
        for policy in policies.policies
    )


def rule_summaries(judgement: Judgement) -> tuple[RuleSummary, ...]:
    """What each reason keeps, and what of it nothing else does; policies and rules in the order of their size."""
    tags: Counter[tuple[str, str]] = Counter()
    alone: dict[tuple[str, str], dict[tuple[Repository, Tag], Verdict]] = defaultdict(dict)
    for verdict in judgement:
        if verdict.goes or not verdict.policy:
            continue
        keys = {(verdict.policy, _shown(reason.kind, reason.text)) for reason in verdict.reasons}
        tags.update(keys)
        if len(keys) == 1:
            alone[keys.pop()][verdict.repository, verdict.facts.tag] = verdict
    found = [RuleSummary(*key, number, len(alone[key]), _bytes(alone[key])) for key, number in tags.items()]
    return tuple(sorted(found, key=lambda rule: (rule.policy, -rule.size, rule.rule)))


def surprises(judgement: Judgement, number: int = 5) -> tuple[tuple[Repository, int, int], ...]:
    """The repositories that lose more than half of their tags, worst first: name, tags that go, all tags."""
    found = [
        (repository, sum(verdict.goes for verdict in verdicts), len(verdicts))
        for repository, verdicts in judgement.verdicts.items()
    ]
    worst = sorted(
        (entry for entry in found if entry[1] * 2 > entry[2]), key=lambda entry: (-entry[1] / entry[2], -entry[1])
    )
    return tuple(worst[:number])


def _shown(kind: ReasonKind, text: str) -> str:
    return text if kind is ReasonKind.RULE else kind.value


def _bytes(verdicts: Mapping[tuple[Repository, Tag], Verdict]) -> int:
    return sum({verdict.facts.digest: verdict.facts.size for verdict in verdicts.values()}.values())
