"""Lists of names, such as living branches → which groups of a policy have one of these names. Pure.

Names are compared as slugs, as GitLab makes them for CI_COMMIT_REF_SLUG.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from dregutil.errors import RefusedError
from dregutil.retention.policy import All, KeepRule, NamedIn, PolicySet, named_group
from dregutil.select.quantity import age_as_written, duration_as_written

__all__ = ["NamesFile", "is_named", "list_sizes", "name_rules", "read_names", "slug", "with_names"]

_LONGEST_SLUG = 63
_FEWEST_LOST = 3  # a list of three branches that loses one is no page of a longer list
_PREFIX = re.compile(r"refs/(?:heads|tags|remotes/[^/]+)/|(?:remotes/)?origin/")
_NUMBER = re.compile(r"refs/(?:pull|merge-requests)/(\d+)/(?:head|merge)")


@dataclass(frozen=True, slots=True)
class NamesFile:
    """A list as it was read: its text and its age."""

    text: str
    age: timedelta


def slug(name: str) -> str:
    """Lower case, all but `a-z` and `0-9` as `-`, cut to 63 characters, without `-` at the ends."""
    return re.sub("[^a-z0-9]", "-", name.lower())[:_LONGEST_SLUG].strip("-")


def read_names(rule: NamedIn, file: NamesFile, before: int = 0, when: str = "at the last cleanup") -> NamedIn:
    """`rule` with the names of its list: one in each line, as they are or as `git branch` and `git ls-remote` print
    them. `before`: how many it had, and `when`.

    Raises RefusedError if the list is empty, too old, JSON, or much shorter than it was.
    """
    what, limit = f"the list {rule.file} of names", rule.max_age
    if limit is not None and file.age > limit:
        raise RefusedError(
            f"{what} is {age_as_written(file.age)} old, and max_age is {duration_as_written(limit)}",
            advice="make it again; nothing was removed",
        )
    names = {words[-1] for line in file.text.splitlines() if (words := line.split())}
    if not names:
        raise RefusedError(f"{what} is empty", advice="nothing was removed: without names, all groups would go")
    if file.text.lstrip()[0] in "[{":
        raise RefusedError(f"{what} is JSON", advice="write one name in each line, such as with jq -r '.[].name'")
    if before - len(names) >= _FEWEST_LOST and before - len(names) >= rule.max_shrink * before:
        raise RefusedError(
            f"{what} has {len(names):,} names, and had {before:,} {when}",
            advice="is it one page of a longer list? if not, set max_shrink: 100% for one run; nothing was removed",
        )
    slugs = frozenset(slug(one) for name in names for one in _spellings(name))
    return replace(rule, names=slugs, size=len(names), age=file.age)


def _spellings(name: str) -> Iterator[str]:
    """A name, and the branch or the number of the pull request that it means."""
    yield name
    yield _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
    if number := _NUMBER.fullmatch(name):
        yield number[1]


def is_named(rule: NamedIn, tag: str) -> bool:
    """Whether the group of a tag is in the list, or that is not known: the list was not read, or it has no name."""
    found = slug(named_group(rule.regexes, rule.by, tag) or "")
    return rule.names is None or not found or found in rule.names


def name_rules(policies: PolicySet) -> Iterator[NamedIn]:
    """All rules with a list of names."""

    def within(rules: Iterable[KeepRule]) -> Iterator[NamedIn]:
        for rule in rules:
            if isinstance(rule, All):
                yield from within(rule.rules)
            elif isinstance(rule, NamedIn):
                yield rule

    for policy in policies.policies:
        yield from within(policy.keep)


def with_names(policies: PolicySet, read: Callable[[NamedIn], NamedIn]) -> PolicySet:
    """Policies with the lists of names that `read` returns."""

    def bound(rule: KeepRule) -> KeepRule:
        if isinstance(rule, All):
            return replace(rule, rules=tuple(map(bound, rule.rules)))
        return read(rule) if isinstance(rule, NamedIn) else rule

    if not any(name_rules(policies)):
        return policies
    made = (replace(policy, keep=tuple(map(bound, policy.keep))) for policy in policies.policies)
    return replace(policies, policies=tuple(made))


def list_sizes(policies: PolicySet) -> Mapping[str, int]:
    """How many names each list has that was read."""
    return {rule.file: rule.size for rule in name_rules(policies) if rule.names is not None}
