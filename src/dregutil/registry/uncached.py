"""Reads that bypass a cache in front of the registry: decisions need its own answers.

Many caches ignore `Cache-Control` in a request, or `Accept`, and answer a tag with what another client requested. So
tags and lists are requested at URLs that no cache has seen. A cache that ignores the query as well shows by its `Age`
header, or not at all.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping

from yarl import URL

from dregutil.oci.manifest import ACCEPT, MAX_MANIFEST_BYTES
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.answers import is_aged
from dregutil.registry.http.transport import Answer, Transport

__all__ = ["NO_CACHE", "Uncached"]

NO_CACHE = {"Cache-Control": "no-cache"}
_ACCEPT_MANIFESTS = {"Accept": ACCEPT, **NO_CACHE}
_QUERY = "uncached"


class Uncached:
    """`cached`: the repositories for which a cache answered all the same, twice."""

    def __init__(self, transport: Transport) -> None:
        self.cached: set[Repository] = set()
        self._transport = transport
        self._mark = secrets.token_hex(4)
        self._number = itertools.count()
        self._takes_queries = True

    async def manifest(
        self, method: str, repository: Repository, reference: Tag | Digest, scopes: tuple[str, ...], agent: str = ""
    ) -> Answer:
        """The answer to GET or HEAD of a manifest. Raises as `Transport.send` does."""
        path = f"/v2/{repository}/manifests/{reference}"
        is_tag, headers = isinstance(reference, Tag), _ACCEPT_MANIFESTS
        if agent:
            headers = {**headers, "User-Agent": agent}
        answer = await self._manifest(method, path, scopes, headers, is_tag=is_tag)
        # The content of a digest never changes: a cache may have it, but cannot know that it is missing.
        if is_aged(answer) and (is_tag or answer.status == 404):
            answer = await self._manifest(method, path, scopes, headers, is_tag=is_tag)
            if is_aged(answer):
                self.cached.add(repository)
        return answer

    async def page(self, url: URL, scopes: tuple[str, ...], repository: Repository | None) -> Answer:
        """The answer to GET of a page of a list. Raises as `Transport.send` does.

        It is sent before waiting requests: they come from pages read before, and would soon run out.
        """
        answer = await self._page(url, scopes)
        if is_aged(answer):
            answer = await self._page(url, scopes)
            if is_aged(answer) and repository is not None:
                self.cached.add(repository)
        return answer

    async def _manifest(
        self, method: str, path: str, scopes: tuple[str, ...], headers: Mapping[str, str], *, is_tag: bool
    ) -> Answer:
        is_unseen = is_tag and self._takes_queries
        url = self._transport.url(f"{path}?{self._query()}" if is_unseen else path)
        answer = await self._transport.send(method, url, scopes, headers=headers, longest=MAX_MANIFEST_BYTES)
        if answer.status == 400 and is_unseen:
            plain = await self._transport.send(
                method, self._transport.url(path), scopes, headers=headers, longest=MAX_MANIFEST_BYTES
            )
            if plain.status != 400:
                self._takes_queries = False
                return plain
        return answer

    async def _page(self, url: URL, scopes: tuple[str, ...]) -> Answer:
        asked = self._unseen(url)
        answer = await self._transport.send("GET", asked, scopes, headers=NO_CACHE, urgent=True)
        if answer.status == 400 and asked is not url:
            plain = await self._transport.send("GET", url, scopes, headers=NO_CACHE, urgent=True)
            if plain.status != 400:
                self._takes_queries = False
                return plain
        return answer

    def _unseen(self, url: URL) -> URL:
        """The URL with a query that no cache has seen; unchanged if the registry refuses that."""
        if not self._takes_queries:
            return url
        query = url.raw_query_string
        return URL(f"{url.origin()}{url.raw_path}?{query}{'&' if query else ''}{self._query()}", encoded=True)

    def _query(self) -> str:
        return f"{_QUERY}={self._mark}{next(self._number):x}"
