"""Where reading a manifest counts as a pull: a GET would make an image look used, and use up a limit."""

from __future__ import annotations

from collections.abc import Mapping

from dregutil.oci.manifest import Kind, kind_of_media_type
from dregutil.oci.names import Digest, Repository
from dregutil.registry.reader import Registry

__all__ = ["ListedTypes", "reading_counts"]

_IMAGES = (Kind.IMAGE, Kind.SCHEMA1)


def reading_counts(registry: Registry) -> bool:
    """Whether a GET of a manifest counts as a pull, as far as the registry has shown what it is."""
    service = None if registry.native is None else registry.native.service
    return registry.kind.counts_pulls or (service is not None and service.reading_counts)


class ListedTypes:
    """What the registry's service lists the manifests of a repository as, where a GET counts as a pull.

    Only its bytes prove that a manifest is an image, and no index with children. Where reading them counts as a pull,
    two sources that agree are taken for it: HEAD and this list. On Docker Hub, whose limit of pulls is low, HEAD alone
    is where it lists nothing of a digest.
    """

    def __init__(self, registry: Registry, repository: Repository) -> None:
        self._registry = registry
        self._repository = repository
        self._types: Mapping[Digest, str] = {}

    async def read(self) -> None:
        """Have the list read, if this connection has not read it yet. Without one, nothing is listed."""
        native = self._registry.native
        if native is not None and native.service is not None and native.service.keeps_layers_apart:
            self._types = await native.media_types(self._repository)

    def spares(self, digest: Digest | None) -> bool:
        """Whether a HEAD may spare the GET of a manifest; None: of one that is not known."""
        if self._registry.limits_pulls or not self._types:
            return self._registry.limits_pulls
        return digest is None or kind_of_media_type(self._types.get(digest, "")) in _IMAGES

    def show_image(self, digest: Digest, said: str) -> bool:
        """Whether it is an image that need not be read, of which HEAD `said` this media type."""
        listed = self._types.get(digest, "")
        agree = listed == said if listed else self._registry.limits_pulls
        return agree and kind_of_media_type(said) in _IMAGES
