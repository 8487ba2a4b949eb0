"""What a removal hides: without the fallback tag of an image, clients no longer find its referrers. Pure."""

from __future__ import annotations

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest, Tag, parse_signature_tag
from dregutil.select.version import tag_order

__all__ = ["hidden_referrers"]

_MOST_NAMED = 3


def hidden_referrers(graph: RepositoryGraph, digest: Digest, going: frozenset[Digest] = frozenset()) -> str:
    """How many referrers of which image a removal of `digest` hides; empty if it lists none, or if they go, too.

    On a registry without the referrers API, the tag `sha256-<hex>` names an index that lists them.
    """
    manifest = graph.manifests.get(digest)
    listed = [] if manifest is None else [child.digest for child in manifest.children]
    hidden = [child for child in dict.fromkeys(listed) if child not in graph.absent and child not in going]
    for tag in graph.tags_of.get(digest, ()):
        signature = parse_signature_tag(tag)
        if signature is None or signature.suffix or not hidden:
            continue
        subjects = [subject for subject in graph.tags_of if signature.names(subject)]
        if subjects and going.issuperset(subjects):
            continue
        number = "1 referrer" if len(hidden) == 1 else f"{len(hidden):,} referrers"
        tags = sorted((tag for subject in subjects for tag in graph.tags_of[subject]), key=tag_order)
        return f"hides {number} of {signature.algorithm}:{signature.hex[:12]}{_named(tags)}"
    return ""


def _named(tags: list[Tag]) -> str:
    shown = ", ".join(tags[:_MOST_NAMED]) + (f" and {len(tags) - _MOST_NAMED} more" if len(tags) > _MOST_NAMED else "")
    return f" ({shown})" if shown else ""
