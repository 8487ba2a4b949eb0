"""Whether a registry answers at an address at all: a web server, or a wrong path, is reported as that."""

from __future__ import annotations

import asyncio

from dregutil.errors import DregutilError, NoRegistryError
from dregutil.oci.manifest import bare_media_type
from dregutil.registry.answers import error_details
from dregutil.registry.auth.challenge import parse_challenges
from dregutil.registry.http.transport import Answer, Transport

__all__ = ["Recognition", "shows_registry"]

_LONGEST_PING = 64 * 1024
_PAGES = ("text/html", "application/xhtml+xml")


def shows_registry(answer: Answer) -> bool:
    """Whether an answer can only come from a registry: by its headers, its challenge, or the form of its body."""
    headers = answer.headers
    if any(name.lower().startswith(("docker-", "oci-")) for name in headers):
        return True
    challenges = parse_challenges(headers.getall("WWW-Authenticate", []))
    if any(challenge.scheme == "bearer" and challenge.get("realm") for challenge in challenges):
        return True
    if 200 <= answer.status < 300:
        return bare_media_type(headers.get("Content-Type", "")).endswith("json") or answer.body.lstrip()[:1] == b"{"
    return any(error.code for error in error_details(answer.body))


class Recognition:
    """Examines the answers of a server until one of them shows a registry; if in doubt, by asking for `/v2/`, once."""

    def __init__(self, transport: Transport) -> None:
        self.is_registry = False
        self._transport = transport
        self._asking = asyncio.Lock()
        self._answer: Answer | None = None

    async def examine(self, answer: Answer) -> None:
        """Raises NoRegistryError if a web server answers here, and what else may prevent an answer to `/v2/`."""
        if self.is_registry or shows_registry(answer):
            self.is_registry = True
            return
        async with self._asking:
            if not self.is_registry:
                if self._answer is None:
                    self._answer = await self.ping()
                self.check(self._answer)

    async def ping(self) -> Answer:
        """The answer to `/v2/`, whatever it is."""
        return await self._transport.get_unexamined(self._transport.url("/v2/"), longest=_LONGEST_PING)

    async def accepts(self) -> bool:
        """Whether `/v2/` accepts the login. Harbor refuses its catalog (401) to all but administrators."""
        try:
            return (await self.ping()).status == 200
        except DregutilError:
            return False

    def check(self, answer: Answer) -> None:
        """Judge the answer to `/v2/`. Raises NoRegistryError. A refused login proves nothing: a proxy may send it."""
        if shows_registry(answer):
            self.is_registry = True
            return
        if answer.status in (401, 403):
            return
        is_page = bare_media_type(answer.headers.get("Content-Type", "")) in _PAGES
        if answer.status != 200 or is_page:
            what = "a web page" if is_page else f"status {answer.status}"
            raise NoRegistryError(f"no registry at {self._transport.base}: /v2/ answers with {what}")
        self.is_registry = True
