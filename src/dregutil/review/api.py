"""The API of the service that runs a job: JSON over HTTPS, with a token that is sent to this API alone."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from dregutil.errors import RefusedError, UnreachableError, UsageError

__all__ = ["Api"]

_TIMEOUT = 60.0  # seconds
_LARGEST = 1 << 28  # bytes
_PER_PAGE = 100
_MOST_PAGES = 100
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A redirect is an answer: what is sent to the API is not sent on."""


class Api:
    """`base` is the URL of the API; `headers` have the token. Raises UsageError if it would be sent unencrypted."""

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(base)
        if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise UsageError("the URL of the API does not begin with https://")
        self._base = base.rstrip("/")
        self._headers = {"User-Agent": "dregutil", "Accept": "application/json", **headers}
        self._opener = urllib.request.build_opener(_NoRedirect)

    def get(self, path: str) -> Any:
        """The decoded answer. Raises UnreachableError, RefusedError."""
        return json.loads(self.send("GET", path))

    def pages(self, path: str) -> Iterator[Any]:
        """The elements of a list, of all its pages."""
        mark = "&" if "?" in path else "?"
        for number in range(1, _MOST_PAGES + 1):
            found = self.get(f"{path}{mark}per_page={_PER_PAGE}&page={number}")
            yield from found
            if len(found) < _PER_PAGE:
                return

    def send(self, method: str, path: str, body: object = None) -> bytes:
        """The bytes of the answer; those that it redirects to are fetched without the token."""
        headers, data = dict(self._headers), None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, headers, method=method)  # noqa: S310 - checked above
        status, place, raw = self._sent(request, path)
        if status in (301, 302, 303, 307, 308) and method == "GET" and place:
            is_safe = place.startswith("https://") or urlsplit(place).hostname in _LOOPBACK
            if not is_safe:
                raise RefusedError(f"{path} leads to an address that is not https://")
            elsewhere = urllib.request.Request(place, headers={"User-Agent": "dregutil"})  # noqa: S310 - checked above
            status, _, raw = self._sent(elsewhere, path)
        if not 200 <= status < 300:
            raise RefusedError(
                f"{method} {path} was answered with {status}",
                advice="does the token of the job have the right to do that?",
            )
        return raw

    def _sent(self, request: urllib.request.Request, path: str) -> tuple[int, str, bytes]:
        try:
            with self._opener.open(request, timeout=_TIMEOUT) as answer:
                raw = answer.read(_LARGEST + 1)
                if len(raw) > _LARGEST:
                    raise RefusedError(f"the answer to {path} is too large")
                return answer.status, "", raw
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("Location", ""), b""
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"{path} cannot be read: {error}") from error
