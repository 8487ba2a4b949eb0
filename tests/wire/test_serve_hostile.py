"""Hostile words in every place where a request to `dregutil serve` has words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from dregutil.serve import model
from dregutil.serve.child import Child
from dregutil.serve.endpoints import ENDPOINTS, PAGES, Endpoint
from serve_inside import Inside, inside

WORDS = [
    "../../../../etc/passwd",
    "..",
    ".",
    "--yes",
    "-y",
    "--state-dir=/tmp/evil",
    "@/etc/passwd",
    "a b;id$(id)`id`|id\n",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "\x00\x1b[2J",
    "é" * 5000,
    "x" * 2000,
    "%2e%2e%2f",
    "9" * 400,
    "-1",
    "NaN",
    "'; DROP TABLE image; --",
    "label:" + "x" * 1000,
    "sha256:" + "0" * 64,
    "sha256:" + "g" * 64,
    "shop/web:1.0@sha256:x",
    "",
]
IN_PATH = [one for one in ENDPOINTS.values() if "{" in one.path]
IN_QUERY = [one for one in ENDPOINTS.values() if one.query]
IN_BODY = [one for one in ENDPOINTS.values() if one.takes not in (None, model.Empty)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of the processes that the server starts."""
    found: list[list[str]] = []
    original = Child.__init__

    def noted(self: Child, argv: list[str], *others: Any) -> None:
        found.append(list(argv))
        original(self, argv, *others)

    monkeypatch.setattr(Child, "__init__", noted)
    return found


def named(one: Endpoint) -> str:
    return f"{one.method} {one.path}"


def check_argv(started: list[list[str]], word: str) -> None:
    """No word of a request is taken as an option: it follows `--`, or is the value of one, in the same word."""
    for argv in started:
        options = argv[: argv.index("--")] if "--" in argv else argv
        assert word not in options[3:] or not word.startswith("-"), argv


async def check(server: Inside, one: Endpoint, path: str, body: object = None) -> None:
    headers = {"Accept": "text/html"}
    if one.method == "GET":
        answered = await server.get(path, **headers)
    else:
        answered = await server.post(path, body, **headers)
    assert answered.status in (200, 202, 204, 400, 404, 409, 413, 503), (path, answered)
    text = answered.body.decode()
    if answered.status != 200 or one.path not in ("/static/{name}", *PAGES):
        assert "<script" not in text or answered.headers["content-type"] == "application/json"
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "root:x:0" not in text
    for job in server.site.jobs.all:
        await server.site.jobs.ended(job)


@pytest.mark.parametrize("one", IN_PATH, ids=named)
async def test_in_a_path(one: Endpoint, tmp_path: Path, started: list[list[str]]) -> None:
    async with inside(tmp_path) as server:
        for word in WORDS:
            start, _, rest = one.path.partition("{")
            await check(server, one, start + quote(word, safe="") + rest.partition("}")[2])
            check_argv(started, word)


@pytest.mark.parametrize("one", IN_QUERY, ids=named)
async def test_in_a_query(one: Endpoint, tmp_path: Path, started: list[list[str]]) -> None:
    async with inside(tmp_path) as server:
        for name in one.query:
            for word in WORDS:
                path = one.path.replace("{sum}", "x").replace("{run}", "x")
                await check(server, one, f"{path}?{name}={quote(word, safe='')}")
                check_argv(started, word)


@pytest.mark.parametrize("one", IN_BODY, ids=named)
async def test_in_a_body(one: Endpoint, tmp_path: Path, started: list[list[str]]) -> None:
    async with inside(tmp_path) as server:
        for body, word in bodies(one):
            await check(server, one, one.path.replace("{sum}", "x").replace("{run}", "x"), body)
            check_argv(started, word)
    assert started or "{" in one.path, "no process was started"


def bodies(one: Endpoint) -> Iterator[tuple[dict[str, object], str]]:
    """Each field of the body with each word, alone and in a list, the others as they may be."""
    assert one.takes is not None
    fields = msgspec.structs.fields(one.takes)
    for field in fields:
        others = {other.name: "x" for other in fields if other.required and other.name != field.name}
        for word in WORDS:
            yield {**others, field.name: word}, word
            yield {**others, field.name: [word]}, word
        yield {**others, field.name: ["x"] * 11_000}, "x"
        for number in (-1, 0, 10**30, 1e308, True, None):
            yield {**others, field.name: number}, json.dumps(number)
