"""Selectors of a policy that match nothing in a registry: shown by `policy check --against` and by `cleanup`."""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.inventory.tags import Inventory
from dregutil.inventory.untagged import UntaggedManifests
from dregutil.retention.policy import PolicySet, applies_to
from dregutil.retention.policyfile import Mistake
from dregutil.retention.select import matching_tags

__all__ = ["unmatched_selectors"]

_NONE_UNTAGGED = (
    "no untagged manifest is known here; the records know those that lost their last tag since they began, "
    "--storage PATH shows all"
)


def unmatched_selectors(policies: PolicySet, inventory: Inventory, untagged: UntaggedManifests) -> Iterator[Mistake]:
    """The selectors of a policy that match nothing in this registry: usually a mistake in the policy."""
    tags = inventory.as_mapping()
    for policy in policies.policies:
        if not any(applies_to(policy, repository) for repository in (*tags, *untagged.found)):
            yield Mistake(
                policy.line, policy.column, f"{policy.name!r} selects nothing: none of its globs names a repository"
            )
        elif policy.select.untagged:
            if not any(untagged.roots(name) for name in untagged.found if applies_to(policy, name)):
                yield Mistake(policy.line, policy.column, f"{policy.name!r} selects nothing: {_NONE_UNTAGGED}")
        elif not matching_tags(policy, tags):
            yield Mistake(
                policy.line, policy.column, f"{policy.name!r} selects nothing: no tag in its repositories matches"
            )
    for glob in policies.protect.repositories:
        if not any(glob.matches(repository) for repository in tags):
            yield Mistake(1, 1, f"protect: no repository matches {glob.text!r}")
    for glob in policies.protect.tags:
        if not any(glob.matches(tag) for found in tags.values() for tag in found):
            yield Mistake(1, 1, f"protect: no tag matches {glob.text!r}")
