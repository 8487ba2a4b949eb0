"""What `serve` answers, made up: for states that are hard to come by, hostile names, and a million images.

Its answers have the shapes of the API: tests/unit/serve/test_mock.py converts each into its type.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from aiohttp import web

from reported import report_document

__all__ = ["CSP", "JOB", "OTHER", "RUN", "SUM", "UNDO", "Mock", "answers", "digest", "image", "serving"]

CSP = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)
RUN = "20261126T020000Z-1a2b3"
UNDO = "20261126T080000Z-2b3c4"
SUM = f"sha256:{hashlib.sha256(b'tonight').hexdigest()}"
OTHER = f"sha256:{hashlib.sha256(b'selection').hexdigest()}"
_READ = "2026-11-26T11:58:00Z"
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dregutil</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/serve.css">
<script type="module" src="/static/serve.js"></script></head><body><div id="app"></div></body></html>"""
_REASONS = ("last: 10", "in use", "beyond last: 10")

JOB: dict[str, Any] = {
    "id": "7",
    "kind": "refresh",
    "what": "Reading the registry",
    "by": "nele",
    "started": "2026-11-26T12:00:00Z",
    "ended": None,
    "state": "running",
    "done": 4200,
    "total": 10_200,
    "noun": "tags",
    "message": None,
    "advice": None,
    "result": None,
    "command": "dregutil refresh -reg registry.example.com",
}


def digest(seed: str) -> str:
    return f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}"


def image(at: int) -> dict[str, Any]:
    """The image of a row; the same for the same row."""
    number = int.from_bytes(hashlib.sha256(str(at).encode()).digest()[:4])
    repository, tag = f"team-{at // 5000:03}/service-{at // 100 % 50:02}", f"1.{at % 100}.{number % 10}"
    goes = number % 5 == 0
    return {
        "repository": repository,
        "tag": tag,
        "image": f"registry.example.com/{repository}:{tag}",
        "digest": digest(str(at)),
        "created": f"2026-{1 + number % 11:02}-{1 + number % 28:02}T10:00:00Z",
        "pulled": f"2026-11-{1 + number % 26:02}T10:00:00Z" if number % 3 else None,
        "size": number % 900_000_000 if number % 50 else None,
        "frees": number % 90_000_000 if number % 50 else None,
        "platforms": ["linux/amd64", "linux/arm64"] if number % 4 else ["linux/amd64"],
        "verdict": "REMOVE" if goes else "KEEP",
        "because": _REASONS[2] if goes else _REASONS[number % 2],
        "held": number % 40 == 0,
    }


def _run(name: str, **more: Any) -> dict[str, Any]:
    return {
        "run": name,
        "when": "2026-11-26T02:00:00+00:00",
        "registry": "registry.example.com",
        "command": "cleanup -f policy.yml -y",
        "removed": 120,
        "undone": False,
        "partly_undone": False,
        "unfinished": False,
        "digests": 131,
        "reclaimable_bytes": 47_700_000_000,
        "exact": False,
        "undoes": None,
        "by": "nele",
        "host": "build-3",
        "collected": None,
        "maybe_collected": None,
        "plan": OTHER,
        "planned_by": "ann",
        "approved_by": ["bob", "cy"],
        **more,
    }


def _summary(sum_: str, **more: Any) -> dict[str, Any]:
    return {
        "sum": sum_,
        "title": "Cleanup by policy.yml",
        "kind": "policy",
        "by": "dregutil",
        "made": "2026-11-26T12:00:00Z",
        "tags": 1248,
        "untagged": 12,
        "frees": 21_400_000_000,
        "exact": False,
        "state": "waiting",
        "approvals": [{"by": "jo", "when": "2026-11-26T12:10:00Z", "expires": "2126-11-27T12:10:00Z"}],
        "needed": 2,
        "run": None,
        "tonight": True,
        "why": None,
        **more,
    }


