"""The settings of a command: from the command line, the environment, the configuration file, or the default."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dregutil import files
from dregutil.cli.chosen import ChosenRegistry, choose_registry
from dregutil.cli.configurable import OPTIONS, Found, Place, Source, is_off, resolve
from dregutil.cli.login import Login, Password, read_login
from dregutil.cli.parser import EVERY_COMMAND
from dregutil.errors import UsageError, escaped
from dregutil.oci.names import RegistryAddress
from dregutil.store.secrets import without_store_passwords

if TYPE_CHECKING:
    from dregutil.cli.configuration import Configuration
    from dregutil.store.address import StoreAddress

__all__ = ["Settings", "cache_file_name", "configuration_file", "read_settings", "shown_command"]

# Options whose value is the setting; the others depend on the registry.
_AS_FOUND = tuple({option.name for option in OPTIONS} - {"password_command", "cache", "state_dir"})


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, parsed.

    `name` is that of the registry in the configuration file, empty if it was named by its host; `hint` suggests one
    that may have been meant. `verify` is a CA bundle, or whether to verify at all. `contents` is the file of the
    content database, None for neither database nor cache. `storage` is the location of the registry's own storage.
    `store` is the shared store; None if there is none. `found` holds every configurable option, with where it comes
    from. `repeated` holds the options that an advised command must repeat.
    `command` is the command line as it may be recorded.
    """

    registry: RegistryAddress | None
    user: str | None
    password: Password = field(repr=False)
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
    policy: Path | None = None
    aliases: tuple[str, ...] = ()
    api: str | None = None
    api_repository: str | None = None
    report: Path | None = None
    team_label: str | None = None
    metrics: Path | None = None
    notify: str | None = field(default=None, repr=False)
    notify_file: Path | None = None
    notify_format: str | None = None
    confirm: str = "auto"
    store: StoreAddress | None = None
    name: str = ""
    hint: str = ""
    configuration: Path | None = None
    found: Mapping[str, Found] = field(default_factory=dict, repr=False)
    repeated: tuple[tuple[str, str], ...] = ()
    command: str = ""

    @property
    def address(self) -> RegistryAddress:
        """The registry. Raises UsageError if none was named."""
        if self.registry is None:
            raise UsageError(
                "no registry was named",
                advice="name it with -reg HOST, in the variable REGISTRY, or as the default of the configuration file",
            )
        return self.registry

    def advised(self, command: str, *, registry: str = "") -> str:
        """A command to copy, with the registry, state folder and configuration if this command line named them; or for
        another registry."""
        repeated = (("-reg", registry), *self.repeated[1:]) if registry else self.repeated
        options = "".join(f" {option} {shlex.quote(value)}" for option, value in repeated if value)
        return f"`dregutil {command}{options}`"


