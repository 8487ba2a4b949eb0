"""What `dregutil serve` answers to bytes that are no text, and what its jobs say."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from dregutil.serve.child import left
from dregutil.serve.patience import Patience
from serve_inside import inside

POST = b"Content-Type: application/json\r\nContent-Length: 2\r\n"
OWN = b"Sec-Fetch-Site: same-origin\r\n"


@pytest.mark.parametrize(
    ("cookie", "headers", "status"),
    [
        (b"dregutil_%d=\xff\xfe", OWN, 401),
        (b"dregutil_%d=", b"", 401),
        (b"", b"Origin: http://[\r\n", 403),
        (b"", "Origin: http://a℀b\r\n".encode(), 403),
        (b"", OWN + b"Content-Encoding: gzip\r\n", 400),
    ],
)
async def test_bytes_that_are_no_text_are_no_defect(
    cookie: bytes, headers: bytes, status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with inside(tmp_path) as server:
        shown = cookie % server.port if cookie else server.cookie.encode()
        head = b"POST /api/v1/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nCookie: " + shown + b"\r\n"
        reading, writing = await asyncio.open_connection("127.0.0.1", server.port)
        writing.write(head + POST + headers + b"\r\n{}")
        answered = await asyncio.wait_for(reading.read(), 20)
        writing.close()
    assert int(answered.split()[1]) == status, answered
    assert "defect" not in answered.decode()
    assert not caplog.records


async def test_a_job_that_did_not_do_all_says_what_it_left(tmp_path: Path) -> None:
    said = "left alone: q:a points to another digest now\nnothing to put back\n"
    async with inside(tmp_path, script=f"import sys; sys.stderr.write({said!r})") as server:
        jobs = server.site.jobs
        undone = await jobs.ended(await jobs.start("undo", "put back", "anna", ("undo",)))
        assert undone.message == "nothing to put back; left alone: q:a points to another digest now"
        assert (await jobs.ended(await jobs.start("hold", "hold", "anna", ("hold",)))).message is None


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ("removed 2 tags (2 manifests)\n", ""),
        ("put back 2 tags (1 manifest)\nheld until 2026-12-11\n", ""),
        (
            "left: q sha256:1 (b): 'b' has moved\nremoved 1 tag, left 1\n",
            "removed 1 tag, left 1; left: q sha256:1 (b): 'b' has moved",
        ),
        ("removed 0 tags (0 manifests), 1 was gone already\n", "removed 0 tags (0 manifests), 1 was gone already"),
        ("leftover\n", ""),
        ("", ""),
    ],
)
def test_what_is_left(errors: str, message: str) -> None:
    assert left(errors) == message


@pytest.mark.parametrize(("files", "most"), [(64, 32), (1024, 512), (1 << 20, 1024), (resource.RLIM_INFINITY, 1024)])
def test_connections_without_a_request_leave_half_of_the_files_for_others(
    files: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    patience = Patience()
    connections: list[Any] = [Mock() for _ in range(most + 1)]
    patience.look(connections[:most], 0.0)
    assert not any(one.transport.abort.called for one in connections)
    patience.look(connections, 1.0)
    assert all(one.transport.abort.called for one in connections)
