"""A floor under policies: what they cannot go below, whoever wrote them. Pure."""

from __future__ import annotations

from dataclasses import replace

from dregutil.retention.policy import Floor, ParsedPolicy, PolicySet

__all__ = ["with_floor"]


def with_floor(policies: PolicySet, floor: Floor) -> PolicySet:
    """Policies that keep and protect at least what `floor` does. Its rules apply in the groups and the order of each
    policy; of two values of `min_age` and `max_remove`, the safer one counts."""
    return replace(
        policies,
        policies=tuple(_raised(policy, floor) for policy in policies.policies),
        protect=policies.protect.joined(floor.protect),
    )


def _raised(policy: ParsedPolicy, floor: Floor) -> ParsedPolicy:
    rules = tuple(replace(rule, text=f"floor: {rule.text}") for rule in floor.keep)
    return replace(
        policy,
        keep=(*policy.keep, *rules),
        min_age=policy.min_age if floor.min_age is None else max(policy.min_age, floor.min_age),
        max_remove=policy.max_remove if floor.max_remove is None else policy.max_remove.joined(floor.max_remove),
    )
