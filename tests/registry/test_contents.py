"""Contents: read once per digest, stored permanently, and what happens if they cannot be read or stored."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import CacheError, DigestMismatchError, LoginError, NotFoundError, UnreachableError
from dregutil.inventory.contents.database import CHILD, ContentDatabase
from dregutil.inventory.contents.read import Contents, read_contents
from dregutil.inventory.contents.search import find_users, holders_above
from dregutil.oci.manifest import OCI_INDEX, parse_manifest
from dregutil.oci.names import Digest, Repository
from dregutil.registry import connect
from images import IMAGE, INDEX, Pusher
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

OLD = {"created": "2024-05-06T07:08:09Z", "config": {"Labels": {"team": "web"}}}


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


@pytest.fixture
def shop(memory: MemoryServer) -> Iterator[Pusher]:
    with Pusher(memory.url) as pusher:
        yield pusher


@pytest.fixture
def database(tmp_path: Path) -> Iterator[ContentDatabase]:
    with ContentDatabase.open(tmp_path / "contents.sqlite") as found:
        yield found


def read(url: str, database: ContentDatabase, *holders: tuple[str, dict[str, Any]]) -> Contents:
    async def run() -> Contents:
        async with connect(url) as registry:
            pairs = [(Repository(name), Digest(found["digest"])) for name, found in holders]
            return await read_contents(registry, pairs, database)

    return asyncio.run(run())


def test_the_contents_of_a_real_registry_are_read_and_stored(
    registry_server: DistributionServer, pusher: Pusher, database: ContentDatabase
) -> None:
    amd = pusher.push_image("r", seed="amd", config=OLD)
    arm = pusher.push_image("r", seed="arm", config={"architecture": "arm64"})
    both = pusher.push_index("r", "1.0", children=[amd, arm])
    contents = read(registry_server.url, database, ("r", both), ("r", amd))
    details = contents.details(Digest(both["digest"]))
    assert contents.unreadable == {}
    assert details is not None
    assert details.labels == {"team": "web"}
    assert details.platforms == ("linux/amd64", "linux/arm64")
    assert details.created is not None
    assert details.created.isoformat() == "2024-05-06T07:08:09+00:00"
    kept = database.manifest(Digest(both["digest"]))
    assert kept is not None
    assert kept.raw == pusher.raw("r", "1.0")


def test_a_second_reading_requests_only_what_is_new(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase
) -> None:
    images = [shop.push_image("r", f"1.{number}", seed=str(number)) for number in range(3)]
    with Proxy(memory.port) as proxy:
        read(proxy.url, database, *(("r", image) for image in images))
        assert len(proxy.requests) == 2 * 3  # a manifest and a config each
        proxy.requests.clear()
        new = shop.push_image("r", "1.3", seed="new")
        contents = read(proxy.url, database, *(("r", image) for image in (*images, new)))
        assert contents.read == 1
        assert proxy.sent("GET") == [new["digest"], json.loads(shop.raw("r", "1.3"))["config"]["digest"]]


def test_each_digest_is_requested_once_regardless_of_its_parents(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase
) -> None:
    shared = shop.push_image("r", seed="shared")
    indexes = [shop.push_index("r", children=[shared, shop.push_image("r", seed=str(number))]) for number in range(10)]
    with Proxy(memory.port) as proxy:
        assert not read(proxy.url, database, *(("r", one) for one in (*indexes, *indexes))).unreadable
        asked = proxy.sent("GET")
        assert len(asked) == len(set(asked)) == 10 + 2 * 11


def test_if_one_repository_has_lost_a_digest_the_next_is_asked(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase
) -> None:
    image = shop.push_image("kept", "1.0", seed="one")
    contents = read(memory.url, database, ("gone", image), ("kept", image))
    assert contents.details(Digest(image["digest"])) is not None


def test_what_cannot_be_read_is_reported_and_the_rest_is_read(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase
) -> None:
    good, bad = shop.push_image("r", "1.0", seed="good"), {"digest": f"sha256:{'0' * 64}"}
    contents = read(memory.url, database, ("r", bad), ("r", good))
    assert isinstance(contents.unreadable[Digest(bad["digest"])], NotFoundError)
    assert contents.details(Digest(bad["digest"])) is None
    assert contents.details(Digest(good["digest"])) is not None


@pytest.mark.parametrize("body", [b"{}", b""])
def test_a_blob_that_does_not_match_its_digest_is_not_stored(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase, body: bytes
) -> None:
    image = shop.push_image("r", "1.0", seed="one")

    def lie(request: Request) -> Answer | None:
        return Answer(200, body) if "/blobs/" in request.path else None

    with Proxy(memory.port, before=lie) as proxy:
        contents = read(proxy.url, database, ("r", image))
    assert isinstance(contents.unreadable[Digest(image["digest"])], DigestMismatchError)
    assert database.missing([Digest(image["digest"])]) == [Digest(image["digest"])]
    assert read(memory.url, database, ("r", image)).unreadable == {}


def test_an_index_that_lacks_a_child_is_reported_and_read_once_the_child_exists(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase
) -> None:
    there, lost = shop.push_image("r", seed="there"), shop.push_image("r", seed="lost")
    index = shop.push_index("r", "1.0", children=[there, lost])

    def lose(request: Request) -> Answer | None:
        return Answer(404) if request.reference == lost["digest"] else None

    with Proxy(memory.port, before=lose) as proxy:
        contents = read(proxy.url, database, ("r", index))
        assert lost["digest"][:19] in str(contents.unreadable[Digest(index["digest"])])
        assert contents.details(Digest(index["digest"])) is None
    assert read(memory.url, database, ("r", index)).details(Digest(index["digest"])) is not None


def test_an_unreachable_registry_is_an_error_and_not_a_list(database: ContentDatabase) -> None:
    with pytest.raises(UnreachableError):
        read("http://127.0.0.1:9", database, ("r", {"digest": f"sha256:{'0' * 64}"}))


def test_digests_that_the_registry_fails_to_return_are_reported_and_end_nothing(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase
) -> None:
    images = [shop.push_image("r", f"1.{number}", seed=str(number)) for number in range(12)]
    broken = {image["digest"] for image in images[:9]}

    def fail(request: Request) -> Answer | None:
        return Answer(500) if request.reference in broken else None

    with Proxy(memory.port, before=fail) as proxy:
        contents = read(proxy.url, database, *(("r", image) for image in images))
    assert contents.unreadable.keys() == broken
    assert all(contents.details(Digest(image["digest"])) for image in images[9:])


def test_a_refused_login_ends_the_reading(memory: MemoryServer, shop: Pusher, database: ContentDatabase) -> None:
    image = shop.push_image("r", "1.0", seed="one")
    with Proxy(memory.port, before=lambda _: Answer(401)) as proxy, pytest.raises(LoginError):
        read(proxy.url, database, ("r", image))


def test_what_was_read_before_an_error_is_stored(memory: MemoryServer, shop: Pusher, database: ContentDatabase) -> None:
    images = [shop.push_image("r", f"1.{number}", seed=str(number)) for number in range(40)]

    def refuse(request: Request) -> Answer | None:
        return Answer(401) if len(proxy.requests) > 60 else None

    with Proxy(memory.port, before=refuse) as proxy, pytest.raises(LoginError):
        read(proxy.url, database, *(("r", image) for image in images))
    assert 0 < len(database.missing(Digest(image["digest"]) for image in images)) < 40


# The file.


def manifest_of(number: int) -> tuple[Digest, bytes]:
    raw = json.dumps({"schemaVersion": 2, "layers": [], "annotations": {"n": str(number)}}).encode()
    return Digest.of(raw), raw


def fill(database: ContentDatabase, numbers: range) -> None:
    for number in numbers:
        digest, raw = manifest_of(number)
        database.add([parse_manifest(raw, IMAGE, digest)], whole=[digest])


def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "dregutil" / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        fill(database, range(3))
        assert {place.stat().st_mode & 0o777 for place in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = sys.argv[1].split(':'); from pathlib import Path; from test_contents import *\n"
        "with ContentDatabase.open(Path(sys.argv[2])) as database: fill(database, range(int(sys.argv[3]), 300))"
    )
    path = tmp_path / "contents.sqlite"
    here = Path(__file__).parent
    command = [sys.executable, "-c", script, f"{here}:{here.parent}", str(path)]
    started = [subprocess.Popen([*command, str(start)], stderr=subprocess.PIPE) for start in (0, 50, 100, 150)]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in started] == [(b"", 0)] * 4
    with ContentDatabase.open(path) as database:
        assert database.missing(manifest_of(number)[0] for number in range(300)) == []


def test_a_migration_is_recorded_and_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "contents.sqlite"
    ContentDatabase.open(path).close()
    with sqlite3.connect(path) as connection:
        done = [name for (name,) in connection.execute("SELECT name FROM migration")]
        assert done == ["contents", "referrer lists", "sums", "user sums"]
        connection.execute("INSERT INTO migration VALUES ('from the future')")
    connection.close()
    with pytest.raises(CacheError, match="newer version"):
        ContentDatabase.open(path)


@pytest.mark.parametrize("damage", [b"not a database, for sure" * 400, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_reported_and_left_unchanged(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "contents.sqlite"
    path.write_bytes(damage)
    path.chmod(0o600)
    with pytest.raises(CacheError, match=str(path)):
        ContentDatabase.open(path)
    assert path.read_bytes() == damage


def test_bytes_that_changed_on_disk_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        fill(database, range(1))
        database.connection.execute("UPDATE content SET deflated = ?", (zlib.compress(b"{}"),))
        assert database.manifest(manifest_of(0)[0]) is None
        assert database.dropped == 1
        assert database.missing([manifest_of(0)[0]]) == [manifest_of(0)[0]]


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_writable_by_others_is_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    (tmp_path / "link").symlink_to(folder)
    for place in (folder, tmp_path / "link"):
        with pytest.raises(CacheError, match="writable by other users"):
            ContentDatabase.open(place / "contents.sqlite")


def test_a_link_to_something_writable_by_others_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"")
    other.chmod(0o666)
    (tmp_path / "contents.sqlite").symlink_to(other)
    with pytest.raises(CacheError, match="writable by other users"):
        ContentDatabase.open(tmp_path / "contents.sqlite")
    assert other.read_bytes() == b""


def test_a_file_of_another_user_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "contents.sqlite"
    if os.geteuid() == 0:
        path.touch(0o600)
        os.chown(path, 12345, -1)
    else:
        path.symlink_to("/etc/passwd")
    with pytest.raises(CacheError, match="owned by another user"):
        ContentDatabase.open(path)


def test_a_reading_that_cannot_be_stored_is_an_error(
    memory: MemoryServer, shop: Pusher, database: ContentDatabase
) -> None:
    image = shop.push_image("r", "1.0", seed="one")
    database.connection.execute("PRAGMA max_page_count = 1")
    database.connection.execute("PRAGMA query_only = on")
    with pytest.raises(CacheError, match="cannot be used"):
        read(memory.url, database, ("r", image))


def test_sizes_are_as_read_otherwise_the_largest_stated_by_a_manifest(database: ContentDatabase) -> None:
    layer = Digest.of(b"layer")
    child_digest, child_raw = manifest_of(1)
    for size in (5, 7, 6):
        raw = json.dumps({"layers": [{"digest": layer, "size": size}]}).encode()
        index = json.dumps({"manifests": [{"digest": child_digest, "size": 10**30}]}).encode()
        database.add(
            [parse_manifest(raw, IMAGE, Digest.of(raw)), parse_manifest(child_raw, IMAGE, child_digest)],
        )
        database.add([parse_manifest(index, INDEX, Digest.of(index))])
    sizes = dict(database.connection.execute("SELECT digest, size FROM blob"))
    assert sizes[bytes.fromhex(layer.hex)] == 7
    assert sizes[bytes.fromhex(child_digest.hex)] == len(child_raw)


@pytest.mark.property
@given(st.lists(st.lists(st.integers(0, 19), max_size=4), min_size=1, max_size=12), st.sets(st.integers(0, 19)))
def test_the_parents_of_many_are_the_parents_of_each(children: list[list[int]], asked: set[int]) -> None:
    """Nested indexes over twenty digests: number n contains digests and indexes with smaller numbers."""
    digests = [Digest.of(b"%d" % number) for number in range(20)]
    with ContentDatabase.private() as database:
        for below in children:
            held = [{"mediaType": IMAGE, "digest": digests[number], "size": 1} for number in sorted(set(below))]
            raw = json.dumps({"schemaVersion": 2, "manifests": held, "n": len(digests)}).encode()
            digests.append(Digest.of(raw))
            database.add([parse_manifest(raw, OCI_INDEX, digests[-1])])
            digests[below[0] if below else 0] = digests[-1]  # so that later ones may contain it
        chosen = [digests[number] for number in asked]
        each = {user for digest in chosen for user, use in find_users(database, digest).items() if use.role == CHILD}
        assert holders_above(database, chosen) == each
