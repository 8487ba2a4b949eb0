"""`doctor`: can the registry be reached, who are we there, and what does it allow. Changes nothing."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

from dregutil.cli.connection import connect_options
from dregutil.cli.health import examine_health, health_lines
from dregutil.cli.output import emit
from dregutil.cli.repositories import listed_repositories, odd_names_lines
from dregutil.cli.settings import Settings
from dregutil.errors import (
    AccessError,
    CatalogClosedError,
    DeletionDisabledError,
    DeniedError,
    DregutilError,
    RegistryError,
)
from dregutil.oci.names import Repository
from dregutil.registry import WritableRegistry, connect_writable
from dregutil.registry.reader import Login
from dregutil.report.text import pair_lines

__all__ = ["doctor"]

_PROBE = Repository("dregutil-probe")


def doctor(args: argparse.Namespace, settings: Settings) -> int:
    path = settings.repositories_from
    listed = () if path is None else listed_repositories(path, settings.address)

    async def examine() -> tuple[list[tuple[str, str]], DregutilError | None]:
        async with connect_writable(settings.address, connect_options(settings)) as registry:
            return await _examine(registry, listed)

    rows, failed = asyncio.run(examine())
    if settings.format == "text":
        # At once: what comes after may take a while.
        emit(settings, (), pair_lines(rows))
        sys.stdout.flush()
    more, code, failed = ([], 0, failed) if failed is not None or args.quick else _health(settings)
    shown = more if settings.format == "text" else [*rows, *more]
    emit(settings, [{"check": check, "found": found} for check, found in shown], health_lines(more))
    if failed is not None:
        raise failed
    return code


def _health(settings: Settings) -> tuple[list[tuple[str, str]], int, DregutilError | None]:
    try:
        return *examine_health(settings), None
    except (DeniedError, RegistryError) as error:
        return [("health", f"not looked at: {error.message}; --storage would show it")], 0, None
    except DregutilError as error:
        return [("health", f"not known: {error.message}")], 0, error


async def _examine(
    registry: WritableRegistry, listed: Sequence[Repository]
) -> tuple[list[tuple[str, str]], DregutilError | None]:
    """What was found, a row for each look; and the error that ended it, if one did."""
    rows = [("registry", registry.address.base_url)]
    try:
        ping = await registry.ping()
    except DregutilError as error:
        rows.append(("reachable", "yes, but no login" if isinstance(error, AccessError) else "no"))
        rows += _logins(registry)
        return rows, error
    rows.append(("reachable", "yes" + (f", {ping.api_version}" if ping.api_version else "")))
    kind = registry.kind
    rows += [("server", kind.name), *(("there", limit) for limit in kind.limits)]
    repository, catalog, failed = await _catalog(registry)
    rows += [*_logins(registry), ("catalog", catalog)]
    rows += [("names", line) for line in odd_names_lines(registry.odd_names)]
    if failed is not None and isinstance(failed, AccessError) and not isinstance(failed, DeniedError):
        return rows, failed
    rows += await _deletion(registry, listed[0] if listed else repository or _PROBE)
    return rows, None


def _logins(registry: WritableRegistry) -> list[tuple[str, str]]:
    """Which login is used, and where it was found; never the secret."""
    scoped = registry.scoped_logins.items()
    return [("login", _login(registry.login)), *((f"login for {path}", _login(login)) for path, login in scoped)]


def _login(login: Login) -> str:
    if login.source == "none":
        return "anonymous (no credentials were found)"
    how = f", {login.scheme}" if login.scheme else ", which the registry did not ask for"
    return f"{login.user or '(token)'}, from {login.source}{how}"


async def _catalog(registry: WritableRegistry) -> tuple[Repository | None, str, DregutilError | None]:
    names: AsyncIterator[Repository] = registry.repositories()
    first, number = None, 0
    try:
        async for name in names:
            first = first or name
            number += 1
    except DregutilError as error:
        what = f"closed: {error.message}"
        return first, f"{what}; {error.advice}" if isinstance(error, CatalogClosedError) else what, error
    return first, f"open, {number:,} repositories", None


async def _deletion(registry: WritableRegistry, repository: Repository) -> list[tuple[str, str]]:
    try:
        await registry.check_deletion(repository)
    except DeletionDisabledError as error:
        return [("deletion", f"disabled; {error.advice}")]
    except DeniedError as error:
        return [("deletion", f"this login has no right to it; {error.advice}")]
    except DregutilError as error:
        return [("deletion", f"not known: {error.message}")]
    by_tag = "not tested (--untag tries it; where the server cannot, the tag is moved onto a manifest of its own first)"
    return [("deletion", "allowed"), ("delete by tag", by_tag)]
