"""The page, and its script and style. They are read once, and sent from memory."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from aiohttp import web

from dregutil.report.markup import html_text
from dregutil.serve.answers import RequestError
from dregutil.serve.endpoints import PAGES

__all__ = ["routes"]

_TYPES = {
    "serve.js": "text/javascript",
    "serve.css": "text/css",
    "LICENSES.txt": "text/plain",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
{head}</head>
<body>
<div id="app">{text}</div>
</body>
</html>
"""
_HEAD = """<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/serve.css">
<script type="module" src="/static/serve.js"></script>
"""
_NO_SCRIPT = (
    "<noscript>These pages need JavaScript. <code>dregutil report</code> writes a page that does not.</noscript>"
)
_NOT_BUILT = "<p>The pages are not built in this installation. The API answers under <code>/api/v1</code>.</p>"


def routes(registry: str) -> list[web.RouteDef]:
    """The page at each of its addresses, and the files that it loads. `registry` is in its title."""
    found = _bundle()
    is_built = "serve.js" in found
    page = _PAGE.format(
        title=html_text(f"{registry} · dregutil"),
        head=_HEAD if is_built else "",
        text=_NO_SCRIPT if is_built else _NOT_BUILT,
    ).encode()

    async def send_page(_request: web.Request) -> web.Response:
        return web.Response(body=page, content_type="text/html", charset="utf-8")

    async def send_file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in found:
            raise RequestError(404, "there is no such file")
        body, tag = found[name]
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=_TYPES[name], charset="utf-8", headers=headers)

    return [*(web.get(path, send_page) for path in PAGES), web.get("/static/{name}", send_file)]


def _bundle() -> dict[str, tuple[bytes, str]]:
    """The files that were built, with their ETags; none if they were not."""
    folder = files("dregutil.serve") / "bundle"
    read = {name: folder / name for name in _TYPES}
    found = {name: path.read_bytes() for name, path in read.items() if path.is_file()}
    return {name: (body, f'"{hashlib.sha256(body).hexdigest()[:32]}"') for name, body in found.items()}
