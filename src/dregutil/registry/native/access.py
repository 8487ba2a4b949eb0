"""What a service's module gets: the registry's own connection and login, and its other host, if it has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dregutil.oci.api_address import ApiAddress
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.keyring import Keyring
from dregutil.registry.http.transport import Transport
from dregutil.registry.native.client import ApiClient, Sent
from dregutil.registry.native.hosts import other_host
from dregutil.registry.native.login import ApiLogin

__all__ = ["Access"]


@dataclass(frozen=True, slots=True)
class Access:
    """`opened` opens connections to another host, which are closed with those of the registry. `named` is the API
    that the user named. `logins` are those by HTTP Basic that were made, `sent` counts what the service was asked."""

    address: RegistryAddress
    transport: Transport
    keyring: Keyring
    opened: Callable[[str, ApiLogin], Transport]
    named: ApiAddress | None = None
    logins: dict[Credentials, ApiLogin] = field(default_factory=dict)
    sent: Sent = field(default_factory=Sent)

    def credentials(self, repository: str = "") -> Credentials | None:
        """The user's credentials for a repository, or for the registry as a whole."""
        return self.keyring.of(repository).credentials

    def password(self, repository: str = "") -> Credentials | None:
        """The credentials for a repository, if they are a password that may be sent as it is."""
        found = self.credentials(repository)
        return None if found is None or found.kind != "password" or self.keyring.of(repository).forbids_basic else found

    def basic(self, repository: str = "") -> ApiLogin:
        """The login by HTTP Basic, if the credentials are a password that may be sent like this; else an empty one."""
        found = self.password(repository)
        if found is None:
            return ApiLogin()
        if found not in self.logins:
            self.logins[found] = ApiLogin.basic(found)
        return self.logins[found]

    def here(self, what: str, login: ApiLogin | None = None) -> ApiClient:
        """The API at the registry's own address: with the registry's tokens (give `scopes`), or with a login of its
        own. `what` names it in messages."""
        if login is None:
            return ApiClient(self.transport, what, self.keyring.redacted, self.sent)
        self.keyring.also_redact(login.redacted)
        return ApiClient(self.transport.logged_in(login), what, self.keyring.redacted, self.sent)

    def elsewhere(self, what: str, login: ApiLogin) -> ApiClient:
        """The API that the user named, else that at the service's other host. Raises LookupError if the registry's name
        has none."""
        base = other_host(self.address) if self.named is None else self.named.base
        if base is None:
            raise LookupError(f"no other host is known for {self.address.netloc}")
        self.keyring.also_redact(login.redacted)
        return ApiClient(self.opened(base, login), what, self.keyring.redacted, self.sent)

    @staticmethod
    def scopes(repository: Repository, actions: str = "pull") -> tuple[str, ...]:
        """The scope of a token for a repository."""
        return (f"repository:{repository}:{actions}",)
