"""What the lists of policies say by now of what a saved plan would remove. Pure.

A list of names that has the group of a tag since the plan was made keeps the tag; an image that a list of images to
remove no longer names stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.doomed import names_image
from dregutil.retention.names import slug
from dregutil.retention.policy import NamedIn, ParsedPolicy, PolicySet, applies_to, flat, named_group

__all__ = ["lists_naming", "named_since", "no_longer_doomed"]


def lists_naming(policies: PolicySet, repository: Repository, tag: Tag) -> tuple[str, ...]:
    """The lists of names that have the group of a tag."""
    rules = (rule for policy in _applying(policies, repository) for rule in _name_rules(policy))
    return tuple(dict.fromkeys(rule.file for rule in rules if _has_group(rule, tag)))


def named_since(policies: PolicySet, repository: Repository, tag: Tag, before: Collection[str]) -> str:
    """A list of names that has the group of a tag and is none of `before`, which had it when the plan was made; empty
    if there is none. Where a rule asks for other things as well, these count as given: they were not judged again."""
    for policy in _applying(policies, repository):
        for rule in policy.keep:
            lists = [one for one in flat((rule,)) if isinstance(one, NamedIn)]
            if lists and all(_has_group(one, tag) for one in lists):
                for one in lists:
                    if one.file not in before:
                        return one.file
    return ""


def no_longer_doomed(
    policies: PolicySet, repository: Repository, digest: Digest, doomed_by: Iterable[tuple[str, Sequence[str]]]
) -> Mapping[Tag | None, str]:
    """The tags that none of the lists names any more without which they would stay, each with its lists; None for a
    manifest without a tag. `doomed_by`: these lists, by tag."""
    entries = [one for policy in policies.policies for one in policy.doomed]
    found: dict[Tag | None, str] = {}
    for name, files in doomed_by:
        tag = Tag(name) if name else None
        if not any(one.file in files and names_image(one, repository, tag, digest) for one in entries):
            found[tag] = ", ".join(files)
    return found


def _applying(policies: PolicySet, repository: Repository) -> Iterator[ParsedPolicy]:
    return (policy for policy in policies.policies if applies_to(policy, repository))


def _name_rules(policy: ParsedPolicy) -> Iterator[NamedIn]:
    return (rule for rule in flat(policy.keep) if isinstance(rule, NamedIn))


def _has_group(rule: NamedIn, tag: Tag) -> bool:
    """Whether the group of a tag certainly is in the list."""
    found = slug(named_group(rule.regexes, rule.by, tag) or "")
    return bool(found) and rule.names is not None and found in rule.names
