"""When the records saw a tag appear: durable, complete, accessible to their owner only."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import JournalError
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag

DAY = timedelta(days=1)
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
APP, WEB = Repository("app"), Repository("web")


def inventory(**repositories: Mapping[str, str]) -> Inventory:
    return Inventory(
        {
            Repository(name): {Tag(tag): Digest.of(content.encode()) for tag, content in tags.items()}
            for name, tags in repositories.items()
        }
    )


def store(folder: Path) -> TagHistory:
    return TagHistory(folder, "registry.example.com")


def seen(records: TagHistory, now: Inventory, repository: Repository = APP) -> dict[str, tuple[int, bool]]:
    found = records.of(repository, now.tags(repository))
    return {tag: ((sighting.known_since - FIRST).days, sighting.came) for tag, sighting in found.items()}


def test_what_the_first_crawl_finds_existed_before(tmp_path: Path) -> None:
    now = inventory(app={"a": "x"})
    store(tmp_path).record(now, now=FIRST)
    assert seen(store(tmp_path), now) == {"a": (0, False)}


def test_what_a_later_crawl_finds_new_or_moved_appeared_then(tmp_path: Path) -> None:
    store(tmp_path).record(inventory(app={"stays": "x", "moves": "x"}), now=FIRST)
    now = inventory(app={"stays": "x", "moves": "y", "new": "x"}, web={"a": "x"})
    store(tmp_path).record(now, now=FIRST + DAY)
    store(tmp_path).record(now, now=FIRST + 2 * DAY)
    assert seen(store(tmp_path), now) == {"stays": (0, False), "moves": (1, True), "new": (1, True)}
    assert seen(store(tmp_path), now, WEB) == {"a": (1, True)}


def test_a_tag_that_returns_is_new(tmp_path: Path) -> None:
    now = inventory(app={"a": "x", "b": "x"})
    for day, found in enumerate((now, inventory(app={"a": "x"}), now, inventory(web={"z": "x"}), now)):
        store(tmp_path).record(found, now=FIRST + day * DAY)
    assert seen(store(tmp_path), now) == {"a": (4, True), "b": (4, True)}


def test_the_record_of_what_could_not_be_read_stays_unchanged(tmp_path: Path) -> None:
    now = inventory(app={"a": "x"}, web={"a": "x"})
    store(tmp_path).record(now, now=FIRST)
    store(tmp_path).record(inventory(web={"a": "x"}), now=FIRST + DAY, unread=[APP])
    store(tmp_path).record(now, now=FIRST + 2 * DAY)
    assert seen(store(tmp_path), now) == {"a": (0, False)}


def test_records_begin_with_a_complete_crawl(tmp_path: Path) -> None:
    now = inventory(app={"a": "x"}, web={"a": "x"})
    store(tmp_path).record(inventory(web={"a": "x"}), now=FIRST, unread=[APP])
    assert seen(store(tmp_path), now, WEB) == {}
    store(tmp_path).record(now, now=FIRST + DAY)
    assert seen(store(tmp_path), now) == {"a": (1, False)}


def test_a_tag_that_moved_since_the_last_record_has_none(tmp_path: Path) -> None:
    store(tmp_path).record(inventory(app={"a": "x"}), now=FIRST)
    assert seen(store(tmp_path), inventory(app={"a": "y"})) == {}


def test_each_registry_has_its_own_records(tmp_path: Path) -> None:
    now = inventory(app={"a": "x"})
    store(tmp_path).record(now, now=FIRST)
    assert seen(TagHistory(tmp_path, "other.example.com"), now) == {}


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    records = store(tmp_path)
    records.record(inventory(app={"a": "x"}), now=FIRST)
    assert stat.S_IMODE(records.path.stat().st_mode) == 0o600
    assert [path.name for path in records.path.parent.iterdir()] == [records.path.name]


def test_a_crash_leaves_the_records_unchanged(tmp_path: Path) -> None:
    class Cut(Inventory):
        def as_mapping(self) -> Mapping[Repository, Mapping[Tag, Digest]]:
            found = dict(super().as_mapping())
            return {**found, Repository("zz"): {Tag("broken"): Digest("sha256:nothing")}}

    before = inventory(app={"a": "x"})
    store(tmp_path).record(before, now=FIRST)
    with pytest.raises(ValueError, match="non-hexadecimal"):
        store(tmp_path).record(Cut(inventory(app={"b": "x"}).as_mapping()), now=FIRST + DAY)
    assert seen(store(tmp_path), before) == {"a": (0, False)}


def test_damaged_records_are_an_error_and_stay(tmp_path: Path) -> None:
    records = store(tmp_path)
    records.record(inventory(app={"a": "x"}), now=FIRST)
    records.path.write_bytes(b"no database" * 500)
    with pytest.raises(JournalError, match="cannot be used"):
        records.of(APP, {})
    with pytest.raises(JournalError, match="cannot be used"):
        records.record(inventory(app={"a": "x"}), now=FIRST)
    assert records.path.read_bytes().startswith(b"no database")


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be written") as failed:
        TagHistory(tmp_path / "file", "r").record(inventory(app={"a": "x"}), now=FIRST)
    assert "--state-dir" in failed.value.advice


def unseen(records: TagHistory, now: Inventory, repository: Repository = APP) -> dict[str, int | None]:
    """The day of the last crawl before each tag appeared."""
    found = records.of(repository, now.tags(repository))
    return {tag: None if one.unseen is None else (one.unseen - FIRST).days for tag, one in found.items()}


def test_the_previous_crawl_is_recorded_with_new_tags(tmp_path: Path) -> None:
    store(tmp_path).record(inventory(app={"a": "x"}), now=FIRST)
    now = inventory(app={"a": "x", "b": "y"}, web={"c": "z"})
    store(tmp_path).record(now, began=FIRST + 2 * DAY, now=FIRST + 3 * DAY)
    later = inventory(app={"a": "x", "b": "w"}, web={"c": "z"})
    store(tmp_path).record(later, now=FIRST + 5 * DAY)
    assert unseen(store(tmp_path), later) == {"a": None, "b": 2}
    assert unseen(store(tmp_path), later, WEB) == {"c": 0}


def test_a_new_tag_of_a_known_image_is_a_promotion(tmp_path: Path) -> None:
    store(tmp_path).record(inventory(app={"a": "x", "b": "y"}), now=FIRST)
    store(tmp_path).record(inventory(app={"a": "x"}), now=FIRST + DAY)
    now = inventory(app={"a": "x", "c": "y"}, web={"prod": "x", "new": "z"})
    store(tmp_path).record(now, now=FIRST + 2 * DAY)
    assert unseen(store(tmp_path), now) == {"a": None, "c": 2}
    assert unseen(store(tmp_path), now, WEB) == {"prod": 2, "new": 1}


def test_the_previous_crawl_is_the_last_that_could_read_the_repository(tmp_path: Path) -> None:
    store(tmp_path).record(inventory(app={"a": "x"}), now=FIRST)
    store(tmp_path).record(inventory(), now=FIRST + DAY, unread=[APP, WEB])
    now = inventory(app={"a": "x", "b": "y"}, web={"c": "z"})
    store(tmp_path).record(now, now=FIRST + 2 * DAY)
    assert unseen(store(tmp_path), now) == {"a": None, "b": 0}
    assert unseen(store(tmp_path), now, WEB) == {"c": 0}


def test_a_clock_that_was_set_back_is_not_trusted(tmp_path: Path) -> None:
    found: dict[str, str] = {}
    for number, day in enumerate((10, 5, 11, 12)):
        found[f"t{number}"] = f"x{number}"
        store(tmp_path).record(inventory(app=found), now=FIRST + day * DAY)
    assert unseen(store(tmp_path), inventory(app=found)) == {"t0": None, "t1": None, "t2": None, "t3": 11}


def _without_crawls(database: sqlite3.Connection) -> None:
    """Remove what the third version of the records added."""
    for table, column in (("repository", "read"), ("tag", "unseen"), ("state", "whole")):
        database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")


@pytest.mark.parametrize("version", [1, 2])
def test_records_of_an_earlier_version_learn_the_previous_crawl(tmp_path: Path, version: int) -> None:
    records = store(tmp_path)
    now = inventory(app={"a": "x", "b": "y"})
    records.record(inventory(app={"a": "x"}), now=FIRST)
    records.record(now, now=FIRST + DAY)
    with contextlib.closing(sqlite3.connect(records.path)) as database, database:
        _without_crawls(database)
        if version == 1:
            database.execute("DROP TABLE untagged")
        database.execute(f"PRAGMA user_version = {version}")
    before = {"a": (0, False), "b": (1, True)}
    assert seen(records, now) == before
    assert unseen(records, now) == {"a": None, "b": None}
    records.record(inventory(app={"a": "x", "b": "y", "c": "z"}), now=FIRST + 2 * DAY)
    now = inventory(app={"a": "x", "b": "y", "c": "z", "d": "w"})
    records.record(now, now=FIRST + 3 * DAY)
    assert seen(records, now) == {**before, "c": (2, True), "d": (3, True)}
    assert unseen(records, now) == {"a": None, "b": None, "c": None, "d": 2}


contents = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


@pytest.mark.property
@given(st.lists(contents, min_size=1, max_size=6))
def test_records_agree_with_a_naive_model(history: list[dict[str, str]]) -> None:
    import tempfile

    memory: dict[str, tuple[str, int, bool]] = {}
    with tempfile.TemporaryDirectory() as folder:
        records = store(Path(folder))
        for day, tags in enumerate(history):
            records.record(inventory(app=tags), now=FIRST + day * DAY)
            memory = {
                tag: memory[tag] if tag in memory and memory[tag][0] == content else (content, day, day > 0)
                for tag, content in tags.items()
            }
            assert seen(records, inventory(app=tags)) == {tag: found[1:] for tag, found in memory.items()}


def untagged(records: TagHistory, repository: Repository = APP) -> dict[str, int]:
    names = {Digest.of(name.encode()): name for name in "xyz"}
    return {names[digest]: (since - FIRST).days for digest, since in records.untagged(repository).items()}


def test_a_digest_that_loses_its_last_tag_is_remembered_until_it_has_one_again(tmp_path: Path) -> None:
    records = store(tmp_path)
    assert untagged(records) == {}
    for day, found in enumerate(
        (
            inventory(app={"a": "x", "b": "y", "c": "y"}),
            inventory(app={"a": "z", "b": "y"}, web={"a": "x"}),
            inventory(app={"a": "z"}, web={"a": "x"}),
            inventory(web={"a": "x"}),
        )
    ):
        records.record(found, now=FIRST + day * DAY)
    assert untagged(records) == {"x": 1, "y": 2, "z": 3}
    records.record(inventory(app={"a": "x"}), now=FIRST + 4 * DAY)
    assert untagged(records) == {"y": 2, "z": 3}
    assert untagged(records, WEB) == {"x": 4}
    records.forget_untagged(APP, [Digest.of(b"y")])
    assert untagged(records) == {"z": 3}


def test_what_could_not_be_read_has_not_lost_its_tags(tmp_path: Path) -> None:
    records = store(tmp_path)
    records.record(inventory(app={"a": "x"}), now=FIRST)
    records.record(inventory(), now=FIRST + DAY, unread=[APP])
    assert untagged(records) == {}


def test_records_of_the_first_version_are_continued(tmp_path: Path) -> None:
    """They contain half of each digest."""
    records = store(tmp_path)
    now = inventory(app={"a": "x", "b": "y"})
    records.record(now, now=FIRST)
    with contextlib.closing(sqlite3.connect(records.path)) as database, database:
        _without_crawls(database)
        database.execute("UPDATE tag SET digest = substr(digest, 1, 16)")
        database.execute("DROP TABLE untagged")
        database.execute("PRAGMA user_version = 1")
    assert seen(records, now) == {"a": (0, False), "b": (0, False)}
    assert untagged(records) == {}
    records.record(now, now=FIRST + DAY)
    assert seen(records, now) == {"a": (0, False), "b": (0, False)}
    records.record(inventory(app={"a": "x"}), now=FIRST + 2 * DAY)
    assert untagged(records) == {"y": 2}


def test_if_there_are_too_many_the_newest_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.inventory.tag_history_writer._MOST_UNTAGGED", 1)
    records = store(tmp_path)
    for day, content in enumerate("xyzw"):
        records.record(inventory(app={"a": content}), now=FIRST + day * DAY)
    assert untagged(records) == {"z": 3}
