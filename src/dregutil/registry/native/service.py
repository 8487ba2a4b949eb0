"""The interface of a service. Each module beside this one implements it for one service; `docs/design/native.md`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, Self

from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["MayReturn", "Service"]

MayReturn = Callable[[tuple[Tag, ...]], Awaitable[bool]]
"""Whether these tags may come back with a manifest: none of them names another one by now. Raises DregutilError."""


class Service(Protocol):
    """A service's own API.

    `name` is for people ("Docker Hub's API"). `page`: how many entries one request lists. `reading_counts`: a GET of a
    manifest counts as a pull, for its time or its number. `keeps_layers_apart`: a deleted manifest that is a layer of
    another image, too, stays as that layer, as far as is known. `deletes_tags`,
    `deletes_manifests`, `restores`: which of the writes it has; the others are never called. `tags_first`: the registry
    deletes no digest that has tags; they are deleted by this API before it. `deletes_at_once`: how many
    manifests one request deletes; if more than one, this API is used before the registry's.

    Reading raises NoListingError where this login may not, or this server has no such API: the standard way is used
    then. The error has the reason (`is_everywhere`: it applies to every repository). Other errors are raised as they
    are, and end the listing as well. Writing raises as `WritableRegistry` does, and is only called on what `writing`
    returns.
    """

    name: str
    page: int
    reading_counts: bool
    keeps_layers_apart: bool
    deletes_tags: bool
    deletes_manifests: bool
    restores: bool
    tags_first: bool
    deletes_at_once: int

    def writing(self) -> Self:
        """The same service with a transport that writes; as it was made, it cannot."""

    async def listing(self, repository: Repository) -> Listing:
        """All of a repository. Raises NoListingError, and what reading a registry raises."""

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """Remove one tag, and nothing else. True if it was accepted, False if there was no such tag."""

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Remove a manifest with its tags. True if it was accepted, False if it was not there."""

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        """Bring back a manifest that was deleted, with its tags; False if the service no longer has it, or
        `may_return`, which is asked just before, forbids that these tags come back."""
