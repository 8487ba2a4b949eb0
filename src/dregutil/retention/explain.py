"""Why a tag is kept or removed: every rule and reference that applies to it, decisive or not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dregutil.oci.image import ImageDetails, known_date
from dregutil.retention.dates import bucket, came_as_built, date_of, latest_arrival
from dregutil.retention.ended import ended
from dregutil.retention.follow import subjects_of
from dregutil.retention.keep import Group, kept_by, number_of
from dregutil.retention.policy import (
    Calendar,
    KeepRule,
    LabelRule,
    Last,
    NamedIn,
    Order,
    ParsedPolicy,
    PolicySet,
    Within,
    named_group,
)
from dregutil.retention.pull_rules import PulledWithin
from dregutil.retention.pulled import pulled_text
from dregutil.retention.verdict import Decision, ReasonKind, Served, Verdict
from dregutil.select.quantity import age_as_written, duration_as_written
from dregutil.select.version import read_version

__all__ = ["Factor", "explain"]

_EXPLAINED = (  # by factors of their own
    ReasonKind.RULE,
    ReasonKind.NO_RULE,
    ReasonKind.NO_EXPIRY,
    ReasonKind.NOT_EXPIRED,
    ReasonKind.NOT_DOOMED,
    ReasonKind.MIN_AGE,
    ReasonKind.HELD,
)


@dataclass(frozen=True, slots=True)
class Factor:
    """A rule or a reference that applies to a tag: whether it keeps the tag, and why."""

    what: str
    keeps: bool
    text: str


def explain(policies: PolicySet, verdicts: Sequence[Verdict], verdict: Verdict, now: datetime) -> tuple[Factor, ...]:
    """The factors for one of `verdicts`, which are those of a whole repository."""
    if verdict.decision is Decision.FOLLOW:
        return _subjects(verdict, verdicts)
    found = [
        Factor(reason.kind.value, keeps=True, text=reason.text)
        for reason in verdict.reasons
        if reason.kind not in _EXPLAINED
    ]
    policy = next((one for one in policies.policies if one.name == verdict.policy), None)
    if policy is not None:
        found += _rules(policies, policy, verdicts, verdict, now)
        found += _date(verdict, now)
        found += _ended(policies, policy, verdict, now)
        found.append(_min_age(policy, verdict, now))
    found += _served(verdict.facts.served)
    for other in verdicts:
        if other.facts.digest == verdict.facts.digest and other is not verdict:
            stays = "which goes too" if other.goes else f"which stays ({other.reasons[0]})"
            found.append(Factor("same digest", not other.goes, f"'{other.facts.tag}', {stays}"))
        elif verdict.facts.digest in other.facts.contains:
            found.append(Factor("index", not other.goes, f"it is a child of {other.image}"))
    return tuple(found)


def _subjects(verdict: Verdict, verdicts: Sequence[Verdict]) -> tuple[Factor, ...]:
    """The subjects of a signature or other referrer, and whether they stay."""
    found = [
        Factor(
            "subject",
            other.decision is not Decision.REMOVE,
            f"{other.image}: {other.decision.value}, {', '.join(map(str, other.reasons))}",
        )
        for other in subjects_of(verdict, verdicts)
        if other is not verdict
    ]
    return tuple(found) or tuple(Factor("subject", keeps=False, text=reason.text) for reason in verdict.reasons)


def _rules(
    policies: PolicySet, policy: ParsedPolicy, verdicts: Sequence[Verdict], verdict: Verdict, now: datetime
) -> list[Factor]:
    mates = [one for one in verdicts if one.policy == policy.name and one.group == verdict.group]
    group = Group(
        [one.facts for one in mates],
        [None if one.dates is None else one.dates.others for one in mates],
        [None if one.facts.tag is None else read_version(one.facts.tag) for one in mates],
        policy.order,
        now,
        policies.zone,
        [() if one.dates is None else one.dates.late for one in mates],
        [number_of(policy, one.facts.tag) for one in mates],
    )
    place = mates.index(verdict)
    return [Factor(rule.text, place in kept_by(rule, group), _standing(rule, group, place)) for rule in policy.keep]


def _ended(policies: PolicySet, policy: ParsedPolicy, verdict: Verdict, now: datetime) -> list[Factor]:
    """Whether the tag has expired, and which lists name it; one of them is enough."""
    shares = verdict.date is None and date_of(verdict.facts, policy.unknown_date, now) is not None
    found = ended(
        policy,
        verdict.repository,
        verdict.facts,
        verdict.date,
        shares_date=shares,
        zone=policies.zone,
        now=now,
    )
    goes = any(one.goes for one in found)
    return [Factor(one.key, not goes, one.text) for one in found]


def _standing(rule: KeepRule, group: Group, place: int) -> str:
    newer = group.newer.get(place)
    if isinstance(rule, Last):
        return _place_in_order(rule, group, place)
    date = group.own_date(place)
    if isinstance(rule, Calendar):
        if date is None or newer is None:
            return "it is in none"
        key = bucket(date.astimezone(group.zone), rule.period)
        return f"it belongs to {'-'.join(f'{part:02}' for part in key)}"
    if isinstance(rule, Within):
        arrival = latest_arrival(group.facts[place], date)
        if arrival is None:
            return "its age is not known"
        age = age_as_written(group.now - arrival)
        if arrival == date:
            return f"it is {age} old"
        by_service = arrival == group.facts[place].served.pushed
        return f"it was pushed {age} ago, by the registry" if by_service else f"the records saw it appear {age} ago"
    if isinstance(rule, LabelRule):
        return _labels_of(rule, group.facts[place].content)
    if isinstance(rule, NamedIn):
        name = named_group(rule.regexes, rule.by, group.facts[place].tag or "") or "its group"
        return f"{name} is {'' if place in kept_by(rule, group) else 'not '}in the list"
    if isinstance(rule, PulledWithin):
        return pulled_text(rule, group.facts[place], group.now)
    return "it matches" if place in kept_by(rule, group) else "it does not match"


def _place_in_order(rule: Last, group: Group, place: int) -> str:
    newer = (group.newer_tags if rule.counts_tags else group.newer).get(place)
    if newer is None:
        return "it has no place in the order"
    by = {Order.TIME: "date", Order.VERSION: "version", Order.GROUP: "number"}[group.order]
    if newer >= rule.number and place in kept_by(rule, group):
        by = "when it appeared; by date"
    number = len(group.facts) if rule.counts_tags else len({one.digest for one in group.facts})
    return f"by {by}, {newer} newer of {number} {'tags' if rule.counts_tags else 'images'} in its group"


def _labels_of(rule: LabelRule, content: ImageDetails | None) -> str:
    """The values that an image has of the labels of a rule."""
    keys = dict.fromkeys(label.key for label in rule.labels)
    found = [f"{key}={value}" for key in keys if content is not None for value in sorted(content.marked(key))]
    return f"it has {', '.join(found)}" if found else f"it has no {' and no '.join(keys)}"


def _date(verdict: Verdict, now: datetime) -> list[Factor]:
    """Which date counts for a tag that the records saw appear: its creation date, or that of the crawl."""
    facts = verdict.facts
    created = known_date(facts.created, now)
    if facts.tag is None or facts.seen is None or created is None:
        return []
    if created > facts.seen:
        text = f"it was created {_moment(created)}, which counts: later than the crawl that saw it appear"
    elif came_as_built(facts, created):
        since = "" if facts.unseen is None else f" since the crawl of {_moment(facts.unseen)}, which did not find it"
        text = f"it was created {_moment(created)}, which counts: built{since}"
    else:
        if facts.unseen is None:
            why = "the crawl before is not known"
        elif facts.unseen >= facts.seen:
            why = "its image was known before"
        else:
            why = f"before the crawl of {_moment(facts.unseen)}, which did not find it"
        if facts.former is not None:
            why = f"and it was missing for a while, known before since {_moment(facts.former.known_since)}"
        text = f"the crawl of {_moment(facts.seen)}, which saw it appear, counts: created {_moment(created)}, {why}"
        text += "; others are judged by when it was created"
    return [Factor("date", keeps=False, text=text)]


def _served(served: Served) -> list[Factor]:
    """What the registry's service says; it keeps nothing by itself, but a lock does, which is a reason."""
    found = []
    if served.pushed is not None:
        found.append(Factor("pushed", keeps=False, text=f"{_moment(served.pushed)}, by the registry"))
    if served.pulled is not None or served.has_pulls:
        when = "never" if served.pulled is None else f"last {_moment(served.pulled)}"
        text = "; ".join((f"{when}, by the registry", *served.doubts))
        found.append(Factor("pulled", keeps=False, text=text))
    return found


def _moment(date: datetime) -> str:
    return f"{date.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _min_age(policy: ParsedPolicy, verdict: Verdict, now: datetime) -> Factor:
    keeps = any(reason.kind is ReasonKind.MIN_AGE for reason in verdict.reasons)
    date = date_of(verdict.facts, policy.unknown_date, now)
    text = "its age is not known" if date is None else f"it is {age_as_written(now - date)} old"
    if verdict.facts.known_since is not None:
        since = age_as_written(now - verdict.facts.known_since)
        is_tagged = verdict.facts.tag is not None
        text += f", known to the records for {since}" if is_tagged else f", and here without a tag for {since}"
    return Factor(f"min_age: {duration_as_written(policy.min_age)}", keeps, text)
