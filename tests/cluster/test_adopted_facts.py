"""What one machine knew before it had a store comes along: when tags came, pulls, holds, garbage collections."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.errors import JournalError
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.collections import CollectionRecord, Collections
from dregutil.journal.holds import RegistryHolds
from dregutil.journal.store import RunStore
from dregutil.journal.tag_records import TagRecords
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import Batch
from dregutil.retention.holds import Hold
from dregutil.store.database import Database
from dregutil.store.facts import SharedFacts
from dregutil.store.portable import import_runs

REGISTRY = "registry.example.com"
SHOP = Repository("shop")
NOW = datetime.now(UTC).replace(microsecond=0)
AGO = NOW - timedelta(days=40)


def inventory(*tags: str) -> Inventory:
    return Inventory({SHOP: {Tag(tag): Digest.of(tag.encode()) for tag in tags}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The state folder of a machine without a store."""
    found = tmp_path / "before"
    history = TagHistory(found, REGISTRY)
    history.record(inventory("old"), now=AGO)
    history.record(inventory("old", "new"), now=NOW - timedelta(days=2))
    with PullStore(found, REGISTRY).writer(SourceKind.EVENTS, "notifications") as writer:
        batch = Batch(recorded=(int(AGO.timestamp()), int(NOW.timestamp())))
        batch.add(SHOP, Tag("old"), int(NOW.timestamp()), "docker")
        writer.write(batch)
    RegistryHolds(RunStore(found), REGISTRY).add(Hold(SHOP, NOW, Tag("old"), because="the audit"))
    Collections(found).write(CollectionRecord("20261101T000000Z-000aa", REGISTRY, AGO, ["gc"], {}, [], ended=AGO))
    (found / "runs").mkdir(exist_ok=True)
    return found


def sightings(database: Database, folder: Path) -> dict[str, datetime]:
    history = TagRecords(folder, REGISTRY, SharedFacts(database, REGISTRY)).history
    history.bring()
    return {str(tag): one.known_since for tag, one in history.of(SHOP, inventory("old", "new").tags(SHOP)).items()}


def test_what_a_machine_knew_all_know(database: Database, folder: Path, tmp_path: Path) -> None:
    import_runs(database, folder)
    import_runs(database, folder)
    facts = SharedFacts(database, REGISTRY)
    assert sightings(database, tmp_path / "b") == {"old": AGO, "new": NOW - timedelta(days=2)}
    assert set(PullStore(tmp_path / "b", REGISTRY, shared=facts).pulls(SHOP).tags) == {"old"}
    (hold,) = RegistryHolds(RunStore(tmp_path / "b"), REGISTRY, facts.document("holds")).now(NOW).all
    assert (hold.tag, hold.because) == ("old", "the audit")
    assert [one.name for one in Collections(tmp_path / "b", facts).read(REGISTRY)[0]] == ["20261101T000000Z-000aa"]


def test_what_the_store_has_stays(database: Database, folder: Path, tmp_path: Path) -> None:
    facts = SharedFacts(database, REGISTRY)
    TagHistory(tmp_path / "b", REGISTRY, facts).record(inventory("old", "new"), now=NOW)
    holds = RegistryHolds(RunStore(tmp_path / "b"), REGISTRY, facts.document("holds"))
    holds.add(Hold(SHOP, NOW, Tag("old"), because="another reason"))
    holds.add(Hold(SHOP, NOW, Tag("new"), because="a second one"))
    import_runs(database, folder)
    assert sightings(database, tmp_path / "c") == {"old": NOW, "new": NOW}
    assert {hold.because for hold in holds.now(NOW).all} == {"another reason", "a second one"}


def test_a_file_that_is_damaged_is_an_error_and_nothing_of_it_is_in_the_store(
    database: Database, folder: Path, tmp_path: Path
) -> None:
    history = TagHistory(folder, REGISTRY)
    with closing(sqlite3.connect(history.path)) as opened:
        opened.execute("PRAGMA user_version")
    history.path.write_bytes(b"no database" * 1000)
    with pytest.raises(JournalError, match="cannot be brought into the store"):
        import_runs(database, folder)
    assert sightings(database, tmp_path / "b") == {}
