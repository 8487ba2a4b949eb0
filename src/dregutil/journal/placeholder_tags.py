"""Tags of a crawl that an interrupted run left on a placeholder → the digests that they stood for. Pure.

Else the records of when tags came would take each for one that was moved, and for a new one when it is back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent

__all__ = ["resolve_placeholders"]


def resolve_placeholders(inventory: Inventory, moved: Iterable[Intent]) -> Inventory:
    """The inventory with the tags on placeholders, which `moved` name, back on what they stood for.

    A tag of somebody else's that is on one gets what the copied tag had, where that can be one image only; else it is
    left out.
    """
    own: dict[tuple[Repository, Digest], dict[Tag, Digest]] = defaultdict(dict)
    stood_for: dict[tuple[Repository, Digest], set[Digest]] = defaultdict(set)
    for intent in moved:
        if intent.placeholder is not None:
            place = (intent.repository, intent.placeholder)
            own[place].update(dict.fromkeys(intent.tags, intent.manifest.digest))
            stood_for[place].add(intent.manifest.digest)
    if not own:
        return inventory
    found = Inventory(inventory.as_mapping())
    for repository in {repository for repository, _ in own}:
        tags: dict[Tag, Digest] = {}
        for tag, digest in inventory.tags(repository).items():
            candidates = stood_for.get((repository, digest), {digest})
            if tag in own.get((repository, digest), {}):
                tags[tag] = own[repository, digest][tag]
            elif len(candidates) == 1:
                (tags[tag],) = candidates
        found.replace(repository, tags)
    return found
