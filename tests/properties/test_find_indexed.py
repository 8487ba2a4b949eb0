"""What uses a digest, by the index of the tags: after any changes the answer is the one that the manifests give."""

from __future__ import annotations

import json
import random
from collections.abc import Collection
from pathlib import Path

import pytest

import dregutil
from dregutil.errors import NotFoundError
from dregutil.inventory import tag_index
from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tag_index import DamagedIndexError, TagIndex, write_tag_index
from dregutil.inventory.tags import Inventory
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.session import finding
from dregutil.session.finding import FindingSession
from images import CONFIG, IMAGE, INDEX, LAYER

REPOSITORIES = [Repository(name) for name in ("base", "shop/web", "shop/api")]

# Each damages rows that were there, as a disk might; `?` is the digest that is searched for afterwards.
_ASKED = "(SELECT id FROM blob WHERE digest = ?1)"
DAMAGE = {
    "a use": f"DELETE FROM part WHERE (manifest, blob) = (SELECT max(manifest), blob FROM part WHERE blob = {_ASKED})",
    "all uses": f"DELETE FROM part WHERE blob = {_ASKED}",
    "another blob": f"UPDATE OR IGNORE part SET blob = (SELECT max(id) FROM blob) WHERE blob = {_ASKED}",
    "another manifest": f"UPDATE OR IGNORE part SET manifest = manifest + 1 WHERE blob = {_ASKED}",
    "a role": f"UPDATE part SET role = 4 WHERE blob = {_ASKED}",
    "a child": "UPDATE part SET role = 3 WHERE role = 1 AND ?1",
    "an index's children": "DELETE FROM part WHERE role = 1 AND ?1",
    "its digest": "UPDATE blob SET digest = randomblob(32) WHERE digest = ?1",
    "its row": "DELETE FROM blob WHERE digest = ?1",
    "its size": "UPDATE blob SET size = size + 1 WHERE digest = ?1",
    "a user's digest": "UPDATE blob SET digest = randomblob(32)"
    f" WHERE id = (SELECT max(manifest) FROM part WHERE blob = {_ASKED})",
    "a user's row": f"DELETE FROM manifest WHERE id IN (SELECT manifest FROM part WHERE blob = {_ASKED})",
    "the sum of its users": f"UPDATE user_sum SET sum = sum + 1 WHERE blob = {_ASKED}",
    "all sums of users": "DELETE FROM user_sum WHERE ?1",
}


