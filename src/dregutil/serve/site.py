"""What the parts of the server share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING

from dregutil.pages.label import label
from dregutil.serve.events import Events
from dregutil.serve.files import ServeFolder
from dregutil.serve.images.keeper import Images
from dregutil.serve.jobs import Jobs
from dregutil.serve.people import Person, Roles
from dregutil.serve.program import Program
from dregutil.serve.renewal import Renewal
from dregutil.serve.reported import Reported

if TYPE_CHECKING:
    from dregutil.serve.team import Team

__all__ = ["Asked", "Options", "Site"]


@dataclass(frozen=True, slots=True)
class Options:
    """How the server was started. `hosts` are the names under which it may be asked besides its address. Without
    `user_header` there is one person, `owner`; with it, who is named in that header by a peer of `trusted`.
    `approvals`: how many people must approve a plan. `refresh_every` in seconds, 0 for never."""

    host: str
    port: int
    owner: Person
    hosts: Collection[str] = ()
    user_header: str | None = None
    trusted: tuple[IPv4Network | IPv6Network, ...] = ()
    roles: Roles = field(default_factory=Roles)
    approvals: int = 1
    refresh_every: float = 3600.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which registry the server is. `policy` is the file of the policy, None without one; `cache` that of the tags.
    The rest is as in `model.Session`."""

    registry: str
    identity: str
    program: str
    command: str
    policy: str | None = None


@dataclass(slots=True)
class Site:
    """One server. `team` is the store that it is a face of, None without one."""

    options: Options
    asked: Asked
    program: Program
    folder: ServeFolder
    events: Events
    jobs: Jobs
    reported: Reported
    renewal: Renewal
    images: Images
    team: Team | None = None

    def advised(self, *words: str) -> str:
        """A command as a person types it, to be shown."""
        return label(self.program.shown(words), 1000)
