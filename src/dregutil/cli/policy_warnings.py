"""What a policy's selectors do not find in a registry: told by `policy check --against` and by `cleanup`."""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.inventory import Inventory
from dregutil.policyfile import Mistake
from dregutil.retention import PolicySet
from dregutil.retention.policy import applies_to
from dregutil.retention.select import matching_tags

__all__ = ["vain_selectors"]


def vain_selectors(policies: PolicySet, inventory: Inventory) -> Iterator[Mistake]:
    """What in a policy picks nothing in this registry: most often a slip, and never a reason to remove."""
    tags = inventory.as_mapping()
    for policy in policies.policies:
        if not any(applies_to(policy, repository) for repository in tags):
            yield Mistake(
                policy.line, policy.column, f"{policy.name!r} selects nothing: none of its globs names a repository"
            )
        elif policy.select.untagged:
            yield Mistake(
                policy.line,
                policy.column,
                f"{policy.name!r} selects nothing: the API lists no manifests without a tag; doctor --storage does",
            )
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
