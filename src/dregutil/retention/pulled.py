"""Recorded pulls and policies: since when pulls are known, and which tags `pulled_within` keeps. Pure.

A pull is a reason to keep, and its absence is one only where it is known: before the recording began, and where it has
a long gap, everything counts as pulled. More recorded pulls never remove more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dregutil.oci.names import Repository
from dregutil.pulls.coverage import recorded_since
from dregutil.pulls.pull import Source, SourceKind
from dregutil.retention.policy import All, KeepRule, ParsedPolicy, PolicySet, applies_to
from dregutil.retention.pull_rules import PulledWithin, PullSource
from dregutil.retention.verdict import TagFacts
from dregutil.select.quantity import age_as_written

__all__ = [
    "asks_for_pulls",
    "is_unknown",
    "known_since",
    "longest_pulled_within",
    "newly_unknown",
    "pulled_text",
    "was_pulled",
    "with_pulls",
]

_ALWAYS = datetime.min.replace(tzinfo=UTC)


def asks_for_pulls(policies: PolicySet) -> bool:
    """Whether a rule depends on pulls."""
    return any(True for policy in policies.policies for _ in _rules(policy.keep))


def with_pulls(policies: PolicySet, sources: Sequence[Source], now: datetime) -> PolicySet:
    """Policies whose rules know since when pulls are recorded. `sources`: what has recorded them, and when."""
    relied_on = policies.protect.pulls
    since = known_since(relied_on, sources, now)
    by_server = any(one.kind is SourceKind.SERVER for one in relied_on)

    def bound(rule: KeepRule) -> KeepRule:
        if isinstance(rule, All):
            return replace(rule, rules=tuple(map(bound, rule.rules)))
        if not isinstance(rule, PulledWithin):
            return rule
        found = replace(rule, since=since, by_server=by_server)
        return replace(found, text=f"{rule.text} ({_recorded_text(found, now)})") if is_unknown(found, now) else found

    made = (replace(policy, keep=tuple(map(bound, policy.keep))) for policy in policies.policies)
    return replace(policies, policies=tuple(made))


def known_since(relied_on: Sequence[PullSource], sources: Sequence[Source], now: datetime) -> datetime | None:
    """Since when all of `relied_on` have recorded every pull, but for short gaps; None if one has not, or there is
    none. What the registry's service says is of any time."""
    found: list[datetime] = []
    for one in relied_on:
        if one.kind is SourceKind.SERVER:
            since: datetime | None = _ALWAYS
        else:
            since = recorded_since(_relied_on(one, sources), now, one.max_gap)
        if since is None:
            return None
        found.append(since if one.since is None else max(since, one.since))
    return max(found, default=None)


def _relied_on(entry: PullSource, sources: Sequence[Source]) -> Sequence[Source]:
    """The sources that must have recorded: all of a kind, or those of the logs that are named, also one that has
    recorded nothing."""
    found = [source for source in sources if source.kind is entry.kind]
    if entry.names is None:
        return found
    missing = entry.names - {source.name for source in found}
    return [*(one for one in found if one.name in entry.names), *(Source(entry.kind, name) for name in missing)]


def longest_pulled_within(policies: PolicySet, repository: Repository) -> timedelta:
    """The longest time for which a pull keeps anything in a repository; zero if none does."""
    applying = (policy for policy in policies.policies if applies_to(policy, repository))
    return max((rule.age for policy in applying for rule in _rules(policy.keep)), default=timedelta(0))


def newly_unknown(
    policies: PolicySet, sources: Sequence[Source], made_at: datetime, now: datetime
) -> tuple[ParsedPolicy, ...]:
    """The policies with a rule for which pulls were recorded long enough when a plan was made, and are not now."""
    before, after = (with_pulls(policies, sources, moment).policies for moment in (made_at, now))
    return tuple(
        policy
        for policy, then, since in zip(policies.policies, before, after, strict=True)
        if any(
            is_unknown(later, now) and not is_unknown(earlier, made_at)
            for earlier, later in zip(_rules(then.keep), _rules(since.keep), strict=True)
        )
    )


def is_unknown(rule: PulledWithin, now: datetime) -> bool:
    """Whether pulls are not recorded for as long as a rule asks."""
    return rule.since is None or rule.since > now - rule.age


def unknown_rules(policies: PolicySet, now: datetime) -> tuple[str, ...]:
    """The rules of `with_pulls` for which everything counts as pulled, each with the reason."""
    rules = (rule for policy in policies.policies for rule in _rules(policy.keep))
    return tuple(dict.fromkeys(rule.text for rule in rules if is_unknown(rule, now)))


def was_pulled(rule: PulledWithin, facts: TagFacts, now: datetime) -> bool:
    """Whether a tag was pulled lately, or that is not known. A tag that came lately is for the caller."""
    after = now - rule.age
    served = facts.served
    if is_unknown(rule, now) or (rule.by_server and not served.has_pulls):
        return True
    return any(at is not None and at > after for at in (served.pulled, None if facts.pull is None else facts.pull.at))


def pulled_text(rule: PulledWithin, facts: TagFacts, now: datetime) -> str:
    """When a tag was last pulled, by whom, and how that is known."""
    served, pull = facts.served.pulled, facts.pull
    if pull is not None and (served is None or pull.at >= served):
        by = f" by {pull.agent}" if pull.agent else ""
        told = f"it was pulled {age_as_written(max(now - pull.at, timedelta(0)))} ago{by} ({pull.source.value})"
    elif served is not None:
        told = f"it was pulled {age_as_written(max(now - served, timedelta(0)))} ago, by the registry"
    else:
        told = "no pull of it is known"
    if rule.by_server and not facts.served.has_pulls:
        return f"{told}; the registry does not say when it was pulled"
    return f"{told}; {_recorded_text(rule, now)}"


def _recorded_text(rule: PulledWithin, now: datetime) -> str:
    if rule.since is None:
        return "pulls are not recorded"
    if rule.since == _ALWAYS:
        return "by the registry"
    if is_unknown(rule, now):
        return f"recorded for {(now - rule.since).days} of {rule.age.days} days"
    return f"recorded since {rule.since:%Y-%m-%d}"


def _rules(rules: Iterable[KeepRule]) -> Iterator[PulledWithin]:
    for rule in rules:
        if isinstance(rule, All):
            yield from _rules(rule.rules)
        elif isinstance(rule, PulledWithin):
            yield rule
