"""A repository as its service lists it, with manifests that were read → its graph, as a survey would show it. Pure.

No request is sent: what tags name is believed to the service, so that such a graph serves figures and no deletion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Set

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.listing import Listing
from dregutil.oci.manifest import Kind, Manifest
from dregutil.oci.names import Digest, Repository

__all__ = ["listed_graph"]


def listed_graph(
    repository: Repository,
    listing: Listing,
    candidates: Set[Digest],
    manifests: Iterable[Manifest],
    known: Set[Digest],
) -> RepositoryGraph:
    """The graph as it bears on `candidates`. `manifests` are all that were read of the repository; images that bear on
    no other manifest are left out of it. `known`: the digests that this or another repository has."""
    found: dict[Digest, Manifest] = {}
    unjudgeable = ""
    for manifest in manifests:
        if manifest.kind is Kind.UNKNOWN:
            what = manifest.media_type or "(none)"
            unjudgeable = f"{manifest.digest.short} has the media type {what!r}, which may hold anything"
        if manifest.digest in candidates or _bears_on_others(manifest, candidates):
            found[manifest.digest] = manifest
    referrers: dict[Digest, list[Digest]] = defaultdict(list)
    for manifest in found.values():
        if manifest.subject is not None:
            referrers[manifest.subject.digest].append(manifest.digest)
    named = {child.digest for manifest in found.values() for child in manifest.children} | referrers.keys()
    return RepositoryGraph(
        repository,
        listing.tags,
        found,
        {subject: tuple(those) for subject, those in referrers.items()},
        frozenset(named - found.keys() - known),
        unjudgeable=unjudgeable,
    )


def _bears_on_others(manifest: Manifest, candidates: Set[Digest]) -> bool:
    """Whether it may hold one of `candidates`: as an index, by its subject or its tag, or as what has it as a layer."""
    is_plain = manifest.kind is Kind.IMAGE and manifest.subject is None and manifest.is_runnable
    return not is_plain or any(blob.digest in candidates for blob in manifest.blobs)
