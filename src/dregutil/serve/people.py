"""Who asks, and what they may do.

Without a proxy there is one person: the one who started the server, who has all roles, and whose browser got its cookie
for the token in the printed address. Behind a proxy the person is in a header, which is believed from the proxy alone.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dregutil.pages.label import label
from dregutil.serve.answers import RequestError
from dregutil.serve.model import RoleName

__all__ = ["PERSON", "Person", "Role", "Roles", "need"]


class Role(enum.IntEnum):
    """Each may do what the ones before it may. NOBODY is for what needs no login."""

    NOBODY = 0
    VIEWER = 1
    PLANNER = 2
    APPROVER = 3


_NAMED: Mapping[RoleName, Role] = {"viewer": Role.VIEWER, "planner": Role.PLANNER, "approver": Role.APPROVER}


@dataclass(frozen=True, slots=True)
class Person:
    """`name` is as it is recorded and shown; `role` the highest."""

    name: str
    role: Role

    @property
    def roles(self) -> list[RoleName]:
        return [name for name, role in _NAMED.items() if role <= self.role]

    def has(self, role: Role) -> bool:
        return self.role >= role


def _plain(name: str, _kind: type) -> str:
    return name


PERSON: Any = getattr(web, "RequestKey", _plain)("dregutil.person", Person)  # aiohttp has keys with types since 3.14
"""The key of a request under which its `Person` is."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The names that have each role; `*` stands for everyone."""

    names: Mapping[Role, Collection[str]] = field(default_factory=dict)

    def of(self, name: str) -> Person:
        """The person of a name in the header of the proxy; their role is NOBODY if none was given."""
        given = [role for role, names in self.names.items() if name in names or "*" in names]
        return Person(label(name), max(given, default=Role.NOBODY))


def need(request: web.Request, role: Role) -> Person:
    """Who asks. Raises RequestError (403) if they do not have the role."""
    person: Person = request[PERSON]
    if not person.has(role):
        raise RequestError(
            403,
            f"{person.name} may not do this: it needs the role {role.name.lower()}",
            f"whoever runs the server gives it with --{role.name.lower()} {person.name}",
        )
    return person
