"""Tags of a crawl that an interrupted run left on a placeholder → the digests that they named before. Pure.

Otherwise the tag history would take each for a tag that moved, and for a new one once it is back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent

__all__ = ["resolve_placeholders"]


def resolve_placeholders(inventory: Inventory, moved: Iterable[Intent]) -> Inventory:
    """The inventory, with each tag on a placeholder of `moved` back on the digest that it named before.

    A copy of such a tag gets the digest of the tag that was copied, if only one is possible; else it is left out.
    """
    own: dict[tuple[Repository, Digest], dict[Tag, Digest]] = defaultdict(dict)
    named_before: dict[tuple[Repository, Digest], set[Digest]] = defaultdict(set)
    for intent in moved:
        if intent.placeholder is not None:
            place = (intent.repository, intent.placeholder)
            own[place].update(dict.fromkeys(intent.tags, intent.manifest.digest))
            named_before[place].add(intent.manifest.digest)
    if not own:
        return inventory
    found = Inventory(inventory.as_mapping())
    for repository in {repository for repository, _ in own}:
        tags: dict[Tag, Digest] = {}
        for tag, digest in inventory.tags(repository).items():
            candidates = named_before.get((repository, digest), {digest})
            if tag in own.get((repository, digest), {}):
                tags[tag] = own[repository, digest][tag]
            elif len(candidates) == 1:
                (tags[tag],) = candidates
        found.replace(repository, tags)
    return found
