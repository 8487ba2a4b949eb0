"""distribution 3.1.1 on S3 omits tags from its lists, and repositories from its catalog: nothing that it omits is lost.

3.1.2 lists them. The real servers, on moto's S3.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_servers import dregutil

from images import Pusher
from servers.s3 import S3Registry, S3Registry3, S3Registry311, S3Server

TAGS = ("0.1.2", "0.1.20", "0.2")


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    with S3Server(tmp_path / "s3") as found:
        yield found


def listed(pusher: Pusher, path: str, key: str) -> list[str]:
    """Every page of a list."""
    found: list[str] = []
    while path:
        _, headers, body = pusher.request("GET", path)
        found += json.loads(body)[key] or []
        path = headers.get("link", "").partition("<")[2].partition(">")[0]
    return found


@pytest.mark.parametrize(("kind", "omits"), [(S3Registry311, True), (S3Registry3, False)], ids=["3.1.1", "3.1.2"])
def test_what_a_list_omits(s3: S3Server, tmp_path: Path, kind: type[S3Registry], omits: bool) -> None:
    with kind(tmp_path / "registry", s3, "bucket") as server, Pusher(server.url) as pusher:
        one = pusher.push_image("shop/web", *TAGS, seed="one")
        pusher.push_image("shop/web-x", "1.0", seed="other")
        assert all(pusher.has("shop/web", tag) for tag in TAGS)
        assert listed(pusher, "/v2/shop/web/tags/list?n=1000", "tags") == (["0.1.2", "0.2"] if omits else list(TAGS))
        names = listed(pusher, "/v2/_catalog?n=1", "repositories")
        assert ("shop/web" in names) == (not omits)
        assert set(listed(pusher, "/v2/_catalog?n=1000", "repositories")) == {"shop/web", "shop/web-x"}

        # It was seen on another digest, and has moved to the doomed one since: who trusts the list deletes it.
        seen = {"0.1.2": one["digest"], "0.1.20": f"sha256:{0:064}", "0.2": one["digest"]}
        (tmp_path / "c.json").write_text(json.dumps({"shop/web": seen, "shop/web-x": {}}))
        base = ["-reg", server.url, "-c", "c.json", "--state-dir", "state"]
        done = dregutil(tmp_path, *base, "remove-tags", "-r", "shop/web", "-t", "0.1.2", "0.2", "-y")
        why = "the registry's list of tags omits '0.1.20', which resolves" if omits else "also '0.1.20'"
        assert why in done.stdout + done.stderr
        assert all(pusher.has("shop/web", tag) for tag in TAGS)