def read_settings(args: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Settings:
    """The settings for a command line. Raises UsageError for an invalid value, and as `choose_registry` does."""
    given = vars(args)
    command = EVERY_COMMAND[args.command]
    configuration = _configuration(given, env)
    path = None if configuration is None else configuration.path
    found = _resolved(Place.TOP, given, env, {} if configuration is None else configuration.top, path)
    state_dir: Path = found["state_dir"].value or files.state_folder(env)
    store: StoreAddress | None = found["store"].value
    registry = choose_registry(args, env, configuration, state_dir, store, takes_default=command.default)
    found |= _resolved(Place.REGISTRY, given, env, registry.table, path)
    login = read_login(args, env, found, registry, path)
    cache = found["cache"]
    is_uncached = cache.source is not Source.DEFAULT and cache.value is None
    return Settings(
        **{name: found[name].value for name in _AS_FOUND},
        registry=registry.address,
        password=login.password,
        credential_source=_login_source(login, registry),
        authfile=given.get("authfile"),
        cache=None if is_uncached else cache.value or _default_cache(registry, env, found["store"].value, state_dir),
        contents=None if is_uncached else files.contents_file(env),
        state_dir=state_dir,
        refresh=bool(given.get("refresh")),
        raise_intersecting_repository=bool(given.get("raise_repo")),
        count=bool(given.get("count")),
        format=given.get("format") or "text",
        quiet=bool(given.get("quiet")),
        name=registry.name,
        hint=registry.hint,
        configuration=path,
        found={"registry": registry.found, "password": login.shown, **found},
        repeated=_repeated(given, registry, found["store"]),
    )


def _resolved(
    place: Place, given: Mapping[str, Any], env: Mapping[str, str], table: Mapping[str, object], path: Path | None
) -> dict[str, Found]:
    file = "" if path is None else str(path)
    return {option.name: resolve(option, given, env, table, file) for option in OPTIONS if option.place is place}


def configuration_file(given: Mapping[str, Any], env: Mapping[str, str]) -> tuple[Path | None, bool]:
    """Where the configuration file is, None if none is to be read; and whether the command line or a variable names
    it."""
    named = given.get("config") or env.get("DREGUTIL_CONFIG")
    if named:
        return None if is_off(named) else files.absolute(Path(named)), True
    return files.absolute(Path(env.get("XDG_CONFIG_HOME") or "~/.config") / "dregutil" / "config.toml"), False


def _configuration(given: Mapping[str, Any], env: Mapping[str, str]) -> Configuration | None:
    path, is_named = configuration_file(given, env)
    if path is None or not (is_named or os.path.lexists(path)):
        return None
    from dregutil.cli.configuration import read_configuration  # imports tomllib, which takes a while

    try:
        return read_configuration(path)
    except FileNotFoundError:
        raise UsageError(
            f"there is no configuration file {path}", advice="--config (DREGUTIL_CONFIG) names one; `None` reads none"
        ) from None


def _login_source(login: Login, registry: ChosenRegistry) -> str:
    """How `doctor` names the place of a login."""
    if login.found.source is Source.FILE:
        return f"{files.short_path(Path(login.found.where))} ({registry.name})"
    return "flags" if login.found.source is Source.FLAG else "environment"


def shown_command(arguments: Sequence[str]) -> str:
    """A command line as it may be recorded: without a password or the URL of a webhook, on one line, in UTF-8."""
    shown: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, _ = argument.partition("=")
        is_long = (len(name) > 2 and name.startswith("--p") and "--password".startswith(name)) or name == "--notify"
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
    return escaped(shlex.join(map(without_store_passwords, shown)))


def cache_file_name(address: RegistryAddress) -> str:
    """The older tool's name for a registry's cache: without the scheme, `/` and `.` replaced by `_`."""
    return f"{address.name.replace('/', '_').replace('.', '_')}_cache.json"


def _default_cache(
    registry: ChosenRegistry, env: Mapping[str, str], store: StoreAddress | None, state: Path
) -> Path | None:
    """In the current folder, as the older tool; for a registry of the configuration file in the cache folder of the
    user, unless the current folder has one. With a store, the copy of its tags."""
    if registry.address is None:
        return None
    if store is not None:
        from dregutil.store.inventory import copy_of_tags
        from dregutil.store.open import mirror_folder

        return copy_of_tags(mirror_folder(store, state), registry.address.identity)
    here = Path(cache_file_name(registry.address))
    return here if registry.configured is None or here.exists() else files.contents_file(env).with_name(here.name)


def _repeated(given: Mapping[str, Any], registry: ChosenRegistry, store: Found) -> tuple[tuple[str, str], ...]:
    """The options of a command line that an advised command needs, too; the registry is the first."""
    named: str = registry.found.value if registry.found.source is Source.FLAG else ""
    return (
        ("-reg", named),
        ("--state-dir", given.get("state_dir") or ""),
        ("--store", str(store.value or "") if store.source is Source.FLAG else ""),
        ("--config", given.get("config") or ""),
    )
