"""Why a policy that removes only some images removes one: it has expired, or a list names it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from dregutil.oci.names import Repository
from dregutil.retention.doomed import names_image
from dregutil.retention.expiry import expiry_of
from dregutil.retention.policy import ParsedPolicy
from dregutil.retention.verdict import ReasonKind, TagFacts

__all__ = ["Ended", "ended", "removes_only_some"]


@dataclass(frozen=True, slots=True)
class Ended:
    """Whether an image may go, and why or why not. `kind` is for the reason that keeps it; `key` is the policy's.
    `file`: the list that says it, if one does."""

    key: str
    goes: bool
    text: str
    kind: ReasonKind = ReasonKind.NO_RULE
    file: str = ""


def removes_only_some(policy: ParsedPolicy) -> bool:
    """Whether a policy removes only what has expired or is in a list."""
    return policy.expires is not None or bool(policy.doomed)


def ended(
    policy: ParsedPolicy,
    repository: Repository,
    facts: TagFacts,
    date: datetime | None,
    *,
    shares_date: bool,
    zone: tzinfo,
    now: datetime,
) -> tuple[Ended, ...]:
    """What each key of the policy says of a tag with this (plausible) date; it goes if one says so."""
    found: list[Ended] = []
    for entry in policy.doomed:
        named = names_image(entry, repository, facts.tag, facts.digest)
        text = f"it is {'' if named else 'not '}in {entry.file}"
        found.append(Ended(f"doomed: {entry.file}", named, text, ReasonKind.NOT_DOOMED, entry.file))
    if policy.expires is not None:
        expiry = expiry_of(policy.expires, facts, date, zone, now, shares_date=shares_date)
        kind = ReasonKind.NO_EXPIRY if expiry.by_content else ReasonKind.NOT_EXPIRED
        found.append(Ended(f"expires: {policy.expires.label}", expiry.is_over(now), expiry.text, kind))
    return tuple(found)
