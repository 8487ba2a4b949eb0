"""The credentials for a registry, and where Docker and podman keep them.

Formats: Docker's `config.json` and containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dregutil.errors import CredentialError
from dregutil.oci.names import RegistryAddress
from dregutil.registry.auth.credential_helper import ask_helper

__all__ = ["CredentialKind", "CredentialPlaces", "Credentials", "find_credentials", "scoped_paths"]

CredentialKind = Literal["password", "identity_token", "bearer"]

_HELPER_TIMEOUT = 60.0
_LONGEST_FILE = 16 * 1024 * 1024
# The user name that helpers return with an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 - a marker, no secret
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})  # what configurations write
_HUB_KEY = "https://index.docker.io/v1/"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BEARER = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's credentials for one registry.

    `secret` is a password, an identity token (which is exchanged for bearer tokens), or a bearer token. `user` may be
    empty for both kinds of token. `source` describes where the credentials come from. Raises CredentialError for
    characters that cannot be sent.
    """

    user: str
    secret: str = field(repr=False)
    kind: CredentialKind = "password"
    source: str = "flags"

    def __post_init__(self) -> None:
        if _CONTROL.search(self.user):
            raise CredentialError(f"the user name from {self.source} contains control characters")
        if self.kind == "bearer" and not _BEARER.fullmatch(self.secret):
            raise CredentialError(f"the registry token from {self.source} is not a valid token")

    def basic(self) -> str:
        """The Authorization header of HTTP Basic (RFC 7617, UTF-8). Raises CredentialError for a colon in the user."""
        if ":" in self.user:
            raise CredentialError(f"the user name from {self.source} contains a colon, which HTTP Basic does not allow")
        raw = f"{self.user}:{self.secret}".encode(errors="surrogateescape")
        return f"Basic {base64.b64encode(raw).decode()}"


@dataclass(frozen=True, slots=True)
class CredentialPlaces:
    """Where to look for credentials, and how long a helper may take (seconds).

    `authfile`, from the command line, comes before everything else. If there is a `login`, it comes next, and no other
    place is consulted; with `environment_first`, the places that the environment names are. `login` may be a function,
    which is called when the login is needed.
    """

    env: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    authfile: str | None = None
    login: Credentials | Callable[[], Credentials] | None = None
    environment_first: bool = False
    helper_timeout: float = _HELPER_TIMEOUT


def find_credentials(
    address: RegistryAddress, places: CredentialPlaces | None = None, *, repository: str = ""
) -> Credentials | None:
    """The credentials for a repository at `address`, or for the registry as a whole; None without any.

    The first of these places that has some: `authfile`, `login`, DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE, Docker's
    config.json, podman's auth.json. Raises CredentialError for a file or helper that cannot be used; it names the file
    and never quotes it.
    """
    chosen = places or CredentialPlaces()
    for place, config in _configurations(chosen):
        found = _look_up(address, repository, config, place, chosen)
        if found is not None:
            return found
    return chosen.login() if callable(chosen.login) else chosen.login


def scoped_paths(address: RegistryAddress, places: CredentialPlaces | None = None) -> tuple[str, ...]:
    """The namespaces and repositories of `address` that have their own credentials, longest first.

    They apply to all repositories below, unless a longer path applies. Raises as `find_credentials` does.
    """
    found: set[str] = set()
    prefix = f"{address.prefix}/"
    for place, config in _configurations(places or CredentialPlaces()):
        for key in _table(config, "auths", place):
            host, path = _split_key(key, address.scheme)
            is_path = "://" not in key and path != "/" and path.startswith(prefix)
            if is_path and host == _normal(address.netloc, address.scheme):
                found.add(path.removeprefix(prefix).strip("/"))
    return tuple(sorted(found - {""}, key=lambda path: (-len(path), path)))


def _configurations(places: CredentialPlaces) -> Iterator[tuple[str, dict[str, Any]]]:
    """All existing configurations, each with its name for messages."""
    env = places.env
    home = Path(env["HOME"]) if env.get("HOME") else None
    if places.authfile is not None:
        yield _named_file(places.authfile, home)
    if places.login is not None and not places.environment_first:
        return
    if text := env.get("DOCKER_AUTH_CONFIG", "").strip():
        yield "DOCKER_AUTH_CONFIG", _parse(text.encode(errors="surrogateescape"), "DOCKER_AUTH_CONFIG")
    if named := env.get("REGISTRY_AUTH_FILE"):
        yield _named_file(named, home)
    if places.login is not None:
        return
    for path in _usual_files(env, home):
        if path.exists():
            yield _for_people(path, home), _read(path, _for_people(path, home))


def _named_file(named: str, home: Path | None) -> tuple[str, dict[str, Any]]:
    path = Path(named).expanduser()
    if not path.exists():
        raise CredentialError(
            f"there is no file {named}, named by --authfile or REGISTRY_AUTH_FILE",
            advice="name a file that `podman login` or `docker login` has written",
        )
    return _for_people(path, home), _read(path, _for_people(path, home))


def _usual_files(env: Mapping[str, str], home: Path | None) -> Iterator[Path]:
    if folder := env.get("DOCKER_CONFIG"):
        yield Path(folder) / "config.json"
    elif home is not None:
        yield home / ".docker" / "config.json"
    if folder := env.get("XDG_RUNTIME_DIR"):
        yield Path(folder) / "containers" / "auth.json"
    if folder := env.get("XDG_CONFIG_HOME"):
        yield Path(folder) / "containers" / "auth.json"
    elif home is not None:
        yield home / ".config" / "containers" / "auth.json"


