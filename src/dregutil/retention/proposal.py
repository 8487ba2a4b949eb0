"""Verdicts → selection: the digests that a cleanup would remove, within the limits of its policies. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.policy import PolicySet
from dregutil.retention.verdict import Decision, Judgement, ReasonKind, Verdict
from dregutil.select.selection import HeldBack, Selected, Selection

__all__ = [
    "PolicySummary",
    "RuleSummary",
    "by_age",
    "kept_alone",
    "limited",
    "rule_summaries",
    "selection_of",
    "summaries",
    "surprises",
]

_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """How many tags a policy removes or, with `untagged`, manifests without a tag. `allowed` is its `max_remove` as
    written; `refused`: it would remove more than that."""

    name: str
    selected: int
    removed: int
    allowed: str
    refused: bool
    untagged: bool = False

    @property
    def kept(self) -> int:
        return self.selected - self.removed

    @property
    def taken(self) -> str:
        return f"{self.removed:,} of {self.selected:,} {'untagged manifests' if self.untagged else 'tags'}"


@dataclass(frozen=True, slots=True)
class RuleSummary:
    """How many `tags` a reason keeps, and how many of them it `alone` keeps. Without it, at most `frees` more bytes
    would come back."""

    policy: str
    rule: str
    tags: int
    alone: int
    frees: int


def limited(
    judgement: Judgement, number: int | None, held: Set[tuple[Repository, Digest]] = frozenset()
) -> tuple[Verdict, ...]:
    """The verdicts that remove a tag; with a limit, those of the oldest images, up to `number` tags.

    An image goes with all of its tags, and an index with those of its children that go; such a group is as old as its
    newest member. A group that does not fit, or that is `held`, is skipped, and the next one is tried.
    """
    going = list(judgement.removed())
    if number is None or len(going) <= number:
        return tuple(going)
    chosen: list[Verdict] = []
    for together in by_age(going):
        if any((verdict.repository, verdict.facts.digest) in held for verdict in together):
            continue
        if len(chosen) + len(together) <= number:
            chosen += together
    return tuple(chosen)


def by_age(going: Iterable[Verdict]) -> Sequence[Sequence[Verdict]]:
    """Verdicts that remove a tag, in groups that can only go together, the oldest first: an image goes with all of its
    tags, and an index with those of its children that go."""
    return sorted(_units(going), key=lambda found: max(verdict.date or _FIRST for verdict in found))


def _units(going: Iterable[Verdict]) -> Iterable[Sequence[Verdict]]:
    """The groups that can only go together: the tags of an image, and the images of an index."""
    images: dict[tuple[Repository, Digest], list[Verdict]] = defaultdict(list)
    for verdict in going:
        images[verdict.repository, verdict.facts.digest].append(verdict)
    first = {image: image for image in images}

    def root(image: tuple[Repository, Digest]) -> tuple[Repository, Digest]:
        while first[image] != image:
            first[image] = image = first[first[image]]
        return image

    for (repository, digest), verdicts in images.items():
        for child in verdicts[0].facts.contains:
            if (repository, child) in images:
                first[root((repository, child))] = root((repository, digest))
    found: dict[tuple[Repository, Digest], list[Verdict]] = defaultdict(list)
    for image, verdicts in images.items():
        found[root(image)] += verdicts
    return found.values()


def selection_of(policies: PolicySet, going: Iterable[Verdict]) -> Selection:
    """The selection for the plan: the digests of `going`, and the tags that are removed alone."""
    untagging = {policy.name for policy in policies.policies if policy.untag}
    removed: dict[tuple[Repository, Digest], list[Verdict]] = defaultdict(list)
    held: list[HeldBack] = []
    for verdict in going:
        if verdict.decision is Decision.UNTAG:
            reason = verdict.reasons[-1].text
            held.append(HeldBack(verdict.repository, verdict.facts.digest, _tags([verdict]), reason))
        else:
            removed[verdict.repository, verdict.facts.digest].append(verdict)
    return Selection(
        tuple(
            Selected(
                repository,
                digest,
                _tags(verdicts),
                because=f"{verdicts[0].policy}: {verdicts[0].reasons[0]}",
                may_untag=all(verdict.policy in untagging for verdict in verdicts),
            )
            for (repository, digest), verdicts in removed.items()
        ),
        tuple(held),
    )


def summaries(policies: PolicySet, judgement: Judgement, going: Sequence[Verdict]) -> tuple[PolicySummary, ...]:
    """A summary of each policy, in order."""
    selected = Counter(verdict.policy for verdict in judgement)
    removed = Counter(verdict.policy for verdict in going)
    return tuple(
        PolicySummary(
            policy.name,
            selected[policy.name],
            removed[policy.name],
            policy.max_remove.text,
            not policy.max_remove.allows(removed[policy.name], selected[policy.name]),
            policy.select.untagged,
        )
        for policy in policies.policies
    )


def kept_alone(verdict: Verdict) -> tuple[str, str] | None:
    """The policy and the only reason that keep a tag; None if there are several reasons, or no policy."""
    keys = _keepers(verdict)
    return keys.pop() if len(keys) == 1 else None


def rule_summaries(judgement: Judgement, frees: Mapping[tuple[str, str], int]) -> tuple[RuleSummary, ...]:
    """What each reason keeps, and what it alone keeps; sorted by policy, and then by what keeps the most.

    `frees`: by policy and reason, the bytes that would come back without it.
    """
    tags: Counter[tuple[str, str]] = Counter()
    alone: Counter[tuple[str, str]] = Counter()
    for verdict in judgement:
        keys = _keepers(verdict)
        tags.update(keys)
        if len(keys) == 1:
            alone.update(keys)
    found = [RuleSummary(*key, number, alone[key], frees.get(key, 0)) for key, number in tags.items()]
    return tuple(sorted(found, key=lambda rule: (rule.policy, -rule.frees, rule.rule)))


def surprises(judgement: Judgement) -> tuple[tuple[Repository, int, int], ...]:
    """The repositories that lose more than half of their tags, worst first: name, removed tags, all tags."""
    found = []
    for repository, verdicts in judgement.verdicts.items():
        tagged = [verdict for verdict in verdicts if verdict.facts.tag is not None]
        found.append((repository, sum(verdict.goes for verdict in tagged), len(tagged)))
    most = (entry for entry in found if entry[1] * 2 > entry[2])
    return tuple(sorted(most, key=lambda entry: (-entry[1] / entry[2], -entry[1])))


def _shown(kind: ReasonKind, text: str) -> str:
    return text if kind is ReasonKind.RULE else kind.value


def _keepers(verdict: Verdict) -> set[tuple[str, str]]:
    if verdict.goes or not verdict.policy:
        return set()
    return {(verdict.policy, _shown(reason.kind, reason.text)) for reason in verdict.reasons}


def _tags(verdicts: Iterable[Verdict]) -> tuple[Tag, ...]:
    return tuple(verdict.facts.tag for verdict in verdicts if verdict.facts.tag is not None)
