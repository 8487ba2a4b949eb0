"""Which policy owns a tag, and in which of its groups the tag is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from dregutil.oci.names import Repository, parse_signature_tag
from dregutil.retention.dates import date_for_others
from dregutil.retention.keep import may_be_in_range, takes_range
from dregutil.retention.policy import Order, ParsedPolicy, ParsedSelect, PolicySet, applies_to, named_group
from dregutil.retention.verdict import TagFacts
from dregutil.select.content_selector import Match
from dregutil.select.version import Reading, Version, read_version

__all__ = [
    "group_of",
    "is_counted",
    "matching_tags",
    "may_select_name",
    "overlaps",
    "owner_of",
    "selects",
    "selects_name",
]


def is_counted(facts: TagFacts) -> bool:
    """Whether a tag is judged by rules: signatures and other referrers follow their subject."""
    return facts.subject is None and (facts.tag is None or parse_signature_tag(facts.tag) is None)


def selects_name(select: ParsedSelect, tag: str) -> bool:
    """Whether a selector matches a tag, judging by its name."""
    return _names(select, tag) and _takes(select, tag)


def may_select_name(select: ParsedSelect, tag: str) -> bool:
    """Whether a selector may match a tag, judging by its name, also if its version is doubtful."""
    return _match(select, tag) is not None


def _match(select: ParsedSelect, tag: str) -> bool | None:
    """Whether a selector certainly matches a tag, judging by its name; None if it does not match."""
    if not _names(select, tag):
        return None
    if not select.versions:
        return True
    reading = read_version(tag)
    if takes_range(reading, select.versions):
        return True
    return False if reading.is_doubtful and may_be_in_range(reading, select.versions) else None


def _names(select: ParsedSelect, tag: str) -> bool:
    if select.untagged:
        return False
    if select.tags and not any(glob.matches(tag) for glob in select.tags):
        return False
    return not select.regexes or any(regex.fullmatch(tag) for regex in select.regexes)


def selects(select: ParsedSelect, facts: TagFacts) -> bool:
    """Whether a selector matches a tag, apart from its content. If it has labels, the content must have been read."""
    if facts.tag is None:
        return select.untagged
    return selects_name(select, facts.tag) and _has_label(select, facts)


def owner_of(policies: Iterable[ParsedPolicy], facts: TagFacts, now: datetime) -> tuple[ParsedPolicy | None, bool]:
    """The first of a repository's `policies` that selects a tag, and whether that is certain.

    It is not certain if the content decides and could not be read, or has no date and the age decides, or if the
    version is doubtful.
    """
    for policy in policies:
        select = policy.select
        if facts.tag is None:
            if select.untagged:
                return policy, True
        elif (is_certain := _match(select, facts.tag)) is not None:
            if select.reads_content and facts.unread:
                return policy, False
            found = _content(policy, facts, now) if _has_label(select, facts) else Match.NO
            if found is not Match.NO:
                return policy, is_certain and found is Match.YES
    return None, True


def _takes(select: ParsedSelect, tag: str) -> bool:
    """Whether a tag is certainly in one of the ranges, if there are any."""
    return not select.versions or takes_range(read_version(tag), select.versions)


def _content(policy: ParsedPolicy, facts: TagFacts, now: datetime) -> Match:
    """Whether the content of a tag is what its policy selects. Its date is the one by which others are judged: when it
    came here makes no difference, so that a tag that comes late or returns changes no selection."""
    content, details = policy.select.content, facts.content
    if not content:
        return Match.YES
    if details is None:
        return Match.NO
    return content.match(replace(details, created=date_for_others(facts, policy.unknown_date, now)), now)


def _has_label(select: ParsedSelect, facts: TagFacts) -> bool:
    return not select.labels or any(
        label.key in facts.labels and label.value in (None, facts.labels[label.key]) for label in select.labels
    )


def group_of(policy: ParsedPolicy, tag: str | None, reading: Reading | None) -> tuple[str, ...] | None:
    """The group of a tag in its repository; None if it has no version to group by.

    A tag that can be read in two ways shares a group only with tags that can be read in the same two ways.
    """
    if tag is None:
        return ()
    version = None if reading is None else reading.meant
    found: list[str] = []
    if policy.order is Order.VERSION and version is not None and version.word:
        found.append(version.word)  # `release-1.0` and `1.0` have no order between them
    for key in policy.group_by:
        name = (
            _GROUPERS[key](version)
            if key in _GROUPERS and version is not None
            else named_group(policy.select.regexes, key, tag)
        )
        if name is None:
            return None
        found.append(name)
        if key in _GROUPERS and reading is not None and reading.literal is not None:
            literal = _GROUPERS[key](reading.literal)
            found += [] if literal == name else [literal]
    return tuple(found)


def overlaps(
    policies: PolicySet, repositories: Mapping[Repository, Sequence[TagFacts]]
) -> Mapping[tuple[str, str], int]:
    """How many tags the first policy of each pair owns that the second would have selected."""
    found: Counter[tuple[str, str]] = Counter()
    for repository, facts in repositories.items():
        applying = [policy for policy in policies.policies if applies_to(policy, repository)]
        if len(applying) < 2:
            continue
        for one in facts:
            if is_counted(one):
                picking = [policy.name for policy in applying if selects(policy.select, one)]
                found.update((picking[0], other) for other in picking[1:])
    return found


def matching_tags(policy: ParsedPolicy, repositories: Mapping[Repository, Iterable[str]]) -> int:
    """How many tags a policy selects by name, whichever policy owns them."""
    return sum(
        selects_name(policy.select, tag)
        for repository, tags in repositories.items()
        if applies_to(policy, repository)
        for tag in tags
    )


def _prefix(length: int) -> Callable[[Version], str]:
    def name(version: Version) -> str:
        numbers = (*version.numbers, *(0,) * length)[:length]
        return ".".join(map(str, (*([version.word] if version.word else ()), *numbers)))

    return name


def _variant(version: Version) -> str:
    return "".join(text or str(number) for number, text in version.variant)


_GROUPERS: Mapping[str, Callable[[Version], str]] = {"major": _prefix(1), "minor": _prefix(2), "variant": _variant}
