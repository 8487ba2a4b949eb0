"""How answers are written: JSON without characters that are not shown, and errors with what to do next."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from typing import TypeVar

import msgspec
from aiohttp import web

from dregutil.errors import DregutilError, escaped_json
from dregutil.pages.label import label
from dregutil.report.markup import html_text
from dregutil.serve.model import Failure

__all__ = ["Failed", "RequestError", "answer", "as_page", "failure", "raw", "read_body"]

_LONGEST = 1000  # characters of a message

_Body = TypeVar("_Body")
_encode = msgspec.json.Encoder(enc_hook=str).encode  # Digest, Tag and Repository are subclasses of str
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>
{text}
</body>
</html>
"""


class RequestError(DregutilError):
    """A request that is not carried out. `status` is HTTP's."""

    def __init__(self, status: int, message: str, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.status = status


def answer(found: object, status: int = 200) -> web.Response:
    """An object of `model` as JSON."""
    return web.Response(body=_json(found), status=status, content_type="application/json")


def _json(found: object) -> bytes:
    return escaped_json(_encode(found).decode()).encode()


def raw(request: web.Request, body: bytes) -> web.Response:
    """JSON that was made before; 304 without it if the client has it already."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag}
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


class Failed(web.Response):
    """The answer to a request that is not carried out."""

    why: Failure


def failure(status: int, message: str, advice: str = "") -> Failed:
    """An error, as all routes answer one."""
    why = Failure(
        error=label(message, _LONGEST) or HTTPStatus(status).phrase.lower(), advice=label(advice, _LONGEST) or None
    )
    found = Failed(body=_json(why), status=status, content_type="application/json")
    found.why = why
    return found


def as_page(failed: Failed) -> web.Response:
    """The same for a person who opened the address."""
    lines = [f"<h1>{html_text(failed.why.error)}</h1>"]
    if failed.why.advice:
        lines.append(f"<p>{html_text(failed.why.advice)}</p>")
    text = _PAGE.format(title=html_text(failed.why.error), text="\n".join(lines))
    headers = {"Allow": failed.headers["Allow"]} if "Allow" in failed.headers else {}
    return web.Response(text=text, status=failed.status, content_type="text/html", headers=headers)


async def read_body(request: web.Request, kind: type[_Body]) -> _Body:
    """The body of a request. Raises RequestError (400) if it is not what the route takes, and HTTPException (413)."""
    body = await request.read()
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(400, f"the body of the request cannot be read: {error}") from None
