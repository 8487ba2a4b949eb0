"""Selectors of a policy that match nothing in a registry: shown by `policy check --against` and by `cleanup`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from dregutil.cli.output import plural
from dregutil.inventory.tags import Inventory
from dregutil.inventory.untagged import UntaggedManifests
from dregutil.oci.names import Repository
from dregutil.retention.expiry import inherited_value, unreadable_values
from dregutil.retention.policy import ParsedPolicy, PolicySet, applies_to
from dregutil.retention.policyfile import Mistake
from dregutil.retention.select import is_counted, matching_tags, owner_of
from dregutil.retention.verdict import TagFacts

__all__ = ["at", "expiry_warnings", "unmatched_selectors"]

_MOST_NAMED = 3

_NONE_UNTAGGED = (
    "no untagged manifest is known here; the records know those that lost their last tag since they began, "
    "--storage PATH shows all"
)


def at(policy: ParsedPolicy, text: str) -> Mistake:
    """A warning at the place of a policy."""
    return Mistake(policy.line, policy.column, text, file=policy.file)


def unmatched_selectors(policies: PolicySet, inventory: Inventory, untagged: UntaggedManifests) -> Iterator[Mistake]:
    """The selectors of a policy that match nothing in this registry: usually a mistake in the policy."""
    tags = inventory.as_mapping()
    for policy in policies.policies:
        if not any(applies_to(policy, repository) for repository in (*tags, *untagged.found)):
            yield at(policy, f"{policy.name!r} selects nothing: none of its globs names a repository")
        elif policy.select.untagged:
            if not any(untagged.roots(name) for name in untagged.found if applies_to(policy, name)):
                yield at(policy, f"{policy.name!r} selects nothing: {_NONE_UNTAGGED}")
        elif not matching_tags(policy, tags):
            yield at(policy, f"{policy.name!r} selects nothing: no tag in its repositories matches")
    for glob in policies.protect.repositories:
        if not any(glob.matches(repository) for repository in tags):
            yield Mistake(1, 1, f"protect: no repository matches {glob.text!r}")
    for glob in policies.protect.tags:
        if not any(glob.matches(tag) for found in tags.values() for tag in found):
            yield Mistake(1, 1, f"protect: no tag matches {glob.text!r}")


def expiry_warnings(policies: PolicySet, repositories: Mapping[Repository, Sequence[TagFacts]]) -> Iterator[Mistake]:
    """Expiry dates that cannot be read, and those that most images of a repository share, for each policy."""
    now = datetime.now(UTC)
    for policy in policies.policies:
        if policy.expires is None:
            continue
        label, unreadable = policy.expires.label, list[str]()
        for repository, facts in repositories.items():
            applying = [one for one in policies.policies if applies_to(one, repository)]
            own = [one for one in facts if is_counted(one) and owner_of(applying, one, now)[0] is policy]
            found = unreadable_values(policy.expires, own, policies.zone)
            unreadable += [f"{repository}{one.name} ({value})" for one, value in found]
            shared = inherited_value(policy.expires, own)
            if shared is not None:
                value, having, images = shared
                text = f"{policy.name!r}: {having:,} of {images:,} images of {repository} have {label}={value}"
                yield at(policy, f"{text}; is it inherited from their base image?")
        if unreadable:
            named = ", ".join(sorted(unreadable)[:_MOST_NAMED])
            more = f" and {len(unreadable) - _MOST_NAMED:,} more" if len(unreadable) > _MOST_NAMED else ""
            number = plural(len(unreadable), "tag")
            text = f"{policy.name!r}: {number} with a {label} that cannot be read, kept: {named}{more}"
            yield at(policy, text)
