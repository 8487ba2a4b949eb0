"""Policies and facts about tags → a verdict for each tag, with all reasons. Pure; `now` is passed in.

Keep takes precedence over remove. Rules decide about tags; the plan decides about manifests, by reachability.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.dates import date_for_others, dates_of, is_new, is_old_enough, latest_arrival, shared_dates
from dregutil.retention.ended import ended, removes_only_some
from dregutil.retention.follow import follow
from dregutil.retention.keep import Group, kept_by, number_of
from dregutil.retention.policy import Order, ParsedPolicy, PolicySet, applies_to
from dregutil.retention.select import group_of, is_counted, owner_of
from dregutil.retention.verdict import Dates, Decision, InUse, Judgement, Reason, ReasonKind, TagFacts, Verdict
from dregutil.select.quantity import duration_as_written
from dregutil.select.version import Reading, read_version

__all__ = ["judge", "judge_repository"]

_NOT_SELECTED = Reason(ReasonKind.NOT_SELECTED, "no policy selects it")
_UNKNOWN_DATE = Reason(ReasonKind.UNKNOWN_DATE, "its date is unknown")
_UNREAD_DATE = Reason(ReasonKind.UNKNOWN_DATE, "its date was not read")
_SAME_DATE = Reason(ReasonKind.SAME_DATE, "most of its group has the same date")
_NO_VERSION = Reason(ReasonKind.NO_VERSION, "it is no version, so it has no place in the order")
_NO_NUMBER = Reason(ReasonKind.NO_VERSION, "it has no number, so it has no place in the order")
_DOUBTFUL = Reason(ReasonKind.NO_VERSION, "whether it is a version that its policy selects is doubtful")
_DOUBTFUL_AGE = Reason(ReasonKind.UNKNOWN_DATE, "its date is unknown, so whether its policy selects it is doubtful")
_NO_GROUP = Reason(ReasonKind.NO_VERSION, "it is no version, so it belongs to no group")
_NOT_EMPTIED = Reason(ReasonKind.NOT_EMPTIED, "the newest of its repository, which is never emptied")
_PROTECTED_REPOSITORY = Reason(ReasonKind.PROTECTED, "its repository is protected")

# Reasons that keep a tag regardless of the rules.
_WITHOUT_RULES = (
    ReasonKind.NOT_SELECTED,
    ReasonKind.PROTECTED,
    ReasonKind.IN_USE,
    ReasonKind.UNREAD,
    ReasonKind.MIN_AGE,
    ReasonKind.NO_EXPIRY,
    ReasonKind.NOT_DOOMED,
)


def judge(
    policies: PolicySet,
    repositories: Mapping[Repository, Sequence[TagFacts]],
    *,
    now: datetime,
    in_use: InUse | None = None,
) -> Judgement:
    """Judge every tag. The order of the tags does not matter."""
    used = in_use or InUse()
    return Judgement(
        now,
        {
            repository: judge_repository(policies, repository, facts, now=now, in_use=used)
            for repository, facts in repositories.items()
        },
    )


def judge_repository(
    policies: PolicySet, repository: Repository, facts: Sequence[TagFacts], *, now: datetime, in_use: InUse
) -> tuple[Verdict, ...]:
    """The verdicts of one repository, in the order of `facts`."""
    work = _Work(policies, repository, [_Draft(one) for one in facts], now)
    work.own()
    for (policy, group), drafts in work.groups().items():
        for draft in drafts:
            draft.group = group  # one tuple for all
        work.judge_group(work.policy(policy), drafts)
    work.protect(in_use)
    work.keep_one()
    return work.verdicts()


@dataclass(slots=True, eq=False)
class _Draft:
    """A verdict in progress. `is_certain`: its policy certainly selects the tag. `is_counted`: rules judge it."""

    facts: TagFacts
    policy: ParsedPolicy | None = None
    is_certain: bool = True
    is_counted: bool = True
    reading: Reading | None = None
    group: tuple[str, ...] | None = None
    dates: Dates | None = None  # if they are plausible
    shares_date: bool = False
    is_new: bool = True
    ended: str = ""
    doomed_by: tuple[str, ...] = ()
    reasons: list[Reason] = field(default_factory=list)

    @property
    def date(self) -> datetime | None:
        return None if self.dates is None else self.dates.own

    @property
    def date_for_others(self) -> datetime | None:
        return None if self.dates is None else self.dates.others


class _Work:
    """Judges one repository."""

    def __init__(self, policies: PolicySet, repository: Repository, drafts: list[_Draft], now: datetime) -> None:
        self.policies = policies
        self.repository = repository
        self.drafts = [draft for draft in drafts if draft.facts.missing_since is None]
        self.missing = [draft for draft in drafts if draft.facts.missing_since is not None]
        self.now = now
        self._applying = {policy.name: policy for policy in policies.policies if applies_to(policy, repository)}
        self._counted: list[_Draft] = []
        self._missing_on: dict[Digest, TagFacts] = {}
        self._by_rule: dict[str, Reason] = {}
        self._reasons: dict[tuple[int, ...], tuple[Reason, ...]] = {}
        self._no_rule: dict[str, tuple[Reason, ...]] = {}

    def policy(self, name: str) -> ParsedPolicy:
        return self._applying[name]

    def own(self) -> None:
        """Assign each tag to the first policy that selects it."""
        applying = tuple(self._applying.values())
        for draft in (*self.drafts, *self.missing):
            draft.is_counted = is_counted(draft.facts)
            if not draft.is_counted:
                continue
            draft.policy, draft.is_certain = owner_of(applying, draft.facts, self.now)
            if draft.facts.missing_since is not None:
                continue
            self._counted.append(draft)
            if draft.policy is None:
                draft.reasons.append(_NOT_SELECTED)
            if draft.facts.unread:
                draft.reasons.append(Reason(ReasonKind.UNREAD, f"its content was not read: {draft.facts.unread}"))
            elif draft.policy is not None and not draft.is_certain:
                needs_date = draft.policy.select.content.older_than is not None
                date = date_for_others(draft.facts, draft.policy.unknown_date, self.now)
                draft.reasons.append(_DOUBTFUL_AGE if needs_date and date is None else _DOUBTFUL)

    def groups(self) -> Mapping[tuple[str, tuple[str, ...]], list[_Draft]]:
        """The tags of each policy and group, including missing ones. A tag without a group is kept."""
        found: dict[tuple[str, tuple[str, ...]], list[_Draft]] = defaultdict(list)
        for draft in (*self._counted, *self.missing):
            policy = draft.policy
            if policy is None or not draft.is_certain:
                continue
            if draft.facts.tag is not None and (policy.order is Order.VERSION or policy.group_by):
                draft.reading = read_version(draft.facts.tag)
            draft.group = group_of(policy, draft.facts.tag, draft.reading)
            if draft.group is None:
                draft.reasons.append(_NO_GROUP)
            else:
                found[policy.name, draft.group].append(draft)
        return found

    def judge_group(self, policy: ParsedPolicy, drafts: Sequence[_Draft]) -> None:
        """Add the reasons to keep the tags of one group: rules, unknown dates and versions, `min_age`."""
        drafts = self._dated(policy, drafts)
        group = Group(
            [draft.facts for draft in drafts],
            [draft.date_for_others for draft in drafts],
            [draft.reading for draft in drafts],
            policy.order,
            self.now,
            self.policies.zone,
            [() if draft.dates is None else draft.dates.late for draft in drafts],
            [number_of(policy, draft.facts.tag) for draft in drafts] if policy.order is Order.GROUP else (),
        )
        for rule in policy.keep:
            reason = self._by_rule.setdefault(rule.text, Reason(ReasonKind.RULE, rule.text))
            for place in kept_by(rule, group):
                drafts[place].reasons.append(reason)
        self._end(policy, drafts)
        self._came_later(policy, drafts)
        if policy.order is Order.GROUP and policy.ranks:
            for draft, number in zip(drafts, group.numbers, strict=True):
                draft.reasons += [_NO_NUMBER] if number is None else []
        needs_version = policy.order is Order.VERSION and policy.ranks
        uses_dates = policy.uses_dates
        for draft in drafts:
            date = draft.date
            if uses_dates and date is None:
                not_dated = _UNREAD_DATE if draft.facts.unread else _UNKNOWN_DATE
                draft.reasons.append(_SAME_DATE if draft.shares_date else not_dated)
            if needs_version and (draft.reading is None or draft.reading.meant is None):
                draft.reasons.append(_NO_VERSION)
            if not is_old_enough(draft.facts, date, policy.min_age, self.now):
                draft.reasons.append(_young(policy, draft, self.now))
                draft.is_new = is_new(draft.facts, draft.dates, policy.min_age, self.now)

    def _end(self, policy: ParsedPolicy, drafts: Sequence[_Draft]) -> None:
        """Add the reasons of what has not expired and is in no list, if the policy removes only what is."""
        for draft in drafts if removes_only_some(policy) else ():
            found = ended(
                policy,
                self.repository,
                draft.facts,
                draft.date,
                shares_date=draft.shares_date,
                zone=self.policies.zone,
                now=self.now,
            )
            going = [one for one in found if one.goes]
            draft.ended = ", ".join(one.text for one in going)
            draft.doomed_by = tuple(one.file for one in going) if all(one.file for one in going) else ()
            if not draft.ended and not draft.facts.unread:
                draft.reasons.append(self._by_rule.setdefault(found[-1].text, Reason(found[-1].kind, found[-1].text)))

    def _came_later(self, policy: ParsedPolicy, drafts: Sequence[_Draft]) -> None:
        """Add the reason of what the policy selects as old and came here less long ago than that."""
        age = policy.select.content.older_than
        for draft in drafts if age is not None else ():
            arrival = latest_arrival(draft.facts, draft.date)
            if age is not None and (arrival is None or self.now - arrival <= age):
                text = f"not known to be here for {duration_as_written(age)}"
                draft.reasons.append(self._by_rule.setdefault(text, Reason(ReasonKind.CAME_LATER, text)))

    def _dated(self, policy: ParsedPolicy, drafts: Sequence[_Draft]) -> Sequence[_Draft]:
        """The tags of a group that are not missing, with their dates.

        A date that most of them share is not plausible, nor is one that most would share if no tag were missing: a list
        that omits some tags makes no date plausible.
        """
        dates = [dates_of(draft.facts, policy.unknown_date, self.now) for draft in drafts]
        shared = shared_dates([draft.facts for draft in drafts], dates)
        here = [place for place, draft in enumerate(drafts) if draft.facts.missing_since is None]
        if len(here) < len(drafts):
            found = shared_dates([drafts[place].facts for place in here], [dates[place] for place in here])
            shared = shared | {here[place] for place in found}
        for place in here:
            drafts[place].shares_date = place in shared
            drafts[place].dates = None if place in shared else dates[place]
        return [drafts[place] for place in here]

    def protect(self, in_use: InUse) -> None:
        """Add the reasons that take precedence over rules: protected names, images in use, locks."""
        protect = self.policies.protect
        whole = any(glob.matches(self.repository) for glob in protect.repositories)
        for draft in self._counted:
            found = [_PROTECTED_REPOSITORY] if whole else []
            found += [
                Reason(ReasonKind.PROTECTED, f"protected: {glob.text}")
                for glob in protect.tags
                if draft.facts.tag is not None and glob.matches(draft.facts.tag)
            ]
            content = draft.facts.content
            found += [
                Reason(ReasonKind.PROTECTED, f"protected: label {label.text}")
                for label in protect.labels
                if content is not None and label.marks(content)
            ]
            used = in_use.list_of(self.repository, draft.facts)
            if used:
                found.append(Reason(ReasonKind.IN_USE, f"in use: {used}"))
            if draft.facts.held is not None:
                kind = ReasonKind.PUT_BACK if draft.facts.held.run else ReasonKind.ON_HOLD
                found.append(Reason(kind, draft.facts.held.reason))
            if draft.facts.served.locked:
                found.append(Reason(ReasonKind.LOCKED, f"the registry does not delete it: {draft.facts.served.locked}"))
            if found:
                draft.reasons[:0] = found

    def keep_one(self) -> None:
        """Keep the newest, unless something in this repository is kept for another reason than rules and their dates.

        This does not depend on what the rules keep: adding a rule must never remove another tag, and neither must a tag
        that appears late or returns. Manifests without a tag count only if there is no tag at all.
        """
        counted = [draft for draft in self._counted if draft.facts.tag is not None] or self._counted
        if any(
            reason.kind in _WITHOUT_RULES and (draft.is_new or reason.kind is not ReasonKind.MIN_AGE)
            for draft in counted
            for reason in draft.reasons
        ):
            return
        may_go = [draft for draft in counted if draft.policy is not None and not draft.policy.allow_empty]
        for draft in _newest(may_go, self.now):
            if not draft.reasons:
                draft.reasons.append(_NOT_EMPTIED)

    def verdicts(self) -> tuple[Verdict, ...]:
        holders: dict[Digest, Tag] = {}
        for draft in self.drafts:
            digest, tag = draft.facts.digest, draft.facts.tag
            if tag is not None and (draft.reasons or not draft.is_counted):
                holders[digest] = min(tag, holders.get(digest, tag))
        for draft in self.missing:
            if draft.facts.tag is not None:
                self._missing_on.setdefault(draft.facts.digest, draft.facts)
        found = [self._verdict(draft, holders) for draft in self.drafts]
        return tuple(found) if len(self._counted) == len(found) else follow(found)

    def _verdict(self, draft: _Draft, holders: Mapping[Digest, Tag]) -> Verdict:
        policy, decision = draft.policy, Decision.KEEP
        # Most tags of a repository have the same few reasons, each of which is one object: they share the tuple.
        reasons = self._reasons.setdefault(tuple(map(id, draft.reasons)), tuple(draft.reasons))
        if not draft.is_counted:
            return Verdict(self.repository, draft.facts, Decision.FOLLOW, ())
        if not reasons and policy is not None:
            reasons = self._removing(policy, draft)
            holder = holders.get(draft.facts.digest)
            missing = self._missing_on.get(draft.facts.digest)
            if missing is not None:
                reasons = (_held_by_missing(missing), *reasons)
            elif holder is None:
                decision = Decision.REMOVE
            else:
                held = Reason(ReasonKind.HELD, f"its digest is also '{holder}', which stays")
                decision = Decision.UNTAG if policy.untag else Decision.KEEP
                reasons = (*reasons, held) if policy.untag else (held, *reasons)
        name = "" if policy is None else policy.name
        dates = (draft.date, draft.dates)
        doomed_by = draft.doomed_by
        return Verdict(self.repository, draft.facts, decision, reasons, name, draft.group or (), *dates, doomed_by)

    def _removing(self, policy: ParsedPolicy, draft: _Draft) -> tuple[Reason, ...]:
        """Why nothing keeps a tag."""
        beyond = () if draft.ended and not policy.keep else self._no_rule.setdefault(policy.name, (_no_rule(policy),))
        return (Reason(ReasonKind.NO_RULE, draft.ended), *beyond) if draft.ended else beyond


def _held_by_missing(missing: TagFacts) -> Reason:
    since = "" if missing.missing_since is None else f" {missing.missing_since:%Y-%m-%d %H:%M} UTC"
    return Reason(ReasonKind.HELD, f"its digest is also '{missing.tag}', which is missing since{since}")


def _young(policy: ParsedPolicy, draft: _Draft, now: datetime) -> Reason:
    limit, since = duration_as_written(policy.min_age), draft.facts.young_since
    if since is not None and now - since < policy.min_age:
        return Reason(ReasonKind.MIN_AGE, f"counts as younger than min_age: {limit}, because the records were lost")
    date = draft.date
    text = f"not known to be older than min_age: {limit}" if date is None else f"younger than min_age: {limit}"
    return Reason(ReasonKind.MIN_AGE, text)


def _no_rule(policy: ParsedPolicy) -> Reason:
    if not policy.keep:
        return Reason(ReasonKind.NO_RULE, "keep: none")
    return Reason(ReasonKind.NO_RULE, f"beyond {', '.join(rule.text for rule in policy.keep)}")


def _newest(drafts: Sequence[_Draft], now: datetime) -> Sequence[_Draft]:
    """The newest of a repository, with ties: by version if every policy orders by version, otherwise by each date.

    By version, these are the newest of each way to read them.
    """
    if all(draft.policy is not None and draft.policy.order is Order.VERSION for draft in drafts):
        return _newest_by_version(drafts) or _newest_by_date(drafts, now) or drafts
    return _newest_by_date(drafts, now) or _newest_by_version(drafts) or drafts


def _newest_by_version(drafts: Sequence[_Draft]) -> Sequence[_Draft]:
    readings = [read_version(draft.facts.tag) if draft.facts.tag is not None else None for draft in drafts]
    best = {
        max((version for version in versions if version is not None), default=None)
        for versions in (
            [None if reading is None else reading.meant for reading in readings],
            [None if reading is None else reading.literal for reading in readings],
        )
    } - {None}
    return [
        draft
        for draft, reading in zip(drafts, readings, strict=True)
        if best and reading is not None and {reading.meant, reading.literal} & best
    ]


def _newest_by_date(drafts: Sequence[_Draft], now: datetime) -> Sequence[_Draft]:
    dates = [
        (found, draft)
        for draft in drafts
        if draft.policy is not None and (found := dates_of(draft.facts, draft.policy.unknown_date, now)) is not None
    ]
    if not dates:
        return ()
    latest = max(found.others for found, _ in dates)
    came_last = max((found.first, found.others) for found, _ in dates)
    came_back_last = max((found.own, found.others) for found, _ in dates)
    return [
        draft
        for found, draft in dates
        if found.others == latest
        or (found.first, found.others) == came_last
        or (found.own, found.others) == came_back_last
    ]
