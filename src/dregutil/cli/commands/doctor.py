"""`doctor`: whether the registry can be reached, which login is used, and what it allows. Changes nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from dregutil.apply.examine import Examination
from dregutil.cli.health import examine_health, health_lines
from dregutil.cli.opened import opened
from dregutil.cli.output import emit, plural
from dregutil.cli.repositories import odd_names_lines
from dregutil.cli.settings import Settings
from dregutil.errors import (
    CatalogClosedError,
    DeletionDisabledError,
    DeniedError,
    DregutilError,
    LoginError,
    NoCatalogError,
    RegistryError,
)
from dregutil.inventory.listed_tags import WayToTags
from dregutil.registry.values import Login
from dregutil.report.text import pair_lines
from dregutil.session.sync import Session

__all__ = ["doctor"]

Rows = list[tuple[str, str]]
_ARRIVE = "the registry's notifications arrive"
_DO_NOT_ARRIVE = (
    "NOT RECORDED: the registry's notifications do not arrive; "
    "see that `dregutil listen` runs, and what it and the registry's log say"
)


def doctor(args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as registry:
        found = registry.examine()
        rows = [*_rows(found)]
        if settings.format == "text":
            # Print these now: the checks that follow may take a while.
            emit(settings, (), pair_lines(rows))
            sys.stdout.flush()
        failed = found.error
        more: Rows = []
        code = 0
        if failed is None and not args.quick:
            more, code, failed = _health(registry, settings, found)
        if failed is None and (arrive := registry.notifications_arrive()) is not None:
            more = [*more, ("pulls", _ARRIVE if arrive else _DO_NOT_ARRIVE)]
            code = code or (0 if arrive else 3)
    shown = more if settings.format == "text" else [*rows, *more]
    emit(settings, [{"check": check, "found": what} for check, what in shown], health_lines(more))
    if failed is not None:
        raise failed
    return code


def _health(registry: Session, settings: Settings, found: Examination) -> tuple[Rows, int, DregutilError | None]:
    try:
        return *examine_health(registry, settings, counts_pulls=found.counts_pulls), None
    except (DeniedError, RegistryError) as error:
        return [("health", f"not checked: {error.message}; --storage can check it")], 0, None
    except DregutilError as error:
        return [("health", f"not known: {error.message}")], 0, error


def _rows(found: Examination) -> Iterator[tuple[str, str]]:
    """A row for each check."""
    yield "registry", found.base_url
    if found.error is not None and found.catalog_error is None:
        yield "reachable", "yes, but no login" if found.reachable else "no"
        yield from _logins(found)
        return
    yield "reachable", "yes" + (f", {found.api_version}" if found.api_version else "")
    yield "server", found.server
    for limit in found.limits:
        yield "there", limit
    yield from _logins(found)
    yield "catalog", _catalog(found)
    for line in odd_names_lines(found.odd_names):
        yield "names", line
    if found.way is not None:
        yield "tags", _way(found.way)
    if found.was_asked:
        yield from _deletion(found.deletion)


def _logins(found: Examination) -> Iterator[tuple[str, str]]:
    """Which login is used, and where it was found; never the secret."""
    if found.login is not None:
        yield "login", _login(found.login, is_refused=isinstance(found.error, LoginError))
    for path, login in found.scoped_logins.items():
        yield f"login for {path}", _login(login)


def _login(login: Login, *, is_refused: bool = False) -> str:
    if login.source == "none":
        return "anonymous (no credentials were found)"
    if is_refused:
        return f"{login.user or '(token)'}, from {login.source}, which was not accepted"
    how = f", {login.scheme}" if login.scheme else ", which the registry did not ask for"
    return f"{login.user or '(token)'}, from {login.source}{how}"


def _catalog(found: Examination) -> str:
    error = found.catalog_error
    if error is None:
        return f"open, {found.catalog or 0:,} repositories"
    if isinstance(error, NoCatalogError):
        return f"none; {error.advice}"
    what = f"closed: {error.message}"
    return f"{what}; {error.advice}" if isinstance(error, CatalogClosedError) else what


def _way(way: WayToTags) -> str:
    """How tags are read, and what that saves."""
    if way.refusal:
        return f"read one by one: {way.refusal}"
    if way.setting:
        took = f"; about {way.requests:,} requests instead of {way.otherwise:,}" if way.repository is not None else ""
        what = "" if way.repository is None else f" for {way.repository}"
        return f"read one by one: with {way.setting}, {way.service} lists them{took}{what}"
    if way.repository is None:
        return f"read through {way.service}, which was not tried: no repository is known"
    took = f"{plural(way.requests, 'request')} for {way.repository}"
    return f"read through {way.service}: {took}, where one for each tag takes {way.otherwise:,}"


def _deletion(error: DregutilError | None) -> Iterator[tuple[str, str]]:
    if isinstance(error, DeletionDisabledError):
        yield "deletion", f"disabled; {error.advice}"
    elif isinstance(error, DeniedError):
        yield "deletion", f"this login has no right to it; {error.advice}"
    elif error is not None:
        yield "deletion", f"not known: {error.message}"
    else:
        yield "deletion", "allowed"
        yield (
            "delete by tag",
            "not tested (--untag tries it; otherwise the tag is moved to a placeholder first)",
        )
