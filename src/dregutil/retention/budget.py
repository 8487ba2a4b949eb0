"""How much may stay, in bytes: of what nothing keeps, the oldest goes until the rest fits, and no more. Pure.

Measured is what tags reach: manifests, configs and layers, each once. Stored bytes are not: what was removed and not
collected yet would count, and each night would remove more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from dregutil.oci.names import Digest, Repository
from dregutil.retention.follow import follow
from dregutil.retention.policy import Budget, ParsedPolicy, PolicySet
from dregutil.retention.proposal import by_age, limited
from dregutil.retention.verdict import Decision, Judgement, Reason, ReasonKind, Verdict

__all__ = ["BudgetReport", "Reach", "oldest_until", "oldest_within", "within_budgets"]

Reach = Callable[[Digest], Mapping[Digest, int]]
"""Everything that a digest refers to, itself included, with sizes in bytes; empty if it was not read."""


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """What a policy with `keep_under` selects, in bytes: before, and once what goes is gone. `over`: it does not fit,
    because the rest is kept by something else."""

    policy: str
    budget: int
    before: int
    after: int

    @property
    def over(self) -> bool:
        return self.after > self.budget


def within_budgets(
    policies: PolicySet, judgement: Judgement, reach: Reach
) -> tuple[Judgement, tuple[BudgetReport, ...]]:
    """The judgement, in which policies with `keep_under` keep what fits; and what they reach."""
    reports: list[BudgetReport] = []
    for policy in policies.policies:
        if policy.keep_under is not None:
            judgement, report = _within(policy, policy.keep_under, judgement, reach)
            reports.append(report)
    return judgement, tuple(reports)


def oldest_within(
    judgement: Judgement,
    most: tuple[int | None, int | None],
    reach: Reach,
    held: Set[tuple[Repository, Digest]] = frozenset(),
) -> tuple[Verdict, ...]:
    """The verdicts that remove a tag: all of them, or those of the oldest images, up to `most` tags; or until so many
    bytes are freed. Images that are `held` are skipped."""
    tags, freed = most
    return limited(judgement, tags, held) if freed is None else oldest_until(judgement, freed, reach, held)


def oldest_until(
    judgement: Judgement, freed: int, reach: Reach, held: Set[tuple[Repository, Digest]] = frozenset()
) -> tuple[Verdict, ...]:
    """The verdicts that remove a tag: those of the oldest images, until no tag reaches `freed` bytes that one reached
    before. Images that are `held` are skipped."""
    weight = _Weight(judgement, reach)
    goal = weight.total - freed
    chosen: list[Verdict] = []
    for together in by_age(judgement.removed()):
        if weight.total <= goal:
            break
        if held.isdisjoint((verdict.repository, verdict.facts.digest) for verdict in together):
            chosen += together
            weight.take(together)
    return tuple(chosen)


def _within(policy: ParsedPolicy, budget: Budget, judgement: Judgement, reach: Reach) -> tuple[Judgement, BudgetReport]:
    weight = _Weight(judgement.of_policy(policy.name), reach)
    before = weight.total
    going = [verdict for verdict in judgement.of_policy(policy.name) if verdict.goes]
    stays: set[int] = set()
    for together in by_age(going):
        # A tag that goes alone frees nothing.
        if weight.total > budget.size and any(verdict.decision is Decision.REMOVE for verdict in together):
            weight.take(together)
        else:
            stays.update(map(id, together))
    kept = (Reason(ReasonKind.RULE, f"keep_under: {budget.text}"),)
    gone = (Reason(ReasonKind.NO_RULE, f"among the oldest beyond keep_under: {budget.text}"),)

    def decided(verdict: Verdict) -> Verdict:
        if verdict.policy != policy.name or not verdict.goes:
            return verdict
        if id(verdict) in stays:
            return replace(verdict, decision=Decision.KEEP, reasons=kept)
        return replace(verdict, reasons=(*gone, *(verdict.reasons if policy.keep else ())))

    verdicts = {name: follow(tuple(map(decided, found))) for name, found in judgement.verdicts.items()}
    return replace(judgement, verdicts=verdicts), BudgetReport(policy.name, budget.size, before, weight.total)


class _Weight:
    """What verdicts reach, in bytes, while some of their tags go."""

    def __init__(self, verdicts: Iterable[Verdict], reach: Reach) -> None:
        self._reach = reach
        self._tags = Counter(verdict.facts.digest for verdict in verdicts)
        self._holders: Counter[Digest] = Counter()
        sizes: dict[Digest, int] = {}
        for digest in self._tags:
            for blob, size in reach(digest).items():
                self._holders[blob] += 1
                sizes[blob] = size
        self.total = sum(sizes.values())

    def take(self, verdicts: Sequence[Verdict]) -> None:
        """Take the tags of `verdicts` away."""
        for verdict in verdicts:
            digest = verdict.facts.digest
            self._tags[digest] -= 1
            if self._tags[digest]:
                continue
            for blob, size in self._reach(digest).items():
                self._holders[blob] -= 1
                if not self._holders[blob]:
                    self.total -= size