class World:
    """Manifests, and tags on some of them; what they say about each other is known here without any database."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.manifests: dict[Digest, Manifest] = {}
        self.configs: dict[Digest, bytes] = {}
        self.tags: dict[Repository, dict[Tag, Digest]] = {name: {} for name in REPOSITORIES}
        self.cache, self.contents = folder / "cache.json", folder / "contents.sqlite"
        self.number = 0
        for _ in range(6):
            self.add()

    def add(self, *, is_tagged: bool = True) -> None:
        """An image, or an index of two that are there."""
        self.number += 1
        if self.number > 3 and self.random.random() < 0.4:
            children = self.random.sample(sorted(self.manifests), 2)
            listed = [self._descriptor(self.manifests[one].raw, self.manifests[one].media_type) for one in children]
            digest = self._manifest({"manifests": listed}, INDEX)
        else:
            config = json.dumps({"os": "linux", "number": self.number}).encode()
            self.configs[Digest.of(config)] = config
            layers = [b"layer %d" % one for one in self.random.sample(range(5), 2)]
            body: dict[str, object] = {
                "config": self._descriptor(config, CONFIG),
                "layers": [self._descriptor(one, LAYER) for one in layers],
            }
            digest = self._manifest(body, IMAGE)
        if is_tagged:
            self.tags[self.random.choice(REPOSITORIES)][Tag(f"1.{self.random.randrange(12)}")] = digest

    def _manifest(self, body: dict[str, object], media_type: str) -> Digest:
        raw = json.dumps({"schemaVersion": 2, "mediaType": media_type, "number": self.number, **body}).encode()
        self.manifests[Digest.of(raw)] = parse_manifest(raw, media_type, Digest.of(raw))
        return Digest.of(raw)

    def _descriptor(self, raw: bytes, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "digest": Digest.of(raw), "size": len(raw)}

    def write(self) -> None:
        CacheFile(self.cache).write(Inventory(self.tags))

    def known(self) -> list[Digest]:
        """All digests: of manifests, configs and layers."""
        return sorted({*self.manifests, *(part.digest for one in self.manifests.values() for part in one.blobs)})

    def below(self, digest: Digest) -> set[Digest]:
        manifest = self.manifests[digest]
        found = {digest, *(part.digest for part in manifest.blobs)}
        return found.union(*(self.below(child.digest) for child in manifest.children))

    def users(self, wanted: Digest) -> set[tuple[Repository, Tag, Digest]]:
        every = ((name, tag, digest) for name, tags in self.tags.items() for tag, digest in tags.items())
        return {held for held in every if wanted in self.below(held[2])}

    def damage(self, how: str, digest: Digest) -> None:
        with ContentDatabase.open(self.contents) as database:
            database.connection.execute("PRAGMA foreign_keys = off")
            database.connection.execute(how, (digest.key,))


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each search was answered from the index; files of any size and age have one."""
    found: list[bool] = []
    find_indexed = FindingSession._find_indexed

    def noted(session: FindingSession, what: str, made_from: bytes) -> object:
        answer = find_indexed(session, what, made_from)
        found.append(answer is not None)
        return answer

    monkeypatch.setattr(FindingSession, "_find_indexed", noted)
    monkeypatch.setattr(finding, "_LARGE", 0)
    monkeypatch.setattr(tag_index, "_SETTLED_NS", 0)
    return found


def found_in(
    world: World, monkeypatch: pytest.MonkeyPatch, wanted: Digest
) -> set[tuple[Repository, Tag, Digest]] | None:
    """The tags that use a digest, as a search says; None if it says that not all is known. The registry has all."""

    async def read(session: FindingSession, holders: Collection[tuple[Repository, Digest]]) -> dict[Digest, Exception]:
        if session.database.missing(digest for _, digest in holders):
            session.database.add(world.manifests.values(), world.configs, world.manifests)
        return {}

    monkeypatch.setattr(FindingSession, "read_contents", read)
    with dregutil.open("127.0.0.1:9", cache=world.cache, contents=world.contents) as registry:
        try:
            found = registry.find(wanted)
        except NotFoundError:
            return set()
        return {(use.repository, use.tag, use.digest) for use in found.uses} if found.is_complete else None


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_is_that_of_the_manifests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: list[bool], seed: int
) -> None:
    world = World(tmp_path, seed)
    world.write()
    for _ in range(8):
        change = world.random.choice(["add", "add elsewhere", "untag", "damage", "nothing"])
        wanted = world.random.choice(world.known())
        if change.startswith("add"):
            world.add(is_tagged=change == "add")
        elif change == "untag" and (held := [name for name in REPOSITORIES if world.tags[name]]):
            tags = world.tags[world.random.choice(held)]
            del tags[world.random.choice(sorted(tags))]
        elif change == "damage":
            world.damage(DAMAGE[world.random.choice(sorted(DAMAGE))], wanted)
        if change in ("add", "untag"):
            world.write()
        for _ in range(2):
            found = found_in(world, monkeypatch, wanted)
            assert found is None or found == world.users(wanted), (change, answered[-1:])
    assert any(answered)


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_row_gives_no_false_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: list[bool], how: str
) -> None:
    world = World(tmp_path, 3)
    world.write()
    for wanted in world.random.sample(world.known(), 3):
        found_in(world, monkeypatch, wanted)
        found_in(world, monkeypatch, wanted)
        world.damage(DAMAGE[how], wanted)
        found = found_in(world, monkeypatch, wanted)
        assert found is None or found == world.users(wanted)
        for _ in range(3):
            found = found_in(world, monkeypatch, wanted)
        assert found is None or found == world.users(wanted)
        # What was damaged is read again, and then the index answers again, except for what no tag uses.
        assert answered[-1] or not found