def _timeline() -> dict[str, Any]:
    def event(when: str, what: str, text: str, **more: Any) -> dict[str, Any]:
        found = {"when": when, "until": None, "what": what, "image": "shop/web:1.0", "digest": digest("a"), "run": None}
        return {**found, "by": None, "text": text, **more}

    return {
        "of": "shop/web:1.0",
        "kind": "tag",
        "digest": digest("b"),
        "events": [
            event("2026-03-01T10:00:00Z", "seen", "first seen on sha256:04853db01211", until="2026-03-01T11:00:00Z"),
            event("2026-05-01T10:00:00Z", "moved", "from sha256:04853db01211 to sha256:9e0d4b0f5b7e"),
            event("2026-11-20T10:00:00Z", "pulled", "last pulled", by="containerd/2.1.0"),
            event("2026-11-26T02:00:00Z", "removed", "beyond last: 10", run=RUN, by="nele"),
        ],
        "holders": [{"repository": "shop/web", "tag": f"1.{at}", "digest": digest("b")} for at in range(3)],
        "more_holders": 12,
        "holds": [
            {
                "image": "shop/web:1.0",
                "repository": "shop/web",
                "tag": "1.0",
                "digest": None,
                "since": "2026-11-26T12:00:00+00:00",
                "until": "2026-12-26T12:00:00+00:00",
                "by": "nele@build",
                "because": "the audit",
                "undo": None,
            }
        ],
        "undo": {"run": RUN, "image": "shop/web:1.0", "command": "dregutil undo shop/web:1.0"},
        "notes": ["Nothing records pulls since 2026-11-25."],
        "command": "dregutil history --of shop/web:1.0",
    }


def _steps() -> list[dict[str, Any]]:
    return [
        {
            "step": at,
            "action": "delete",
            "repository": "shop/web",
            "digest": digest(str(at)),
            "tags": [f"1.{at}"] if at % 7 else [],
            "kind": "image",
            "result": "failed" if at == 3 else "removed",
            "why": "the registry answered 500" if at == 3 else "",
            "because": "beyond last: 10",
        }
        for at in range(1, 241)
    ]


def _plan_steps() -> dict[str, Any]:
    return {
        "total": 240,
        "offset": 0,
        "rows": [
            {
                "step": at,
                "needs": [1] if at == 2 else [],
                "action": "delete",
                "repository": "shop/web",
                "digest": digest(str(at)),
                "tags": [f"1.{at}"],
                "kind": "image",
                "because": "beyond last: 10",
                "frees": 62_914_560,
                "size": 62_914_560,
                "created": "2025-03-01T10:00:00+00:00",
            }
            for at in range(1, 101)
        ],
    }


def answers(example: dict[str, Any], *, small: bool = True) -> dict[str, Any]:
    """What each path of the API answers; `example` is a report's document, `small`: the space has one namespace."""
    report = report_document(example, small=small)
    plan = report["plan"]
    runs = [_run(UNDO, undoes=RUN, removed=0, reclaimable_bytes=None), _run(RUN, unfinished=True)]
    runs += [_run(f"202611{day:02}T020000Z-1a2b3", undone=day % 5 == 0) for day in range(25, 10, -1)]
    summaries = [
        _summary(OTHER, title="3 images", kind="selection", tonight=False, tags=3, untagged=0, state="done", run=RUN),
        _summary(SUM),
    ]
    return {
        "session": {
            "version": 1,
            "registry": "registry.example.com",
            "program": "dregutil 3.0.0",
            "command": "dregutil serve -reg registry.example.com -f policy.yml",
            "user": "nele",
            "roles": ["viewer", "planner", "approver"],
            "approvals": 2,
            "policy": "policy.yml",
            "read": _READ,
            "images": 1_000_000,
            "store": None,
            "store_problem": None,
        },
        "report": report | {"plan": None},
        "timeline": _timeline(),
        "why": {
            "rows": [
                {
                    "repository": "shop/web",
                    "tag": "1.0",
                    "digest": digest("b"),
                    "decision": "keep",
                    "policy": "releases",
                    "what": what,
                    "keeps": keeps,
                    "text": "by version, 0 newer of 1 images in its group",
                }
                for what, keeps in (("last: 3", True), ("pulled: 30d", False))
            ]
        },
        "plans": {"plans": summaries},
        f"plans/{SUM}": {
            "summary": summaries[1],
            "plan": plan,
            "may_approve": True,
            "may_apply": False,
            "why_not": None,
            "command": "dregutil plan show plan.jsonl",
        },
        f"plans/{OTHER}": {
            "summary": {**summaries[0], "state": "approved", "run": None},
            "plan": plan,
            "may_approve": False,
            "may_apply": True,
            "why_not": None,
            "command": "dregutil apply plan.jsonl",
        },
        **{f"plans/{sum_}/steps": _plan_steps() for sum_ in (SUM, OTHER)},
        "runs": {"total": len(runs), "runs": runs},
        f"runs/{RUN}": {
            "run": runs[1],
            "steps": _steps()[:100],
            "total": 240,
            "offset": 0,
            "progress": {"done": 100, "total": 240},
            "can_undo": True,
            "can_resume": True,
            "command": f"dregutil history {RUN}",
        },
        "removed": {
            "total": 120,
            "rows": [
                {
                    "removed": "2026-11-26T02:00:00+00:00",
                    "run": RUN,
                    "image": f"shop/web:1.{at}",
                    "repository": "shop/web",
                    "tag": f"1.{at}",
                    "digest": digest(str(at)),
                    "size": 91_000_000,
                    "can_come_back": None,
                    "why": "",
                }
                for at in range(50)
            ],
        },
        "jobs": {"jobs": []},
    }


