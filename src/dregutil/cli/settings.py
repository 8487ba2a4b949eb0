"""The global options: from the command line, otherwise from the environment."""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dregutil import files
from dregutil.cli.parser import COMMANDS
from dregutil.errors import UsageError, escaped
from dregutil.oci.names import RegistryAddress

__all__ = ["Settings", "cache_file_name", "is_off", "read_settings", "shown_command", "state_folder"]

_OFF = ("", "0", "false", "no", "none")


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options, parsed.

    `verify` is a CA bundle, or whether to verify at all. `contents` is the file of the content database, None for
    neither database nor cache. `storage` is the location of the registry's own storage. `repeated` holds the options
    that an advised command must repeat. `command` is the command line as it may be recorded.
    """

    registry: RegistryAddress | None
    user: str | None
    password: str | None = field(repr=False)
    credential_source: str
    authfile: str | None
    repositories_from: str | None
    digest_auth: bool
    client_cert: Path | None
    client_key: Path | None
    verify: Path | bool
    insecure: bool
    cache: Path | None
    refresh: bool
    use_get_manifest: bool
    raise_intersecting_repository: bool
    count: bool
    format: str
    concurrency: int
    timeout: float
    quiet: bool
    color: str
    state_dir: Path
    contents: Path | None = None
    storage: str | None = None
    repeated: str = ""
    command: str = ""

    @property
    def address(self) -> RegistryAddress:
        """The registry. Raises UsageError if none was named."""
        if self.registry is None:
            raise UsageError("no registry was named", advice="name it with -reg HOST, or in the variable REGISTRY")
        return self.registry

    def advised(self, command: str) -> str:
        """A command to copy, with the registry and state folder if this command line named them."""
        return f"`dregutil {command}{self.repeated}`"


class _Given:
    """Options from the command line, otherwise from the environment."""

    def __init__(self, given: Mapping[str, Any], env: Mapping[str, str]) -> None:
        self.given = given
        self.env = env

    def text(self, name: str, variable: str) -> str | None:
        found: str | None = self.given.get(name)
        return found if found is not None else self.env.get(variable) or None

    def switch(self, name: str, variable: str) -> bool:
        return bool(self.given.get(name)) or not is_off(self.env.get(variable, ""))


def read_settings(args: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Settings:
    """The settings from a command line and the environment. Raises UsageError for an invalid value."""
    given = vars(args)
    options = _Given(given, env)
    text, switch = options.text, options.switch
    named, user = text("registry", "REGISTRY"), text("user", "REGISTRY_USER")
    cache = text("cache", "DOCKER_UTIL_CACHEFILE")
    address = None if named is None else RegistryAddress.parse(named)
    digest = given.get("digest_auth")
    return Settings(
        registry=address,
        user=user,
        password=_password(args, env, user, address),
        credential_source="flags" if given.get("user") else "environment",
        authfile=given.get("authfile"),
        repositories_from=given.get("repositories_from"),
        digest_auth=switch("", "REGISTRY_USE_DIGEST_AUTH") if digest is None else not is_off(digest),
        client_cert=_path(text("client_cert", "REGISTRY_CLIENT_CERT")),
        client_key=_path(text("client_key", "REGISTRY_CLIENT_KEY")),
        verify=_verify(text("verify", "REQUESTS_CA_BUNDLE")),
        insecure=bool(given.get("insecure")),
        cache=_cache(cache, address),
        refresh=bool(given.get("refresh")),
        use_get_manifest=switch("use_get_manifest", "DOCKER_UTIL_GET_MANIFEST"),
        raise_intersecting_repository=bool(given.get("raise_repo")),
        count=bool(given.get("count")),
        format=given.get("format") or "text",
        concurrency=_positive(given.get("concurrency"), env.get("DREGUTIL_CONCURRENCY"), 32),
        timeout=_seconds(given.get("timeout"), 30.0),
        quiet=bool(given.get("quiet")),
        color=given.get("color") or ("never" if env.get("NO_COLOR") else "auto"),
        storage=given.get("storage"),
        state_dir=state_folder(args, env),
        repeated=_repeated(given),
        contents=None if cache is not None and is_off(cache) else files.contents_file(env),
    )


def shown_command(arguments: Sequence[str]) -> str:
    """A command line as it may be recorded: without a password, on one line, in UTF-8."""
    shown: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, _ = argument.partition("=")
        is_long = len(name) > 2 and name.startswith("--p") and "--password".startswith(name)
        if is_long and equals:
            shown.append(f"{name}=…")
        elif is_long or argument == "-p":
            shown.append(argument)
            if next(waiting, None) is not None:
                shown.append("…")
        elif argument.startswith("-p") and not argument.startswith("--"):
            shown.append("-p…")
        else:
            shown.append(argument)
    return escaped(shlex.join(shown))


def is_off(value: str) -> bool:
    """Whether the value of a switch in the environment, or of an option such as `-c`, means off."""
    return value.strip().lower() in _OFF


def _password(
    args: argparse.Namespace, env: Mapping[str, str], user: str | None, address: RegistryAddress | None
) -> str | None:
    if getattr(args, "password_stdin", False):
        if getattr(args, "repositories_from", None) == "-":
            raise UsageError(
                "standard input cannot hold both the password and the repositories",
                advice="write the repositories into a file, or give the password in REGISTRY_PASSWORD",
            )
        return sys.stdin.readline().rstrip("\r\n")
    password: str | None = getattr(args, "password", None)
    if password is None:
        password = env.get("REGISTRY_PASSWORD")
    if password is None and user and address is not None and sys.stdin.isatty() and sys.stderr.isatty():
        return getpass.getpass(f"Password of {user} at {address.name}: ")
    return password


def _path(value: str | None) -> Path | None:
    return Path(value).expanduser() if value else None


def _verify(value: str | None) -> Path | bool:
    if not value:
        return True  # also `-v "$CA"` with CA unset: an empty value must not switch verification off
    if value in COMMANDS:
        raise UsageError(
            f"-v {value}: this is a command, not a CA bundle",
            advice=f"-v names a CA bundle here, it is not 'verbose': write `dregutil {value}`, or -v FILE {value}",
        )
    return False if is_off(value) else Path(value).expanduser()


def _cache(value: str | None, address: RegistryAddress | None) -> Path | None:
    if value is None:
        return None if address is None else Path(cache_file_name(address))
    return None if is_off(value) else Path(value).expanduser()


def cache_file_name(address: RegistryAddress) -> str:
    """The older tool's name for a registry's cache: without the scheme, `/` and `.` replaced by `_`."""
    return f"{address.name.replace('/', '_').replace('.', '_')}_cache.json"


def state_folder(args: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Path:
    """Where runs are recorded."""
    named: str | None = getattr(args, "state_dir", None)
    return files.absolute(Path(named)) if named else files.state_folder(env)


def _repeated(given: Mapping[str, object]) -> str:
    named = (("-reg", given.get("registry")), ("--state-dir", given.get("state_dir")))
    return "".join(f" {option} {shlex.quote(str(value))}" for option, value in named if value)


def _seconds(given: float | None, default: float) -> float:
    if given is not None and not 0 < given < float("inf"):
        raise UsageError(f"--timeout {given:g}: it must be more than 0 seconds", advice="the default is 30")
    return default if given is None else given


def _positive(given: int | None, variable: str | None, default: int) -> int:
    try:
        number = given if given is not None else int(variable) if variable else default
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(
            f"--concurrency {variable if given is None else given}: it must be a whole number of at least 1",
            advice="the default is 32; DREGUTIL_CONCURRENCY sets it, too",
        )
    return number
