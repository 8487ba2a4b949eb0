"""What answers a registry's notifications: who may send them, what is refused, and what shares a transaction."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Repository
from dregutil.pulls.coverage import source_since
from dregutil.pulls.event import LARGEST_ENVELOPE
from dregutil.pulls.listener import Listener
from dregutil.pulls.store import PullStore

WEB = Repository("shop/web")


def notification(
    *numbers: int, agent: str = "docker/28", second: int = 30, times: Mapping[int, datetime] | None = None
) -> bytes:
    """Pulls, each of an image of its own; `times`: when, by number, if not all at once."""

    def event(number: int) -> dict[str, Any]:
        return {
            "id": f"id-{number}",
            "timestamp": times[number].isoformat() if times else f"2026-11-26T16:12:{second}Z",
            "action": "pull",
            "target": {"repository": WEB, "digest": Digest.of(str(number).encode())},
            "request": {"useragent": agent},
            "source": {"addr": "vm:5000", "instanceID": "a"},
        }

    return json.dumps({"events": [event(number) for number in numbers]}).encode()


@asynccontextmanager
async def listening(store: PullStore, token: str = "") -> AsyncIterator[tuple[Listener, str, aiohttp.ClientSession]]:
    listener = Listener(store, "notifications", token=token)
    async with listener.listening("127.0.0.1", 0) as (host, port), aiohttp.ClientSession() as session:
        yield listener, f"http://{host}:{port}", session


@pytest.fixture
def store(tmp_path: Path) -> PullStore:
    return PullStore(tmp_path, "registry.example.com")


async def send(session: aiohttp.ClientSession, url: str, body: bytes, **headers: str) -> int:
    async with session.post(url, data=io.BytesIO(body), headers=headers) as answer:
        return answer.status


async def test_what_is_answered_with_204_is_on_the_disk(store: PullStore) -> None:
    async with listening(store) as (listener, url, session):
        for number in range(5):
            assert await send(session, f"{url}/events", notification(number)) == 204
            assert Digest.of(str(number).encode()) in store.pulls(WEB).digests
        assert listener.counts.events == 5


async def test_notifications_at_once_share_a_transaction(store: PullStore) -> None:
    async with listening(store) as (listener, url, session):
        answers = await asyncio.gather(*(send(session, f"{url}/events", notification(number)) for number in range(60)))
        assert set(answers) == {204}
        assert listener.counts.events == 60
        assert listener.counts.commits < 60
    assert len(store.pulls(WEB).digests) == 60


async def test_pulls_that_do_not_count_are_written_once_a_second(store: PullStore) -> None:
    """A refresh of ours, and a scanner, cause one for each tag. What is marked is waited for."""
    async with listening(store) as (listener, url, session):
        for number in range(20):
            agent = "dregutil" if number % 2 else "trivy/0.60"
            assert await send(session, f"{url}/events", notification(number, agent=agent)) == 204
        assert listener.counts.commits == 1
        assert await send(session, f"{url}/events", notification(20, agent="dregutil", second=31)) == 204
        assert listener.counts.commits == 2
        assert await send(session, f"{url}/events", notification(21, agent="dregutil/ab12", second=31)) == 204
        assert store.has_marked("dregutil/ab12")
        assert await send(session, f"{url}/events", notification(22, second=31)) == 204
        assert [*store.pulls(WEB).digests] == [Digest.of(b"22")]
    (source,) = store.sources()
    assert [(span.since.second, span.until.second) for span in source.spans] == [(30, 31)]


async def test_a_push_in_the_same_second_hides_no_pull(store: PullStore) -> None:
    """It does not show that pulls are notified; the pull after it does, even if it does not count."""
    push = notification(1).replace(b'"pull"', b'"push"')
    blob = notification(2).replace(b'"repository"', b'"mediaType": "application/octet-stream", "repository"')
    async with listening(store) as (_, url, session):
        for body in (push, blob, notification(3, agent="dregutil")):
            assert await send(session, f"{url}/events", body) == 204
    assert [len(source.spans) for source in store.sources()] == [1]


async def test_what_comes_twice_counts_once(store: PullStore) -> None:
    async with listening(store) as (listener, url, session):
        for _ in range(3):
            assert await send(session, f"{url}/events", notification(1, 2)) == 204
        assert (listener.counts.events, listener.counts.doubles) == (2, 4)


async def test_what_waited_for_an_hour_counts_at_its_own_time_and_leaves_no_gap(store: PullStore) -> None:
    """A registry sends what it kept while nothing listened, in its order, and then what happens now."""
    now = datetime.now(UTC).replace(microsecond=0)
    number, together = 10_000, 50
    times = {one: now - timedelta(hours=1) + timedelta(hours=1) * one / number for one in range(number)}
    before, after = {number: now - timedelta(hours=2)}, {number + 1: now}
    async with listening(store) as (_, url, session):
        assert await send(session, f"{url}/events", notification(*before, times=before)) == 204
    async with listening(store) as (listener, url, session):
        for start in range(0, number, together):
            late = notification(*range(start, start + together), times=times)
            assert await send(session, f"{url}/events", late) == 204
        assert await send(session, f"{url}/events", notification(*after, times=after)) == 204
        assert listener.counts.events == number + 1
    found = store.pulls(WEB).digests
    pulled = {one: found[Digest.of(str(one).encode())].at for one in (*before, *times, *after)}
    assert pulled == {one: at.replace(microsecond=0) for one, at in (before | times | after).items()}
    (source,) = store.sources()
    assert source.gaps == ()
    assert [(span.since, span.until) for span in source.spans] == [(now - timedelta(hours=2), now)]
    assert source_since(source, now, timedelta(minutes=1)) == now - timedelta(hours=2)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic secret", "Bearer secret2", "Bearer sécret"])
async def test_without_the_token_nothing_is_recorded(store: PullStore, given: str) -> None:
    async with listening(store, "secret") as (_, url, session):
        assert await send(session, f"{url}/events", notification(1), Authorization=given) == 401
        assert store.pulls(WEB).digests == {}
        assert await send(session, f"{url}/events", notification(1), Authorization="Bearer secret") == 204
        assert len(store.pulls(WEB).digests) == 1


async def test_a_wrong_token_is_reported_once(store: PullStore, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(store, "secret") as (_, url, session):
        for given in ("wrong", "wrong", "secret", "wrong"):
            await send(session, f"{url}/events", notification(1), Authorization=f"Bearer {given}")
    told = "a notification from 127.0.0.1 was refused: its token is wrong or missing"
    assert [record.getMessage() for record in caplog.records] == [told, told]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"\xff", 400),
        (b" " * (LARGEST_ENVELOPE + 1), 413),
        (b'{"events": []}', 204),
        (b'{"events": [1, {"action": "pull"}]}', 204),
    ],
)
async def test_what_is_no_notification_is_refused(store: PullStore, body: bytes, status: int) -> None:
    """A malformed event alone is not: the registry would send it again for ever."""
    async with listening(store) as (listener, url, session):
        assert await send(session, f"{url}/events", body) == status
        assert listener.counts.malformed == (2 if b"action" in body else 0)
        assert await send(session, f"{url}/events", notification(1)) == 204


async def test_other_addresses_and_methods(store: PullStore) -> None:
    async with listening(store, "secret") as (_, url, session):
        for path, status in (("/healthz", 200), ("/events", 405), ("/other", 404)):
            async with session.get(url + path) as answer:
                assert answer.status == status, path


async def test_what_cannot_be_recorded_is_no_success(store: PullStore) -> None:
    async with listening(store) as (_, url, session):
        assert await send(session, f"{url}/events", notification(1)) == 204
        whole = store.path.read_bytes()
        store.path.write_bytes(b"damaged" * 1000)
        assert await send(session, f"{url}/events", notification(2)) == 503
        async with session.get(f"{url}/healthz") as answer:
            assert answer.status == 503
        store.path.write_bytes(whole)
        assert await send(session, f"{url}/events", notification(2)) == 204
        async with session.get(f"{url}/healthz") as answer:
            assert answer.status == 200
    assert len(store.pulls(WEB).digests) == 2


async def test_an_address_in_use_is_an_error(store: PullStore) -> None:
    async with listening(store) as (_, url, _):
        port = int(url.rpartition(":")[2])
        with pytest.raises(UsageError, match="cannot listen"):
            async with Listener(store, "other").listening("127.0.0.1", port):
                pass
