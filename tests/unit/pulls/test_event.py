"""Notifications of both generations become events; hostile ones are counted or refused, never a crash."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.oci.names import Digest
from dregutil.pulls.agents import IgnoredAgents, agent_name
from dregutil.pulls.event import LARGEST_ENVELOPE, parse_envelope
from dregutil.pulls.writer import batch_of

DIGEST = Digest.of(b"one")


def event(**changes: Any) -> dict[str, Any]:
    """As distribution 2.8.2 sends it."""
    return {
        "id": "cbca0cc2-5cbd-43d3-a70e-b229eb8d0c22",
        "timestamp": "2026-11-26T16:12:30.187009457Z",
        "action": "pull",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 410,
            "digest": DIGEST,
            "length": 410,
            "repository": "shop/web",
            "url": f"http://127.0.0.1:5000/v2/shop/web/manifests/{DIGEST}",
            "tag": "1.0",
        },
        "request": {"id": "1", "addr": "127.0.0.1:46576", "method": "GET", "useragent": "containerd/2.1 (linux)"},
        "actor": {},
        "source": {"addr": "vm:5000", "instanceID": "45edeee1-f00c-4d33-90b5-1f8f95f21a5a"},
        **changes,
    }


def body(*events: object) -> bytes:
    return json.dumps({"events": events}).encode()


def test_an_event_of_distribution() -> None:
    found = parse_envelope(body(event(later={"unknown": [1]})))
    (one,) = found.events
    assert found.malformed == 0
    assert one.time == datetime(2026, 11, 26, 16, 12, 30, 187009, UTC)
    assert (one.action, one.repository, one.digest, one.tag) == ("pull", "shop/web", DIGEST, "1.0")
    assert (one.agent, one.method, one.instance[:8], one.address) == ("containerd/2.1", "GET", "45edeee1", "vm:5000")
    assert one.is_of_manifest


@pytest.mark.parametrize("zone", ["Z", "+00:00", "+02:00"])
def test_a_time_is_in_utc(zone: str) -> None:
    (one,) = parse_envelope(body(event(timestamp=f"2026-11-26T16:12:30{zone}"))).events
    assert one.time == datetime(2026, 11, 26, 14 if zone == "+02:00" else 16, 12, 30, tzinfo=UTC)
    assert one.time.tzinfo is UTC


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        1,
        [],
        {},
        event(timestamp="yesterday"),
        event(timestamp="9999-99-99T00:00:00Z"),
        event(target=None),
        event(target={"repository": "shop/web", "digest": "sha256:1"}),
        event(target={"repository": "../etc", "digest": DIGEST}),
        event(target={"repository": "shop/web", "digest": DIGEST, "tag": "a b"}),
        event(request="GET"),
    ],
)
def test_a_malformed_event_is_counted_and_the_others_are_read(wrong: object) -> None:
    found = parse_envelope(body(event(), wrong, event()))
    assert len(found.events) == 2
    assert found.malformed == 1


@pytest.mark.parametrize("wrong", [b"", b"{}", b"[]", b'{"events": 1}', b"\xff\xfe", b"[" * 100_000, b'{"events": [}'])
def test_what_is_no_envelope_is_refused(wrong: bytes) -> None:
    with pytest.raises(UsageError):
        parse_envelope(wrong)


def test_a_large_envelope_is_refused() -> None:
    with pytest.raises(UsageError, match="more than 4 MB"):
        parse_envelope(body() + b" " * LARGEST_ENVELOPE)


@pytest.mark.property
@given(st.binary() | st.builds(body, st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_no_bytes_crash(raw: bytes) -> None:
    with contextlib.suppress(UsageError):
        parse_envelope(raw)


@pytest.mark.parametrize(
    ("agent", "is_ignored"),
    [
        ("dregutil", True),
        ("trivy/0.60.1", True),
        ("Trivy/0.60.1", True),
        ("RenovateBot/37", True),
        ("trivyish/1", False),
        ("containerd/2.1", False),
        ("", False),
    ],
)
def test_agents_that_do_not_count(agent: str, is_ignored: bool) -> None:
    assert IgnoredAgents().ignores(agent) is is_ignored
    assert IgnoredAgents(["other"]).ignores(agent) is (agent == "dregutil")


def test_an_agent_is_its_first_product() -> None:
    assert agent_name("docker/28.0 go/go1.23 (linux) trivy/1") == "docker/28.0"
    assert agent_name("-") == agent_name("") == agent_name(" ") == ""
    assert len(agent_name("x" * 10_000)) == 80


def test_what_counts_as_a_pull() -> None:
    now = datetime(2026, 11, 26, 17, tzinfo=UTC)
    blob = {"mediaType": "application/octet-stream", "repository": "shop/web", "digest": Digest.of(b"blob")}
    listed = parse_envelope(
        body(
            event(),
            event(target=blob),
            event(action="push", target=blob),
            event(action="delete", target={"repository": "shop/api", "tag": "1.0"}),
            event(timestamp="2099-01-01T00:00:00Z", target={**event()["target"], "digest": Digest.of(b"two")}),
            event(request={"useragent": "dregutil"}, target={**event()["target"], "digest": Digest.of(b"three")}),
            event(request={"useragent": "dregutil/ab12"}, target={**event()["target"], "digest": Digest.of(b"four")}),
        )
    ).events
    batch = batch_of(listed, IgnoredAgents(), now)
    assert batch_of(listed[2:4], IgnoredAgents(), now).recorded is None, "pulls may be left out of the notifications"
    assert batch_of(listed[5:], IgnoredAgents(), now).recorded is not None
    at = int(datetime(2026, 11, 26, 16, 12, 30, tzinfo=UTC).timestamp())
    assert {digest: when for (_, digest), (when, _) in batch.pulls.items()} == {
        DIGEST: at,
        Digest.of(b"two"): int(now.timestamp()),  # a clock that is wrong
    }
    assert {name for name, _ in batch.changed} == {"shop/web", "shop/api"}
    assert batch.marked == {"dregutil/ab12"}
