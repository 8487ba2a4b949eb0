"""What a registry is, who we are there, and what it allows. Changes nothing: the one DELETE that it sends names a
digest that does not exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dregutil.errors import AccessError, DeniedError, DregutilError
from dregutil.inventory.listed_tags import WayToTags, way_to_tags
from dregutil.oci.names import Repository
from dregutil.registry.pull_counts import reading_counts
from dregutil.registry.reader import Registry
from dregutil.registry.values import Login
from dregutil.registry.writer import WritableRegistry

__all__ = ["Examination", "examine"]

_PROBE = Repository("dregutil-probe")


@dataclass(frozen=True, slots=True)
class Examination:
    """What was learnt, up to the `error` that ended it, if one did.

    `reachable`: something answered. `catalog` is how many repositories the catalog names, None where it was not read
    or `catalog_error` says why not. `deletion`: None where it is allowed, else the error that says why not; `was_asked`
    whether that was tried at all. `way`: how tags are read, where the registry's service has an API.
    `counts_pulls`: reading a manifest counts as a pull there.
    """

    base_url: str
    reachable: bool = False
    api_version: str = ""
    server: str = ""
    limits: tuple[str, ...] = ()
    counts_pulls: bool = False
    login: Login | None = None
    scoped_logins: Mapping[str, Login] = field(default_factory=dict)
    catalog: int | None = None
    catalog_error: DregutilError | None = None
    odd_names: frozenset[str] = frozenset()
    deletion: DregutilError | None = None
    was_asked: bool = False
    way: WayToTags | None = None
    error: DregutilError | None = None


async def examine(registry: Registry, listed: Sequence[Repository] = ()) -> Examination:
    """Ask a registry what it is. `listed` are repositories that are known where there is no catalog."""
    found = Examination(registry.address.base_url)
    try:
        ping = await registry.ping()
    except DregutilError as error:
        is_there = isinstance(error, AccessError)
        return replace(_with_logins(found, registry), reachable=is_there, error=error)
    kind = registry.kind
    found = replace(
        found,
        reachable=True,
        api_version=ping.api_version,
        server=kind.name,
        limits=tuple(kind.limits),
    )
    first, number, closed = await _catalog(registry)
    found = replace(
        _with_logins(found, registry),
        catalog=None if closed else number,
        catalog_error=closed,
        odd_names=frozenset(registry.odd_names),
    )
    if isinstance(closed, AccessError) and not isinstance(closed, DeniedError):
        return replace(found, error=closed)
    known = listed[0] if listed else first
    found = replace(found, way=await way_to_tags(registry, known), counts_pulls=reading_counts(registry))
    repository = known or _PROBE
    try:
        await WritableRegistry.of(registry).check_deletion(repository)
    except DregutilError as refused:
        return replace(found, deletion=refused, was_asked=True)
    return replace(found, was_asked=True)


def _with_logins(found: Examination, registry: Registry) -> Examination:
    return replace(found, login=registry.login, scoped_logins=dict(registry.scoped_logins))


async def _catalog(registry: Registry) -> tuple[Repository | None, int, DregutilError | None]:
    """The first repository that the catalog names, how many it names, and the error that ended its reading."""
    first, number = None, 0
    try:
        async for name in registry.repositories():
            first = first or name
            number += 1
    except DregutilError as error:
        return first, number, error
    return first, number, None
