"""The server of `dregutil serve` in the process of the test, without a registry: its jobs run a script."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from dregutil.serve.app import made, serving
from dregutil.serve.files import ServeFolder
from dregutil.serve.people import Person, Role, Roles
from dregutil.serve.program import Program
from dregutil.serve.site import Asked, Options, Site
from dregutil.serve.team import Team, TeamRuns
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.migrations import migrate
from serving import Answered, sent

__all__ = ["BEHIND_PROXY", "DOCUMENT", "Inside", "inside", "team_store"]

DOCUMENT = {"version": 1, "kind": "report", "made": "2026-11-26T10:00:00Z", "read": "2026-11-26T09:00:00Z"}
BEHIND_PROXY: dict[str, Any] = {
    "user_header": "X-User",
    "trusted": (ip_network("127.0.0.1"),),
    "hosts": ("registry.example.com",),
    "roles": Roles({Role.VIEWER: ["vera"], Role.PLANNER: ["paul"], Role.APPROVER: ["anna"]}),
}
_SCRIPT = "import sys; sys.exit(0)"


@dataclass
class Inside:
    """A server that runs, and who asks it: the browser with the `cookie`."""

    site: Site
    address: str
    cookie: str = ""

    @property
    def port(self) -> int:
        return int(self.address.partition("://")[2].partition("/")[0].rpartition(":")[2])

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        source: str = "127.0.0.1",
    ) -> Answered:
        """The answer to a request with these headers alone."""
        return await asyncio.to_thread(sent, self.port, method, path, headers, body, source=source)

    async def get(self, path: str, **headers: str) -> Answered:
        return await self.ask("GET", path, self._headers(headers))

    async def post(self, path: str, body: object = None, **headers: str) -> Answered:
        given = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
        text = json.dumps({} if body is None else body).encode()
        return await self.ask("POST", path, self._headers(given) | self._headers(headers), text)

    async def enter(self) -> None:
        """Exchange the token for the cookie."""
        answered = await self.ask("GET", self.address[self.address.index("/?") :])
        assert answered.status == 303, answered
        self.cookie = answered.cookie

    def _headers(self, given: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in given.items()}
        return ({"Cookie": self.cookie} if self.cookie else {}) | named


def team_store(folder: Path) -> Database:
    """The store of a team, with its tables."""
    found = open_database(StoreAddress.parse(f"sqlite://{folder}/team.sqlite"))
    migrate(found)
    return found


def _team(folder: Path, identity: str) -> Team:
    return Team(folder / "copies", team_store(folder), identity)


@asynccontextmanager
async def inside(
    folder: Path,
    script: str = _SCRIPT,
    environment: dict[str, str] | None = None,
    *,
    store: bool = False,
    policy: str | None = None,
    **options: Any,
) -> AsyncIterator[Inside]:
    """Serve, with a report that was made before. Jobs run `script` with the words of the command as its arguments.
    `store`: as a face of a team's store, in the file `team.sqlite` of the folder."""
    chosen = Options(host="127.0.0.1", port=0, owner=Person("anna", Role.APPROVER), refresh_every=0.0, **options)
    asked = Asked("registry.example.com", "registry.example.com", "dregutil 3", "dregutil serve", policy)
    program = Program(
        (), environment or {}, lambda words: f"dregutil {shlex.join(words)}", (sys.executable, "-c", script)
    )
    team = _team(folder, asked.identity) if store else None
    served = ServeFolder(folder, asked.identity, None if team is None else TeamRuns(team))
    with served.held():
        served.report.write_text(json.dumps([DOCUMENT]))
        site = made(chosen, asked, program, served, None, team)
        async with serving(site) as address:
            found = Inside(site, address)
            if "?token=" in address:
                await found.enter()
            yield found