@dataclass
class Mock:
    """`answers` may be changed at any time; an answer that is a pair is a status and an error. `posts` has what was
    posted. `total` images are found. `largest` is the size of the largest answer, in bytes."""

    answers: dict[str, Any]
    total: int = 1_000_000
    change: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda one: one)
    posts: list[tuple[str, Any]] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    largest: int = 0
    url: str = ""
    tell: Callable[[str, Any], None] = field(default=lambda _name, _data: None)

    def images(self, query: dict[str, str]) -> dict[str, Any]:
        """A page of images. Of the words that are searched, `none` finds nothing, and others find fewer."""
        self.queries.append(query)
        words = query.get("q", "")
        total = 0 if words == "none" else 2500 if words else self.total
        offset, limit = int(query.get("offset", 0)), min(500, int(query.get("limit", 100)))
        return {
            "total": total,
            "offset": offset,
            "rows": [self.change(image(at)) for at in range(offset, min(total, offset + limit))],
            "read": _READ,
            "unread": 0,
            "command": "dregutil ls --columns age,size,pulled",
        }


class _Server:
    def __init__(self, mock: Mock, port: int) -> None:
        self._mock = mock
        self._port = port
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._loop = asyncio.new_event_loop()

    def tell(self, name: str, data: Any) -> None:
        text = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
        self._loop.call_soon_threadsafe(self._send, text)

    def _send(self, text: bytes) -> None:
        for one in self._queues:
            one.put_nowait(text)

    async def _api(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        if request.method == "POST":
            self._mock.posts.append((path, await request.json()))
            found = self._mock.answers.get(f"POST {path}", (202, JOB))
        elif path == "images" and "images" not in self._mock.answers:
            found = self._mock.images(dict(request.query))
        else:
            found = self._mock.answers.get(path, (404, {"error": "there is no such thing", "advice": None}))
        status, body = found if isinstance(found, tuple) else (200, found)
        text = "" if body is None else json.dumps(body)
        self._mock.largest = max(self._mock.largest, len(text))
        return web.Response(text=text, status=status, content_type="application/json")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            await response.write(b": hello\n\n")
            while (text := await queue.get()) is not None:
                await response.write(text)
        finally:
            self._queues.discard(queue)
        return response

    async def _static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        body = (files("dregutil") / "serve" / "bundle" / name).read_bytes()
        return web.Response(body=body, content_type="text/javascript" if name.endswith(".js") else "text/css")

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html", headers={"Content-Security-Policy": CSP})

    def run(self, is_ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(is_ready))
        self._loop.close()

    async def _serve(self, is_ready: threading.Event) -> None:
        self._stopped = asyncio.Event()
        application = web.Application()
        application.router.add_get("/api/v1/events", self._events)
        application.router.add_route("*", "/api/v1/{path:.*}", self._api)
        application.router.add_get("/static/{name}", self._static)
        application.router.add_get("/{path:.*}", self._page)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        self._mock.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        is_ready.set()
        await self._stopped.wait()
        for one in self._queues:
            one.put_nowait(None)
        await runner.cleanup()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)


@contextmanager
def serving(mock: Mock, port: int = 0) -> Iterator[Mock]:
    """The server at `mock.url`, in a thread of its own."""
    server, is_ready = _Server(mock, port), threading.Event()
    thread = threading.Thread(target=server.run, args=(is_ready,), daemon=True)
    thread.start()
    assert is_ready.wait(10)
    mock.tell = server.tell
    yield mock
    server.stop()
    thread.join(10)
