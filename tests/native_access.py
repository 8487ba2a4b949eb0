"""What a module for a service's own API gets, for a server of the tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from dregutil.oci.api_address import ApiAddress
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.registry.auth.authenticator import Authenticator
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.keyring import Keyring
from dregutil.registry.http.transport import READING, Transport
from dregutil.registry.native.access import Access
from dregutil.registry.native.login import ApiLogin
from dregutil.registry.native.service import Service
from images import IMAGE, INDEX
from servers.http import Endpoint
from servers.memory import MemoryServer, Stored, _Repository

__all__ = ["access_to", "entry", "hold_image", "hold_index", "listing_of", "service_of"]

_Made = TypeVar("_Made", bound=Service)


@asynccontextmanager
async def access_to(
    url: str, user: str = "", password: str = "", *, digest_auth: bool = False, named: ApiAddress | None = None
) -> AsyncIterator[Access]:
    """The registry at `url`, to be read, with a login; `named` is the API of its service, if the user names it."""
    credentials = Credentials(user, password) if user else None
    keyring = Keyring(Authenticator(url, credentials, digest_auth=digest_auth))
    transport = Transport(url, keyring, methods=READING)
    others: list[Transport] = []

    def opened(base: str, login: ApiLogin) -> Transport:
        others.append(Transport(base, login, methods=READING))
        return others[-1]

    try:
        yield Access(RegistryAddress.parse(url), transport, keyring, opened, named)
    finally:
        for one in (transport, *others):
            await one.close()


@asynccontextmanager
async def service_of(
    made: Callable[[Access], _Made], server: Endpoint, user: str = "ann", password: str = "a-secret"
) -> AsyncIterator[_Made]:
    """The service that `made` makes for a registry, which may write."""
    async with access_to(server.url, user, password) as access:
        yield made(access).writing()


async def listing_of(
    made: Callable[[Access], Service], server: Endpoint, *, repository: Repository, user: str = "ann"
) -> Listing:
    """What that service lists of a repository."""
    async with service_of(made, server, user) as service:
        return await service.listing(repository)


def entry(listing: Listing, digest: str) -> Entry:
    """What a listing has about a manifest."""
    return next(found for found in listing.entries if found.digest == digest)


def hold_image(server: MemoryServer, repository: str, *tags: str, seed: str) -> str:
    """Put an image without blobs into a server, without a request; returns its digest."""
    raw = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "annotations": {"seed": seed}}).encode()
    return _hold(server, repository, tags, raw, IMAGE)


def hold_index(server: MemoryServer, repository: str, *tags: str, children: Iterable[str]) -> str:
    """The same with an index of images."""
    manifests = [{"mediaType": IMAGE, "digest": child, "size": 1} for child in children]
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()
    return _hold(server, repository, tags, raw, INDEX)


def _hold(server: MemoryServer, repository: str, tags: Iterable[str], raw: bytes, media_type: str) -> str:
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    found = server.repositories.setdefault(repository, _Repository())
    found.manifests[digest] = Stored(digest, media_type, raw)
    found.tags = {} if found.tags is None else found.tags
    found.tags.update(dict.fromkeys(tags, digest))
    return digest
