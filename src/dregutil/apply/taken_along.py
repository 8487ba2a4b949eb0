"""What a server takes along with a digest that is deleted, although it was to stay: it comes back."""

from __future__ import annotations

from collections.abc import Callable

from dregutil.apply.put_back import if_free, put_back_tags, put_back_unread
from dregutil.apply.run import Run
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest
from dregutil.plan.outcome import LostTag

__all__ = ["put_back_taken_along"]


async def put_back_taken_along(
    run: Run, graph: RepositoryGraph, digest: Digest, goes: Callable[[Digest], bool]
) -> None:
    """Put back what belonged to a digest that just went, and is missing though it was to stay.

    Those are its children, which another index needs or a user wants kept, and what refers to it; `goes` says of a
    digest whether it is to go too. `graph` is from before. A tag that is put back with them was on them then; whether
    it still was is not known, so it is noted as lost. Raises DregutilError.
    """
    manifest = graph.manifests.get(digest)
    children = () if manifest is None else tuple(child.digest for child in manifest.children)
    for other in (*children, *graph.referrers_of(digest)):
        held = graph.manifests.get(other)
        if held is not None and not goes(other) and await run.registry.resolve(graph.repository, other) is None:
            await put_back_taken_along(run, graph, other, goes)  # what it needs comes first
            # Put in any case: olareg answers for an index again as soon as its children are back, and does not keep it.
            await put_back_unread(run.registry, graph.repository, held)
            tags = graph.tags_of.get(other, ())
            for tag in await put_back_tags(run.registry, graph.repository, held, tags, guard=if_free):
                run.note_lost(LostTag(graph.repository, tag, (digest,), mended=other))
