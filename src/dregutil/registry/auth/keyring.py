"""The identities for one registry: usually one, more if a configuration has credentials for single namespaces.

Each request uses the identity for its repository, which its scopes name.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, quote_plus

from dregutil.oci.names import RegistryAddress
from dregutil.registry.auth.authenticator import Authenticator, TokenFetch
from dregutil.registry.auth.credentials import CredentialPlaces, Credentials, find_credentials, scoped_paths

__all__ = ["Keyring", "look_up_keyring", "without_secrets"]

_REPOSITORY = "repository:"
_SHORTEST_SECRET = 4  # characters: replacing shorter ones would garble messages
_MOST_SCOPES = 4096


class Keyring:
    """Answers a registry's challenges as an `Authenticator` does, with the credentials for each namespace.

    `whole` is for the registry itself, and for all repositories outside of `paths`, which are sorted longest first.
    """

    def __init__(
        self,
        whole: Authenticator,
        paths: Mapping[str, Authenticator] | None = None,
        *,
        elsewhere: Authenticator | None = None,
    ) -> None:
        """`elsewhere`: for repositories outside of `paths`, if that is not `whole`."""
        self._whole = whole
        self._paths = dict(paths or {})
        self._elsewhere = elsewhere or whole
        self._chosen: dict[tuple[str, ...], Authenticator] = {}
        self._others: dict[Callable[[str], str], None] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """The namespaces that have their own credentials."""
        return tuple(self._paths)

    @property
    def token_server(self) -> tuple[str, str]:
        """The realm and service of the registry's token server; empty before a challenge named them."""
        return self._whole.token_server

    def of(self, repository: str) -> Authenticator:
        """The identity for a repository, or for the registry as a whole if it is empty."""
        if not repository:
            return self._whole
        for path, found in self._paths.items():
            if repository == path or repository.startswith(f"{path}/"):
                return found
        return self._elsewhere

    def known_headers(self, method: str, target: str, scopes: tuple[str, ...]) -> dict[str, str] | None:
        return self._for(scopes).known_headers(method, target, scopes)

    async def headers(
        self, method: str, target: str, scopes: tuple[str, ...], *, fetch: TokenFetch | None = None
    ) -> dict[str, str]:
        return await self._for(scopes).headers(method, target, scopes, fetch=fetch)

    async def challenged(
        self,
        response_status: int,
        www_authenticate: list[str],
        scopes: tuple[str, ...],
        *,
        attempt: int,
        fetch: TokenFetch,
        sent: Mapping[str, str] | None = None,
    ) -> bool:
        return await self._for(scopes).challenged(
            response_status, www_authenticate, scopes, attempt=attempt, fetch=fetch, sent=sent
        )

    def redacted(self, text: str) -> str:
        """`text` without passwords and tokens, which a server may echo."""
        for found in dict.fromkeys((self._whole, self._elsewhere, *self._paths.values())):
            text = without_secrets(text, found.secrets())
        for redact in self._others:
            text = redact(text)
        return text

    def also_redact(self, redact: Callable[[str], str]) -> None:
        """Take the secrets of another login out of texts as well: of the service's own API."""
        self._others[redact] = None

    def _for(self, scopes: tuple[str, ...]) -> Authenticator:
        if not self._paths:
            return self._whole
        found = self._chosen.get(scopes)
        if found is None:
            if len(self._chosen) >= _MOST_SCOPES:
                self._chosen.clear()
            found = self._chosen[scopes] = self.of(_repository_of(scopes))
        return found


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """`text` without `secrets`, in any form in which a server may echo them. Very short ones stay."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            for form in _forms(secret):
                text = text.replace(form, "…")
    return text


@functools.lru_cache(_MOST_SCOPES)
def _forms(secret: str) -> tuple[str, ...]:
    """The forms in which a secret may appear: plain, in a URL or form, in JSON. Longest first."""
    raw = secret.encode(errors="surrogateescape")
    forms = {secret, quote(raw), quote(raw, safe=""), quote_plus(raw), json.dumps(secret)[1:-1]}
    forms.add(json.dumps(secret, ensure_ascii=False)[1:-1])
    forms |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in forms}
    return tuple(sorted(forms, key=len, reverse=True))


def _repository_of(scopes: tuple[str, ...]) -> str:
    """The repository in the first scope (`repository:NAME:ACTIONS`), which for a mount is the one that is written."""
    if not scopes or not scopes[0].startswith(_REPOSITORY):
        return ""
    return scopes[0].removeprefix(_REPOSITORY).rpartition(":")[0]


def look_up_keyring(address: RegistryAddress, places: CredentialPlaces, *, digest_auth: bool = False) -> Keyring:
    """The identities for the registry at `address`, from the command line, Docker and podman.

    Raises CredentialError.
    """
    made: dict[Credentials | None, Authenticator] = {}

    def for_repository(repository: str) -> Authenticator:
        ask = functools.partial(find_credentials, address, places, repository=repository)
        credentials = ask()
        if credentials not in made:  # two paths with the same login share its tokens
            made[credentials] = Authenticator(address.base_url, credentials, digest_auth=digest_auth, ask=ask)
        return made[credentials]

    whole = for_repository("")
    paths = scoped_paths(address, places)
    if not paths:
        return Keyring(whole)
    # `-` is below no path: the credentials for the whole host, or none.
    return Keyring(whole, {path: for_repository(path) for path in paths}, elsewhere=for_repository("-"))
