"""What a module for a service's own API gets, for a server of the tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from dregutil.oci.names import RegistryAddress
from dregutil.registry.auth.authenticator import Authenticator
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.keyring import Keyring
from dregutil.registry.http.transport import READING, Transport
from dregutil.registry.native.access import Access
from dregutil.registry.native.login import ApiLogin
from images import IMAGE, INDEX
from servers.memory import MemoryServer, Stored, _Repository

__all__ = ["access_to", "hold_image", "hold_index"]


@asynccontextmanager
async def access_to(
    url: str, user: str = "", password: str = "", *, digest_auth: bool = False
) -> AsyncIterator[Access]:
    """The registry at `url`, to be read, with a login."""
    credentials = Credentials(user, password) if user else None
    keyring = Keyring(Authenticator(url, credentials, digest_auth=digest_auth))
    transport = Transport(url, keyring, methods=READING)
    others: list[Transport] = []

    def opened(base: str, login: ApiLogin) -> Transport:
        others.append(Transport(base, login, methods=READING))
        return others[-1]

    try:
        yield Access(RegistryAddress.parse(url), transport, keyring, opened)
    finally:
        for one in (transport, *others):
            await one.close()


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
