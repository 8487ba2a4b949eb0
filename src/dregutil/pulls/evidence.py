"""The last pull of a tag: of its name, its digest, or anything that its digest refers to. Pure.

A pull of a child, or of an index by its digest, is a pull of every tag that refers to it: a client that pulls one
platform asks for no more. More evidence never makes the last pull earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dregutil.oci.names import Digest, Tag
from dregutil.pulls.pull import Pull, RepositoryPulls

__all__ = ["last_pull"]


def last_pull(pulls: RepositoryPulls, tag: Tag | None, digest: Digest, below: Iterable[Digest] = ()) -> Pull | None:
    """The last pull of `tag`, which names `digest`; None if none is recorded. `below`: what the digest refers to, at
    any depth. A pull by tag, from a source that names no digest, counts for what the tag names now."""
    found = [*_pulls(pulls, tag, (digest, *below))]
    return max(found, key=lambda pull: pull.at) if found else None


def _pulls(pulls: RepositoryPulls, tag: Tag | None, digests: Iterable[Digest]) -> Iterator[Pull]:
    if tag is not None and tag in pulls.tags:
        yield pulls.tags[tag]
    for digest in dict.fromkeys(digests):
        if digest in pulls.digests:
            yield pulls.digests[digest]