def test_what_another_command_has_dropped_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: list[bool]
) -> None:
    world = World(tmp_path, 5)
    world.write()
    user = next(one for one in world.manifests.values() if one.layers and world.users(one.digest))
    wanted = user.layers[0].digest
    for _ in range(2):
        assert found_in(world, monkeypatch, wanted) == world.users(wanted)
    world.damage("UPDATE manifest SET media_type = '' WHERE id = (SELECT id FROM blob WHERE digest = ?)", user.digest)
    with ContentDatabase.open(world.contents) as database:
        assert database.missing([user.digest]) == [user.digest]
    assert found_in(world, monkeypatch, wanted) == world.users(wanted)
    assert answered == [False, True, False]


def test_how_a_tag_uses_a_layer_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: list[bool]
) -> None:
    world = World(tmp_path, 5)
    world.write()
    user = next(one for one in world.manifests.values() if one.layers and world.users(one.digest))
    wanted = user.layers[0].digest
    for _ in range(2):
        assert found_in(world, monkeypatch, wanted) == world.users(wanted)
    world.damage(DAMAGE["a role"], wanted)
    assert found_in(world, monkeypatch, wanted) == world.users(wanted)
    assert answered == [False, True, False]


def test_another_content_database_does_not_vouch_for_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: list[bool]
) -> None:
    world = World(tmp_path, 5)
    world.write()
    wanted = next(layer.digest for one in world.manifests.values() for layer in one.layers)
    assert found_in(world, monkeypatch, wanted) == world.users(wanted)
    assert found_in(world, monkeypatch, wanted) == world.users(wanted)
    assert answered == [False, True]
    older = tmp_path / "older.sqlite"
    with ContentDatabase.open(older) as database:
        database.add([*world.manifests.values()][:1])
    world.contents.unlink()
    older.rename(world.contents)
    assert found_in(world, monkeypatch, wanted) == world.users(wanted)
    assert answered == [False, True, False]


def test_a_damaged_index_gives_no_false_answer(tmp_path: Path) -> None:
    picked = random.Random(11)
    tags = {
        name: {
            Tag(f"v{number}"): Digest.of(picked.randbytes(3), "sha512" if name == "base" else "sha256")
            for number in range(20)
        }
        for name in REPOSITORIES
    }
    inventory, path, made_from = Inventory(tags), tmp_path / "index", b"f" * 32
    write_tag_index(path, inventory, made_from, b"t" * 16)
    digests = {digest for held in tags.values() for digest in held.values()}
    raw = path.read_bytes()
    used = [at for at in range(len(raw)) if raw[at]]

    def check(index: TagIndex) -> None:
        for digest in digests:
            assert index.holders(digest) == inventory.holders(digest)
            assert index.beginning_with(digest.hex[:6]) == inventory.beginning_with(digest.hex[:6])
        assert index.holders_of(digests) == inventory.holders_of(digests)
        for name in (*REPOSITORIES, Repository("other")):
            assert index.tags(name) == inventory.tags(name)

    index = TagIndex.open(path, made_from)
    assert index is not None
    check(index)
    assert TagIndex.open(path, b"g" * 32) is None
    refused = damaged = 0
    for _ in range(150):
        at = picked.choice(used)
        path.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << picked.randrange(8))]) + raw[at + 1 :])
        index = TagIndex.open(path, made_from)
        if index is None:
            refused += 1
            continue
        try:
            check(index)
        except DamagedIndexError:
            damaged += 1
    assert refused
    assert damaged
    for size in (0, 40, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:size])
        index = TagIndex.open(path, made_from)
        if index is not None:
            with pytest.raises(DamagedIndexError):
                check(index)


def test_a_cache_file_written_a_moment_ago_has_no_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "cache.json"
    assert tag_index.fingerprint(path) is None
    path.write_text("{}")
    assert tag_index.fingerprint(path) is None
