"""What was found by attacking `dregutil serve` over HTTP, kept mended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

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
