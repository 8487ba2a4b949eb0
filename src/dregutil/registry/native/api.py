"""The service of one registry, as far as it is known, and what it lists."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from dregutil.errors import DregutilError, NoListingError
from dregutil.oci.listing import Listing
from dregutil.oci.manifest import bare_media_type
from dregutil.oci.names import Digest, Repository
from dregutil.registry.native.access import Access
from dregutil.registry.native.service import Service
from dregutil.registry.native.services import discovered, service_for
from dregutil.registry.server_kind import Evidence

__all__ = ["NativeApi"]

_log = logging.getLogger("dregutil.native")


class NativeApi:
    """`refusal` says why no repository is listed with this login; empty as long as that is not known."""

    def __init__(self, access: Access, evidence: Callable[[], Evidence]) -> None:
        """`evidence`: what the registry has shown about itself so far."""
        self.refusal = ""
        self._access = access
        self._evidence = evidence
        self._service: Service | None = None
        self._is_judged = False
        self._is_asked = False
        self._asking = asyncio.Lock()
        self._media_types: dict[Repository, Mapping[Digest, str]] = {}

    @property
    def sent(self) -> int:
        """How many questions the service was asked."""
        return self._access.sent.number

    @property
    def service(self) -> Service | None:
        """The registry's service; None if it has none that is known. More may be known after the first answer."""
        if self._service is None and not self._is_judged:
            evidence = self._evidence()
            self._service = service_for(self._access, evidence)
            self._is_judged = bool(evidence.headers)
        return self._service

    async def discover(self) -> None:
        """Ask the registry for its service where its answers do not show it: once, with one request."""
        async with self._asking:
            if self.service is not None or self._is_asked or not self._is_judged:
                return
            self._is_asked = True
            try:
                self._service = await discovered(self._access, self._evidence())
            except DregutilError as error:
                _log.info("whether the registry has an API of its own is not known: %s", error.message)

    async def listing(self, repository: Repository) -> Listing:
        """A repository as the service lists it. Raises NoListingError, whatever the reason: the distribution API is
        the way that always remains, and says itself if nothing answers."""
        service = self.service
        if service is None or self.refusal:
            raise NoListingError(self.refusal or "this registry has no API of its own that is known")
        try:
            found = await service.listing(repository)
        except NoListingError as error:
            if error.is_everywhere:
                self.refusal = error.message
            _log.info("%s is read through the distribution API: %s", repository, error.message)
            raise
        except DregutilError as error:
            _log.info("%s is read through the distribution API: %s", repository, error.message)
            raise NoListingError(error.message) from error
        if service.reading_counts:
            self._media_types[repository] = {
                entry.digest: bare_media_type(entry.media_type) for entry in found.entries if entry.media_type
            }
        return found

    async def media_types(self, repository: Repository) -> Mapping[Digest, str]:
        """What the service lists the manifests of a repository as, where reading them counts as a pull.

        It is empty elsewhere, and where the service lists nothing. That of a digest never changes, so the last list of
        this connection is used, if there is one.
        """
        if self.service is None or not self.service.reading_counts:
            return {}
        if repository not in self._media_types:
            with suppress(NoListingError):
                await self.listing(repository)
        return self._media_types.setdefault(repository, {})
