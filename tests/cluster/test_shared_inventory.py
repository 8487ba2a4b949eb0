"""The tags in a store, in place of a cache file: what one machine has read, the others show."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.store import inventory as shared_inventory
from dregutil.store.database import Database
from dregutil.store.inventory import SharedCache

REGISTRY = "registry.example.com"
SHOP, OTHER = Repository("shop"), Repository("other")

Machine = Callable[[str], SharedCache]


def digest(number: int) -> Digest:
    return Digest.of(b"%d" % number)


def tags(**numbers: int) -> dict[Tag, Digest]:
    return {Tag(name): digest(number) for name, number in numbers.items()}


def inventory(**numbers: int) -> Inventory:
    return Inventory({SHOP: tags(**numbers), OTHER: tags(one=1)})


def seen(cache: SharedCache) -> dict[str, dict[str, str]]:
    found = cache.read()
    assert found is not None
    return {str(name): dict(sorted(found.tags(name).items())) for name in found.repositories}


def rows(database: Database) -> dict[str, tuple[str, bool]]:
    with database.transaction() as transaction:
        found = transaction.rows("SELECT name, digest, gone FROM tag WHERE repository = 'shop'")
    return {name: (named, gone is not None) for name, named, gone in found}


@pytest.fixture
def machine(database: Database, tmp_path: Path) -> Machine:
    """The tags as a machine of a name has them."""
    return lambda name: SharedCache(lambda: database, tmp_path / name, REGISTRY)


def test_what_one_machine_reads_another_one_shows(machine: Machine) -> None:
    assert machine("b").read() is None
    assert machine("b").age(0) is None
    machine("a").write(inventory(x=1, y=2))
    assert seen(machine("b")) == {"shop": tags(x=1, y=2), "other": tags(one=1)}
    assert 0 <= (machine("b").age(0) or 0) < 60


def test_a_reading_writes_only_what_differs(machine: Machine, database: Database) -> None:
    machine("a").write(inventory(x=1, y=2, z=3))
    seen(machine("b"))
    machine("b").write(inventory(x=1, y=9, new=4))
    assert rows(database) == {
        "x": (digest(1), False),
        "y": (digest(9), False),
        "z": (digest(3), True),
        "new": (digest(4), False),
    }
    with database.transaction() as transaction:
        changed = {name for (name,) in transaction.rows("SELECT name FROM tag WHERE version = 2")}
        came = transaction.rows("SELECT came, gone FROM tag WHERE name = 'z'")[0]
    assert changed == {"y", "z", "new"}
    assert came[0] <= came[1]
    assert seen(machine("a")) == {"shop": tags(x=1, y=9, new=4), "other": tags(one=1)}


def test_some_repositories_are_replaced_and_the_age_stays(machine: Machine, database: Database) -> None:
    machine("a").update(lambda _: {SHOP: tags(x=1)})
    assert machine("b").read() is None, "nobody has read the whole registry"
    machine("a").write(inventory(x=1, y=2))
    with database.transaction() as transaction:
        transaction.execute("UPDATE inventory SET read_at = read_at - 1000")
    machine("b").update(lambda known: {SHOP: {Tag("x"): known.tags(SHOP)[Tag("x")]}, OTHER: {}})
    assert seen(machine("a")) == {"shop": tags(x=1)}
    assert (machine("a").age(0) or 0) >= 1000


def test_a_tag_that_comes_back_is_there(machine: Machine) -> None:
    machine("a").write(inventory(x=1))
    machine("a").write(inventory())
    assert seen(machine("b")) == {"other": tags(one=1)}
    machine("a").write(inventory(x=2))
    assert seen(machine("b")) == {"shop": tags(x=2), "other": tags(one=1)}


def test_machines_that_take_turns_at_random_see_the_same(machine: Machine) -> None:
    chance, now = random.Random(3), dict[str, int]()
    for turn in range(20):
        for _ in range(chance.randrange(5)):
            now[f"t{chance.randrange(10)}"] = chance.randrange(4)
        for gone in [one for one in now if chance.random() < 0.15]:
            del now[gone]
        cache = machine(chance.choice("abc"))
        if turn and chance.random() < 0.4:
            cache.update(lambda _: {SHOP: tags(**now)})
        else:
            cache.write(inventory(**now))
        expected = {**({"shop": dict(sorted(tags(**now).items()))} if now else {}), "other": tags(one=1)}
        assert seen(machine(chance.choice("abcd"))) == expected


def test_updates_at_once_lose_nothing(machine: Machine) -> None:
    machine("a").write(inventory(x=1))

    def update(number: int) -> None:
        machine(f"m{number % 3}").update(lambda _: {Repository(f"r{number}"): tags(t=number)})

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(update, range(12)))
    assert set(seen(machine("z"))) == {"shop", "other", *(f"r{number}" for number in range(12))}


@pytest.mark.parametrize("how", ["changed", "cut", "no version", "no file", "of a later version"])
def test_a_copy_that_is_not_whole_is_made_again(machine: Machine, how: str) -> None:
    cache = machine("a")
    cache.write(inventory(x=1, y=2))
    version = cache.path.with_name(f"{cache.path.name}.version")
    if how == "changed":
        cache.path.write_text(json.dumps({"shop": {"x": digest(7)}}))
    elif how == "cut":
        found = cache.path.stat()
        cache.path.write_bytes(cache.path.read_bytes()[:-9] + b" " * 9)
        os.utime(cache.path, ns=(found.st_mtime_ns, found.st_mtime_ns))
    elif how == "no version":
        version.unlink()
    elif how == "no file":
        cache.path.unlink()
    else:
        version.write_text(version.read_text().replace("1", "9", 1))
    assert seen(machine("a")) == {"shop": tags(x=1, y=2), "other": tags(one=1)}


def test_tags_that_are_gone_for_long_are_forgotten_and_an_old_copy_is_made_again(
    machine: Machine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine("a").write(inventory(x=1, y=2))
    seen(machine("b"))
    machine("a").write(inventory(x=1))
    monkeypatch.setattr(shared_inventory, "_KEPT", -10)
    machine("a").write(inventory(x=1, new=3))
    assert set(rows(database)) == {"x", "new"}
    assert seen(machine("b")) == {"shop": tags(x=1, new=3), "other": tags(one=1)}


def test_a_note_of_a_refresh_holds_until_the_tags_change(machine: Machine) -> None:
    machine("a").write(inventory(x=1))
    before = machine("b").written()
    assert (machine("b").name, before) == (machine("c").name, machine("c").written())
    machine("c").update(lambda _: {SHOP: tags(x=2)})
    assert machine("b").written() != before


def test_many_tags_go_the_fast_way(machine: Machine, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if database.is_postgresql:
        monkeypatch.setattr("dregutil.store.postgres._AT_ONCE", 500)
    many = Inventory({Repository(f"r{n}"): {Tag(f"t{k}"): digest(n * k) for k in range(40)} for n in range(30)})
    machine("a").write(many)
    assert (machine("b").read() or Inventory()).as_mapping() == many.as_mapping()
    with database.transaction() as transaction:
        assert transaction.rows("SELECT count(*) FROM tag") == [(1200,)]
