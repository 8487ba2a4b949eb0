"""A message to a webhook: one POST, one more try, and no word of its URL."""

from __future__ import annotations

import asyncio
import time

import pytest

from dregutil.notify import Webhook, deliver
from servers.http import Answer, Endpoint, Request


class Slow(Endpoint):
    """Answers after `delays` seconds, one request after another; then at once."""

    def __init__(self, *delays: float) -> None:
        super().__init__()
        self.delays = list(delays)
        self.seen: list[Request] = []

    async def respond(self, request: Request) -> Answer:
        self.seen.append(request)
        if self.delays:
            await asyncio.sleep(self.delays.pop(0))
        return Answer(204)


def test_an_endpoint_that_hangs_is_left_after_two_tries() -> None:
    with Slow(30, 30) as slow:
        began = time.monotonic()
        assert deliver(Webhook(f"{slow.url}/s3cret"), b"{}", timeout=0.3, pause=0) == "no answer within 0.3 s"
        assert time.monotonic() - began < 5
        assert len(slow.seen) == 2


def test_an_endpoint_that_hangs_once_gets_it_the_second_time() -> None:
    with Slow(30) as slow:
        assert deliver(Webhook(slow.url), b'{"a": 1}', timeout=0.5, pause=0) == ""
        assert [request.body for request in slow.seen] == [b'{"a": 1}'] * 2


def test_nobody_listens() -> None:
    with Slow() as gone:
        url = f"{gone.url}/s3cret"
    assert deliver(Webhook(url), b"{}", pause=0) == "no connection: Connection refused"


def test_a_host_that_does_not_resolve_is_not_named_with_its_path() -> None:
    why = deliver(Webhook("https://name.invalid/s3cret"), b"{}", pause=0)
    assert why.startswith("no connection: ")
    assert "s3cret" not in why


def test_redirects_without_end() -> None:
    class Again(Slow):
        async def respond(self, request: Request) -> Answer:
            self.seen.append(request)
            return Answer(307, b"", {"Location": "/again"})

    with Again() as again:
        assert deliver(Webhook(again.url), b"{}", pause=0) == "it redirects again and again"
        assert len(again.seen) == 4


def test_a_webhook_shows_neither_url_nor_token() -> None:
    webhook = Webhook("https://user:pass@hooks.example.com:8443/s3cret", "t0ken")
    assert repr(webhook) == "Webhook()"
    assert webhook.host == "hooks.example.com:8443"


@pytest.mark.parametrize("url", ["s3cret", "ftp://a/b", "https://", "https://a\n/b", "https://a:port/"])
def test_what_is_no_url_of_a_webhook(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text, which could quote the URL
        _ = Webhook(url).host
