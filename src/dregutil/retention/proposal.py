"""Verdicts → selection: which digests a cleanup asks to remove, and what its policies say about how much. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention import Decision, Judgement, PolicySet, ReasonKind, Verdict
from dregutil.select.selection import HeldBack, Selected, Selection

__all__ = [
    "PolicySummary",
    "RuleSummary",
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
    """What a policy takes, in tags, or, with `untagged`, in manifests without one. `allowed` is its `max_remove` as
    written, `refused`: it takes more than that."""

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
    """What a reason keeps: `tags`; `alone`: those that nothing else keeps. Without it, at most `frees` bytes more would
    come back."""

    policy: str
    rule: str
    tags: int
    alone: int
    frees: int


def limited(
    judgement: Judgement, number: int | None, held: Set[tuple[Repository, Digest]] = frozenset()
) -> tuple[Verdict, ...]:
    """The verdicts that take a tag away; with a limit, those of the oldest images, up to `number` tags.

    An image goes whole. An index and those of its children that go are one, as old as the newest of them, since none of
    them goes alone. One that does not fit is passed over for the next; so is what is `held`.
    """
    going = list(judgement.removed())
    if number is None or len(going) <= number:
        return tuple(going)
    chosen: list[Verdict] = []
    for together in sorted(_units(going), key=lambda found: max(verdict.date or _FIRST for verdict in found)):
        if any((verdict.repository, verdict.facts.digest) in held for verdict in together):
            continue
        if len(chosen) + len(together) <= number:
            chosen += together
    return tuple(chosen)


def _units(going: Iterable[Verdict]) -> Iterable[Sequence[Verdict]]:
    """What can only go together: the tags of an image, and the images of an index."""
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
    """What the plan is made from: the digests of `going`, and the tags that go alone."""
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
            policy.select.untagged,
        )
        for policy in policies.policies
    )


def kept_alone(verdict: Verdict) -> tuple[str, str] | None:
    """The policy and the reason that alone keep what a verdict is on; None where several do, or no policy."""
    keys = _keepers(verdict)
    return keys.pop() if len(keys) == 1 else None


def rule_summaries(judgement: Judgement, frees: Mapping[tuple[str, str], int]) -> tuple[RuleSummary, ...]:
    """What each reason keeps, and what of it nothing else does; of each policy first what keeps the most.

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


def surprises(judgement: Judgement, number: int = 5) -> tuple[tuple[Repository, int, int], ...]:
    """The repositories that lose more than half of their tags, worst first: name, tags that go, all tags."""
    found = []
    for repository, verdicts in judgement.verdicts.items():
        tagged = [verdict for verdict in verdicts if verdict.facts.tag is not None]
        found.append((repository, sum(verdict.goes for verdict in tagged), len(tagged)))
    worst = sorted(
        (entry for entry in found if entry[1] * 2 > entry[2]), key=lambda entry: (-entry[1] / entry[2], -entry[1])
    )
    return tuple(worst[:number])


def _shown(kind: ReasonKind, text: str) -> str:
    return text if kind is ReasonKind.RULE else kind.value


def _keepers(verdict: Verdict) -> set[tuple[str, str]]:
    if verdict.goes or not verdict.policy:
        return set()
    return {(verdict.policy, _shown(reason.kind, reason.text)) for reason in verdict.reasons}


def _tags(verdicts: Iterable[Verdict]) -> tuple[Tag, ...]:
    return tuple(verdict.facts.tag for verdict in verdicts if verdict.facts.tag is not None)
