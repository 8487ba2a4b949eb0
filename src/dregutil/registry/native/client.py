"""JSON over HTTP with a service's own API: bounded bodies, bounded lists, and plain reasons where it refuses."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from yarl import URL

from dregutil.errors import (
    DeniedError,
    DregutilError,
    ErrorDetail,
    LoginError,
    NoListingError,
    OutcomeUnknownError,
    RegistryError,
    UnlistableError,
)
from dregutil.registry.answers import error_details
from dregutil.registry.http.transport import Answer, Transport
from dregutil.registry.paging import Progress, next_page
from dregutil.registry.workers import for_each

__all__ = ["ApiClient", "Sent", "encoded"]

_LONGEST_PAGE = 64 * 1024 * 1024  # bytes
_MOST_PAGES = 100_000
_LONGEST_TOKEN = 64 * 1024  # characters, of the name of a next page
_AT_ONCE = 16
_REFUSED = {401: "it does not accept the login", 403: "the login has no right to it", 404: "it has no such list"}

Query = Mapping[str, str | int] | Sequence[tuple[str, str | int]]


def encoded(part: str, *, times: int = 1) -> str:
    """`part` as one segment of a path, with `/` encoded as well; `times` 2 for servers that decode it twice."""
    for _ in range(times):
        part = quote(part, safe="")
    return part


@dataclass
class Sent:
    """How many questions were sent, without logins and repetitions."""

    number: int = 0


class ApiClient:
    """A service's API below the base of `transport`. `what` names it in messages ("Docker Hub's API").

    A path begins with a slash and is encoded, see `encoded`; it is sent exactly as it is. `scopes` are those of the
    registry's own token, where that is the login.
    """

    def __init__(self, transport: Transport, what: str, redacted: Callable[[str], str], sent: Sent) -> None:
        """`redacted`: a text without the secrets of the registry and of this API. `sent` counts the questions."""
        self.what = what
        self.redacted = redacted
        self._transport = transport
        self._sent = sent

    def writing(self) -> ApiClient:
        """The same API, for one who may change the registry."""
        found = copy.copy(self)
        found._transport = self._transport.writing()  # noqa: SLF001 - its own class
        return found

    def url(self, path: str, query: Query = ()) -> URL:
        """The URL of `path` with `query`, whose values are encoded here."""
        found = self._transport.url(path)
        return URL(f"{found}?{urlencode(query)}", encoded=True) if query else found

    async def get(
        self,
        path: str | URL,
        query: Query = (),
        *,
        scopes: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Any, Answer]:
        """The JSON document at `path`, or at a URL of this API, and the answer that holds it.

        Raises NoListingError for 401, 403, 404 and for what is no JSON, RegistryError for another status, and as
        `Transport.send` does.
        """
        url = path if isinstance(path, URL) else self.url(path, query)
        self._sent.number += 1
        answer = await self._transport.send("GET", url, scopes, headers=headers, longest=_LONGEST_PAGE)
        return self._decoded(answer), answer

    async def query(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str],
        query: Query = (),
        scopes: tuple[str, ...] = (),
    ) -> tuple[Any, Answer]:
        """The JSON answer to a POST that changes nothing: a reader may send it, and it is repeated as a GET is.

        Raises as `get` does.
        """
        url = self.url(path, query)
        self._sent.number += 1
        answer = await self._transport.query(url, scopes, body=body, headers=headers, longest=_LONGEST_PAGE)
        return self._decoded(answer), answer

    async def change(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        scopes: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        begun_by: float = float("inf"),
    ) -> Answer:
        """The answer to a DELETE, POST or PUT that changes the registry, which is sent once.

        Any status below 500 is returned; see `refused`. Raises ProtocolError with a transport that only reads,
        OutcomeUnknownError for a lost answer or a status of 500 and more, PushedBackError after `begun_by`.
        """
        url = self.url(path, query)
        answer = await self._transport.send(method, url, scopes, headers=headers, body=body, begun_by=begun_by)
        if answer.status >= 500:
            raise OutcomeUnknownError(
                f"{method} to {self.what} was answered with status {answer.status}; "
                "whether it was carried out is not known",
                status=answer.status,
            )
        return answer

    def refused(self, answer: Answer, action: str) -> DregutilError:
        """The error for an answer that refuses `action` ("delete the tag 1.0 of shop/web")."""
        said = self.said(answer)
        reason = f"{said} (status {answer.status})" if said else f"status {answer.status}"
        text = f"{self.what} could not {action}: {reason}"
        if answer.status == 401:
            return LoginError(text)
        if answer.status == 403:
            return DeniedError(text)
        errors = error_details(answer.body, self.redacted) or _typed(answer.body, said)
        return RegistryError(text, status=answer.status, errors=errors)

    def said(self, answer: Answer) -> str:
        """What the body of an error says, without secrets, at most 200 characters; empty if nothing plain."""
        details = error_details(answer.body, self.redacted)
        if said := "; ".join(dict.fromkeys(one.message or one.code for one in details if one.message or one.code)):
            return said[:200]
        try:
            body = msgspec.json.decode(answer.body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return ""
        found = (
            next((body[key] for key in ("message", "detail", "error") if isinstance(body.get(key), str)), "")
            if (isinstance(body, dict))
            else ""
        )
        return "".join(letter if letter.isprintable() else " " for letter in self.redacted(found)[:200])

    async def linked(
        self,
        path: str,
        query: Query = (),
        *,
        scopes: tuple[str, ...] = (),
        names: Callable[[Any], Iterable[object]],
        next_in: Callable[[Any, Answer], str] | None = None,
    ) -> AsyncIterator[Any]:
        """The documents of a list, page by page, as each names the next one.

        `names` returns what a page lists, to detect a list that never ends. The next page is the Link header's, or the
        URL that `next_in` finds. It must be at this API's own address and have the same path: UnlistableError.
        """
        progress = Progress(f"read {self.what}")
        url: URL | None = self.url(path, query)
        while url is not None:
            progress.begin(url)
            page, answer = await self.get(url, scopes=scopes)
            progress.read(names(page))
            yield page
            links = answer.headers.getall("Link", [])
            if next_in is not None:
                target = next_in(page, answer)
                links = [f'<{target}>; rel="next"'] if target else []
            url = next_page(links, answer.url)

    async def continued(
        self, ask: Callable[[str], Awaitable[Any]], token_in: Callable[[Any], object]
    ) -> AsyncIterator[Any]:
        """The documents of a list in which each page names a token for the next one: `ask` requests a page, the first
        with an empty token, `token_in` finds the next token. Raises UnlistableError for a list that never ends."""
        seen: set[str] = set()
        token = ""
        while token not in seen and len(seen) < _MOST_PAGES:
            seen.add(token)
            page = await ask(token)
            yield page
            found = token_in(page)
            if found is None or found == "":
                return
            if not isinstance(found, str) or len(found) > _LONGEST_TOKEN:
                raise UnlistableError(f"{self.what} names the next page of a list by something that is no text")
            token = found
        raise UnlistableError(f"could not read {self.what}: its list does not end")

    async def numbered(
        self, ask: Callable[[int], Awaitable[Any]], pages: Iterable[int], *, at_once: int = _AT_ONCE
    ) -> list[Any]:
        """The documents of the pages with these numbers, in their order, several at a time.

        Raises UnlistableError for more than 100,000.
        """
        wanted = tuple(pages)
        if len(wanted) > _MOST_PAGES:
            raise UnlistableError(f"could not read {self.what}: its list has more than {_MOST_PAGES:,} pages")
        found: dict[int, Any] = {}

        async def read(number: int) -> None:
            found[number] = await ask(number)

        await for_each(wanted, read, at_once=at_once)
        return [found[number] for number in wanted]

    def _decoded(self, answer: Answer) -> Any:
        if answer.status in _REFUSED:
            said = self.said(answer)
            reason = f"status {answer.status}: {said}" if said else f"status {answer.status}"
            raise NoListingError(f"{self.what}: {_REFUSED[answer.status]} ({reason})", status=answer.status)
        if answer.status != 200:
            raise self.refused(answer, "list a repository")
        try:
            return msgspec.json.decode(answer.body)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise NoListingError(f"{self.what}: its answer is not JSON") from error


def _typed(body: bytes, said: str) -> tuple[ErrorDetail, ...]:
    """The error in a body of AWS, whose name is in `__type`, perhaps after that of its namespace; else none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ()
    name = found.get("__type") if isinstance(found, dict) else None
    return (ErrorDetail(name.rpartition("#")[2][:100], said),) if isinstance(name, str) else ()