def _for_people(path: Path, home: Path | None) -> str:
    return f"~/{path.relative_to(home)}" if home is not None and path.is_relative_to(home) else str(path)


def _read(path: Path, place: str) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise CredentialError(f"{place} is not a file")
        with path.open("rb") as file:
            raw = file.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise CredentialError(
            f"{place} cannot be read: {error.strerror}",
            advice="fix its permissions, or name another folder with DOCKER_CONFIG",
        ) from None
    if len(raw) > _LONGEST_FILE:
        raise CredentialError(f"{place} is too large for a file of credentials")
    return _parse(raw, place)


def _parse(raw: bytes, place: str) -> dict[str, Any]:
    if not raw.strip():
        return {}
    try:
        config = json.loads(raw)
    except RecursionError:
        config = None
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise CredentialError(f"{place} is not valid JSON{where}", advice=_mend(place)) from None
    if not isinstance(config, dict):
        raise CredentialError(f"{place} is not a JSON object", advice=_mend(place))
    return config


def _look_up(
    address: RegistryAddress, repository: str, config: dict[str, Any], place: str, places: CredentialPlaces
) -> Credentials | None:
    helpers = _table(config, "credHelpers", place)
    key = _best_key(address, "", helpers)
    helper = helpers[key] if key is not None else config.get("credsStore")
    if helper is not None and not isinstance(helper, str):
        raise CredentialError(f"{place} names a credential helper that is not a string", advice=_mend(place))
    if helper:
        kept = ask_helper(helper, _helper_key(address), places.env, timeout=places.helper_timeout)
        if kept is not None:
            user, secret = kept
            source = f"credential helper {helper}"
            if user == _TOKEN_USER:
                return Credentials("", secret, "identity_token", source)
            return Credentials(user, secret, "password", source)
    logins = _table(config, "auths", place)
    key = _best_key(address, repository, logins)
    return None if key is None else _read_login(logins[key], key, place)


def _table(config: dict[str, Any], name: str, place: str) -> dict[str, Any]:
    table = config.get(name)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise CredentialError(f"{name!r} in {place} is not a JSON object", advice=_mend(place))
    return table


def _read_login(login: object, key: str, place: str) -> Credentials | None:
    """An entry of `auths`; None for an empty one, which Docker writes if a helper keeps the secret."""
    broken = CredentialError(f"the entry for {key} in {place} cannot be read", advice=_mend(place))
    if login is None:
        return None
    if not isinstance(login, dict):
        raise broken
    values = {
        name: login.get(name) or "" for name in ("auth", "username", "password", "identitytoken", "registrytoken")
    }
    if not all(isinstance(value, str) for value in values.values()):
        raise broken
    source = f"{place} (auths)"
    if values["registrytoken"]:
        return Credentials("", values["registrytoken"], "bearer", source)
    user, password = values["username"], values["password"]
    if values["auth"]:
        decoded = _decode(values["auth"])
        if decoded is None:
            raise broken
        user, password = decoded
    if values["identitytoken"]:
        return Credentials(user, values["identitytoken"], "identity_token", source)
    return Credentials(user, password, "password", source) if user or password else None


def _decode(text: str) -> tuple[str, str] | None:
    """The user and password in an `auth` value, which Docker may have padded with NULs; None if it is malformed."""
    try:
        raw = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = raw.decode(errors="surrogateescape").partition(":")
    return (user, password.strip("\0")) if colon else None


def _best_key(address: RegistryAddress, repository: str, table: Mapping[str, Any]) -> str | None:
    """The key of `table` for `repository`, or for the registry as a whole: the longest path first, then the spelling of
    `address`."""
    wanted = _normal(address.netloc, address.scheme)
    prefix = f"{address.prefix}/{repository}/" if repository else f"{address.prefix}/"
    best: tuple[int, bool, str] | None = None
    for key in table:
        host, path = _split_key(key, address.scheme)
        if host != wanted:
            continue
        # podman's keys may name a namespace: the longest that contains the repository is best; for the registry as a
        # whole, any is better than none.
        is_whole_host = "://" in key or path == "/"
        is_above = path != "/" and prefix.startswith(path)
        rank = len(path) if is_above and "://" not in key else 0 if is_whole_host else -1
        if rank < 0 and repository:
            continue
        if best is None or (rank, key == address.netloc) > best[:2]:
            best = (rank, key == address.netloc, key)
    return best[2] if best is not None else None


def _split_key(key: str, default_scheme: str) -> tuple[str, str]:
    """A key's normalized host, and its path with a slash at both ends."""
    scheme, has_scheme, rest = key.strip().partition("://")
    host, _, path = (rest if has_scheme else key.strip()).partition("/")
    path = path.strip("/")
    return _normal(host, scheme.lower() if has_scheme else default_scheme), f"/{path}/" if path else "/"


def _normal(netloc: str, scheme: str) -> str:
    """Host and port in lower case, without the default port; all names of Docker Hub become `docker.io`."""
    host = netloc.lower().removesuffix(":80" if scheme == "http" else ":443")
    return "docker.io" if host in _HUB_HOSTS else host


def _helper_key(address: RegistryAddress) -> str:
    return _HUB_KEY if _normal(address.netloc, address.scheme) == "docker.io" else address.netloc


def _mend(place: str) -> str:
    return f"fix {place}, or log in again with `docker login` or `podman login`; or give -u and -p"
