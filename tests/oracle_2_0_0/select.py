"""Which policy owns a tag, and to which group of it the tag belongs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from dregutil.oci.names import Repository, parse_signature_tag
from dregutil.retention.policy import Order, ParsedPolicy, ParsedSelect, PolicySet, applies_to
from dregutil.retention.verdict import TagFacts
from oracle_2_0_0.keep import holds_range, version_of
from oracle_2_0_0.version import Version

__all__ = ["group_of", "is_counted", "matching_tags", "overlaps", "owner_of", "selects", "selects_name"]


def is_counted(facts: TagFacts) -> bool:
    """Whether a tag is judged at all: signatures and other referrers live and die with their subject."""
    return facts.subject is None and (facts.tag is None or parse_signature_tag(facts.tag) is None)


def selects_name(select: ParsedSelect, tag: str) -> bool:
    """Whether a tag's name alone does not rule it out."""
    if select.untagged:
        return False
    if select.tags and not any(glob.matches(tag) for glob in select.tags):
        return False
    if select.regexes and not any(regex.fullmatch(tag) for regex in select.regexes):
        return False
    return not select.versions or holds_range(version_of(tag), select.versions)  # type: ignore[arg-type]


def selects(select: ParsedSelect, facts: TagFacts) -> bool:
    """Whether a selector picks a tag; its content must have been read where labels are asked for."""
    if facts.tag is None:
        return select.untagged
    return selects_name(select, facts.tag) and (
        not select.labels
        or any(label.key in facts.labels and label.value in (None, facts.labels[label.key]) for label in select.labels)
    )


def owner_of(policies: Iterable[ParsedPolicy], facts: TagFacts) -> tuple[ParsedPolicy | None, bool]:
    """The first of `policies` (of a repository) that picks a tag; and whether that is certain.

    It is not where a label decides and the content could not be read.
    """
    for policy in policies:
        if policy.select.labels and facts.unread and facts.tag is not None:
            if selects_name(policy.select, facts.tag):
                return policy, False
        elif selects(policy.select, facts):
            return policy, True
    return None, True


def group_of(policy: ParsedPolicy, tag: str | None, version: Version | None) -> tuple[str, ...] | None:
    """The group of a tag inside of its repository; None where it has no version to be grouped by."""
    if tag is None:
        return ()
    found: list[str] = []
    if policy.order is Order.VERSION and version is not None and version.word:
        found.append(version.word)  # `release-1.0` and `1.0` have no order between them
    for key in policy.group_by:
        name = _GROUPERS[key](version) if key in _GROUPERS and version is not None else _named(policy, key, tag)
        if name is None:
            return None
        found.append(name)
    return tuple(found)


def overlaps(
    policies: PolicySet, repositories: Mapping[Repository, Sequence[TagFacts]]
) -> Mapping[tuple[str, str], int]:
    """Pairs of policies of which the second would have picked tags that the first owns, with how many."""
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
    """How many tags a policy's repositories and names pick, whoever owns them."""
    return sum(
        selects_name(policy.select, tag)
        for repository, tags in repositories.items()
        if applies_to(policy, repository)
        for tag in tags
    )


def _named(policy: ParsedPolicy, name: str, tag: str) -> str | None:
    for regex in policy.select.regexes:
        found = regex.fullmatch(tag)
        if found is not None and name in regex.groupindex:
            return found[name] or ""
    return None


def _prefix(length: int) -> Callable[[Version], str]:
    def name(version: Version) -> str:
        numbers = (*version.numbers, *(0,) * length)[:length]
        return ".".join(map(str, (*([version.word] if version.word else ()), *numbers)))

    return name


def _variant(version: Version) -> str:
    return "".join(text or str(number) for number, text in version.variant)


_GROUPERS: Mapping[str, Callable[[Version], str]] = {"major": _prefix(1), "minor": _prefix(2), "variant": _variant}
