"""A content database damaged on disk: bad entries are dropped and read again, and no command fails because of it."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import zlib
from pathlib import Path

import pytest

from dregutil.errors import CacheError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.search import find_images
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest
from images import CONFIG, IMAGE, INDEX, LAYER, Pusher
from program import Program
from servers.memory import MemoryServer

NUMBER = 12  # images; every third has its own index


def blob(raw: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": Digest.of(raw), "size": len(raw)}


def contents() -> tuple[dict[Digest, Manifest], dict[Digest, bytes]]:
    manifests: dict[Digest, Manifest] = {}
    configs: dict[Digest, bytes] = {}

    def add(body: dict[str, object], media_type: str) -> dict[str, object]:
        raw = json.dumps({"schemaVersion": 2, "mediaType": media_type, **body}).encode()
        manifests[Digest.of(raw)] = parse_manifest(raw, media_type, Digest.of(raw))
        return blob(raw, media_type)

    for number in range(NUMBER):
        config = json.dumps({"os": "linux", "architecture": f"a{number}"}).encode()
        configs[Digest.of(config)] = config
        layers = [blob(b"x" * (number + 1), LAYER), blob(b"base", LAYER)]
        image = add({"config": blob(config, CONFIG), "layers": layers}, IMAGE)
        if number % 3 == 0:
            add({"manifests": [image]}, INDEX)
    return manifests, configs


MANIFESTS, CONFIGS = contents()
TOP = next(digest for digest, manifest in MANIFESTS.items() if manifest.children)


def fill(database: ContentDatabase) -> None:
    database.add(MANIFESTS.values(), CONFIGS, MANIFESTS)


def use(database: ContentDatabase) -> None:
    """As a command does: missing entries are read again, and then everything is as before."""
    if database.missing(MANIFESTS):
        fill(database)
    assert database.missing(MANIFESTS) == []
    for digest, manifest in MANIFESTS.items():
        details = database.details(digest)
        assert details is not None
        assert database.manifest(digest) == manifest
    sizes = dict(database.connection.execute("SELECT blob.digest, size FROM blob JOIN part ON part.blob = blob.id"))
    for manifest in MANIFESTS.values():
        assert all(sizes[bytes.fromhex(part.digest.hex)] == part.size for part in manifest.blobs)


DAMAGE = {
    "a size": "UPDATE blob SET size = size + 1024 WHERE id = (SELECT max(id) FROM blob)",
    "a digest": "UPDATE blob SET digest = zeroblob(32) WHERE id = (SELECT min(blob) FROM part WHERE role = 3)",
    "a part": "DELETE FROM part WHERE role = 3 AND manifest = (SELECT max(manifest) FROM part WHERE role = 3)",
    "a child": "DELETE FROM part WHERE role = 1",
    "a role": "UPDATE part SET role = 4 WHERE role = 3",
    "a type": "UPDATE manifest SET media_type = 'application/json'",
    "a kind": "UPDATE manifest SET kind = 'index' WHERE kind = 'image'",
    "a manifest's row": "DELETE FROM manifest WHERE kind = 'image'",
    "a manifest's bytes": "DELETE FROM content WHERE id IN (SELECT id FROM manifest WHERE kind = 'image')",
    "a config": "DELETE FROM content WHERE id IN (SELECT blob FROM part WHERE role = 2)",
    "other bytes": "UPDATE content SET deflated = x'00'",
    "a row of a part": "DELETE FROM blob WHERE id IN (SELECT blob FROM part WHERE role = 3)",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_bad_row_is_dropped_and_read_again(tmp_path: Path, what: str) -> None:
    with ContentDatabase.open(tmp_path / "contents.sqlite") as database:
        fill(database)
        assert database.missing(MANIFESTS) == []
        database.connection.execute("PRAGMA foreign_keys = off")
        database.connection.execute(DAMAGE[what])
        assert database.missing(MANIFESTS) != []
        assert database.dropped > 0
        use(database)


def test_a_manifest_wrongly_marked_whole_is_read_again(tmp_path: Path) -> None:
    with ContentDatabase.open(tmp_path / "contents.sqlite") as database:
        database.add([MANIFESTS[TOP]])
        database.connection.execute("UPDATE manifest SET whole = 1")
        assert database.missing([TOP]) == [TOP]


def test_an_index_stored_as_an_image_is_not_an_image(tmp_path: Path) -> None:
    with ContentDatabase.open(tmp_path / "contents.sqlite") as database:
        fill(database)
        images = find_images(database, MANIFESTS)
        assert TOP not in images
        assert len(images) == NUMBER
        database.connection.execute("UPDATE manifest SET kind = 'image'")
        assert find_images(database, MANIFESTS).keys() == images.keys()


def test_a_flipped_bit_ends_no_command(tmp_path: Path) -> None:
    path = tmp_path / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        fill(database)
    raw = path.read_bytes()
    picked = random.Random(7)
    unusable = dropped = 0
    for _ in range(300):
        place = picked.randrange(100, len(raw))
        path.write_bytes(raw[:place] + bytes([raw[place] ^ (1 << picked.randrange(8))]) + raw[place + 1 :])
        try:
            database = ContentDatabase.open(path)
        except CacheError:
            unusable += 1  # a private one replaces it
        else:
            with database:
                use(database)
                dropped += bool(database.dropped)
        for beside in (tmp_path / "contents.sqlite-wal", tmp_path / "contents.sqlite-shm"):
            beside.unlink(missing_ok=True)
    assert unusable
    assert dropped


def test_a_database_of_2_0_0_still_works(tmp_path: Path) -> None:
    path = tmp_path / "contents.sqlite"
    with ContentDatabase.open(path) as database:
        fill(database)
    with sqlite3.connect(path) as connection:
        for table in ("blob", "manifest", "content"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN sum")
        connection.execute("DELETE FROM migration WHERE name = 'sums'")
    connection.close()
    with ContentDatabase.open(path) as database:
        assert database.missing(MANIFESTS) == []
        use(database)
        assert database.dropped == 0


def test_a_command_warns_and_continues(tmp_path: Path) -> None:
    with MemoryServer() as memory:
        with Pusher(memory.url) as pusher:
            pusher.push_image("shop/web", "1.0", seed="one")
        program = Program(memory.url, tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(tmp_path / "kept"))
            command = ("-c", "tags.json", "du")
            first = program.run(*command)
            (path,) = (tmp_path / "kept").rglob("contents.sqlite")
            with sqlite3.connect(path) as connection:
                connection.execute("UPDATE content SET deflated = ?", (zlib.compress(b"{}"),))
            connection.close()
            done = program.run(*command)
            again = program.run(*command)
    assert (done.returncode, done.stdout) == (0, first.stdout)
    assert "warning: 1 entry of the content database" in done.stderr, done.stderr
    assert "warning" not in again.stderr
    shutil.rmtree(tmp_path / "kept")
