"""`du` counts what only the referrers API lists with the image that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Switches


@pytest.fixture
def attested(tmp_path: Path) -> Iterator[tuple[Program, int]]:
    """An image with a signature that only the referrers API lists, a referrer of that, and their total size. Another
    repository has only the image."""
    with MemoryServer(Switches(has_referrers=True)) as server, Pusher(server.url) as pusher:
        child = pusher.push_image("shop/web", seed="child")
        pusher.push_index("shop/web", "1.0", children=[child])
        signature = pusher.push_image("shop/web", seed="signature", subject=child)
        listed = pusher.push_index(
            "shop/web", children=[pusher.push_image("shop/web", seed="below")], subject=signature
        )
        pusher.push_image("shop/api", "1.0", seed="child")
        manifests = {one.digest: one for held in server.repositories.values() for one in held.manifests.values()}
        blobs = {blob["digest"] for one in manifests.values() for blob in one.blobs}
        assert listed["digest"] in manifests
        whole = sum(len(one.raw) for one in manifests.values()) + sum(len(server.blobs[blob]) for blob in blobs)
        yield Program(server.url, tmp_path), whole


def test_du_counts_what_the_referrers_api_lists(attested: tuple[Program, int]) -> None:
    program, whole = attested
    for by in ("repo", "tag", "layer"):
        *rows, total = json.loads(program.run("du", "--by", by, "--format", "json").stdout)
        assert total == {"total": whole}
        if by != "layer":
            web = next(row for row in rows if row["repository"] == "shop/web")
            api = next(row for row in rows if row["repository"] == "shop/api")
            assert web["size"] == whole
            assert api["size"] + web["unique"] == whole
            assert api["unique"] == 0


def test_du_reports_that_a_cache_has_no_referrers(attested: tuple[Program, int]) -> None:
    program, whole = attested
    first = program.run("-c", "cache.json", "du", "--format", "json")
    assert json.loads(first.stdout)[-1] == {"total": whole}
    cached = program.run("-c", "cache.json", "du", "--format", "json")
    assert json.loads(cached.stdout)[-1]["total"] < whole
    told = "what only the referrers API lists is counted with --refresh, or without a cache"
    assert told in cached.stderr
    assert told not in first.stderr


def test_du_reports_a_referrer_whose_subject_is_unknown(attested: tuple[Program, int]) -> None:
    program, _ = attested
    server = int(program.url.rpartition(":")[2])

    def fail(request: Request) -> Answer | None:
        return Answer(500) if "/shop/web/referrers/" in request.path else None

    with Proxy(server, before=fail) as proxy:
        found = Program(proxy.url, program.folder).run("du", "--format", "json")
    assert found.returncode == 3
    assert "dregutil: the referrers of sha256:" in found.stderr
    assert "what could not be read is not counted" in found.stderr
