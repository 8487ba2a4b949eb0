"""Manifests and configs in a store: what one machine has read, no other one reads from the registry."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import dregutil
from dregutil.errors import StoreError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.oci.manifest import parse_manifest
from dregutil.oci.names import Digest, Repository
from dregutil.store.contents import SharedContents
from dregutil.store.database import Database
from images import Pusher, created
from servers import DistributionServer

NOBODY = "127.0.0.1:9"  # nothing listens there


@pytest.fixture
def empty() -> Iterator[ContentDatabase]:
    with ContentDatabase.private() as found:
        yield found


def read(server: DistributionServer, pusher: Pusher, store: str, folder: Path) -> dict[str, Digest]:
    """Push an image and an index of two, and read them on one machine."""
    pusher.push_image("app", "1", seed="1", config=created(9))
    pusher.push_index("app", "many", children=[pusher.push_image("app", seed=seed) for seed in "ab"])
    with dregutil.open(server.url, store=store, state_dir=folder, contents=None, insecure=True) as session:
        session.contents("app")
    return {tag: Digest(digest) for tag, digest in pusher.tags("app").items()}


def test_what_was_read_on_one_machine_is_not_read_on_another(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    digests = read(registry_server, pusher, store, tmp_path / "a")
    with dregutil.open(NOBODY, store=store, state_dir=tmp_path / "b", contents=None, insecure=True) as session:
        assert session.read_contents([(Repository("app"), one) for one in digests.values()]) == {}
        database = session._session.database
        assert database.missing(digests.values()) == []
        one, many = (database.details(digests[tag]) for tag in ("1", "many"))
    assert one is not None
    assert one.created is not None
    assert many is not None
    assert len(many.children) == 2


def test_what_is_damaged_in_the_store_is_read_from_the_registry(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path, database: Database
) -> None:
    digests = read(registry_server, pusher, store, tmp_path / "a")
    with database.transaction() as transaction:
        transaction.execute(
            "UPDATE content SET deflated = :odd WHERE digest = :digest",
            {"odd": zlib.compress(b'{"schemaVersion": 2}'), "digest": digests["1"]},
        )
        transaction.execute(
            "UPDATE content SET deflated = :odd WHERE digest = :digest", {"odd": b"no zlib", "digest": digests["many"]}
        )
    with ContentDatabase.private() as here:
        SharedContents(database).fetch(digests.values(), here)
        assert set(here.missing(digests.values())) == set(digests.values())
    with dregutil.open(
        registry_server.url, store=store, state_dir=tmp_path / "b", contents=None, insecure=True
    ) as session:
        assert all(one.details is not None for one in session.contents("app"))


def test_what_the_store_has_in_part_is_completed_from_the_registry(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path, database: Database
) -> None:
    digests = read(registry_server, pusher, store, tmp_path / "a")
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM content WHERE media_type = ''")
    with dregutil.open(
        registry_server.url, store=store, state_dir=tmp_path / "b", contents=None, insecure=True
    ) as session:
        assert all(one.details is not None for one in session.contents("app"))
    with database.transaction() as transaction:
        assert transaction.rows("SELECT count(*) FROM content WHERE media_type = ''")[0][0] >= len(digests)


def test_a_store_that_cannot_be_asked_is_passed_over(database: Database, empty: ContentDatabase) -> None:
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE content RENAME TO hidden")
    raw = b'{"schemaVersion": 2, "layers": [], "config": {"mediaType": "x/y", "size": 2, "digest": "sha256:%s"}}' % (
        b"0" * 64
    )
    manifest = parse_manifest(raw, "application/vnd.oci.image.manifest.v1+json", Digest.of(raw))
    shared = SharedContents(database)
    shared.keep([manifest], {})
    shared.fetch([manifest.digest], empty)
    assert empty.missing([manifest.digest]) == [manifest.digest]


def test_a_store_that_is_away_is_asked_once(empty: ContentDatabase) -> None:
    """Each question may take half a minute, and a crawl has thousands."""
    asked = 0

    class Away:
        def transaction(self, **_: object) -> None:
            nonlocal asked
            asked += 1
            raise StoreError("it is away")

    contents = SharedContents(Away())  # type: ignore[arg-type]
    raw = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}'
    manifest = parse_manifest(raw, "application/vnd.oci.image.manifest.v1+json", Digest.of(raw))
    for _ in range(3):
        contents.keep([manifest], {})
        contents.fetch([manifest.digest], empty)
    assert asked == 1
