"""What a state folder knows besides runs, into a store: when tags came, pulls, holds, garbage collections.

A registry is known by its name, which only runs, holds and collections have: of others nothing comes along. What the
store has of a registry stays as it is; holds are added to those that are there.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import msgspec

from dregutil.errors import JournalError
from dregutil.inventory.tag_history import TagHistory
from dregutil.journal.collections import Collections
from dregutil.journal.crawl_mark import CrawlMark
from dregutil.journal.holds import RegistryHolds
from dregutil.journal.store import RunStore
from dregutil.oci.names import registry_key
from dregutil.pulls.tables import pulls_file
from dregutil.store.copied import Layout, apply_rows, every_row, make_again
from dregutil.store.database import Database
from dregutil.store.facts import SharedFacts
from dregutil.store.mirrored import MirroredFile

__all__ = ["adopt_facts"]


class _Named(msgspec.Struct):
    registry: str


def adopt_facts(database: Database, folder: Path) -> None:
    """Bring what a state folder knows into the store. Raises StoreError, and JournalError if it cannot be read."""
    for registry in _registries(folder):
        facts = SharedFacts(database, registry)
        with tempfile.TemporaryDirectory(prefix="dregutil-") as beside:
            history = TagHistory(folder, registry).path
            if _adopt(history, facts.file("sightings", Path(beside) / "sightings.sqlite")):
                marked = CrawlMark(folder, registry).read()
                if marked is not None:
                    CrawlMark(folder, registry, facts).write(marked)
            _adopt(pulls_file(folder, registry), facts.file("pulls", Path(beside) / "pulls.sqlite"))
        RegistryHolds(RunStore(folder), registry, facts.document("holds")).adopt(
            RegistryHolds(RunStore(folder), registry).file.read()
        )
        shared = Collections(folder, facts)
        for record in Collections(folder).read(registry)[0]:
            if not facts.document(f"collections/{record.name}").version():
                shared.write(record)


def _adopt(source: Path, file: MirroredFile) -> bool:
    """Make a file of a state folder that of all machines, unless they have one; returns whether that was done."""
    if not source.exists():
        return False
    address = f"file:{quote(str(source.absolute()))}?mode=ro"
    try:
        with (
            closing(sqlite3.connect(address, uri=True, isolation_level=None)) as old,
            closing(sqlite3.connect(file.path, isolation_level=None)) as copy,
            file.writing(copy),
        ):
            if Layout.of(copy).statements:
                return False
            layout = Layout.of(old)
            make_again(copy, layout)
            apply_rows(copy, layout, every_row(old, layout))
            return True
    except sqlite3.Error as error:
        raise JournalError(f"{source} cannot be brought into the store: {error}") from error


def _registries(folder: Path) -> list[str]:
    """The registries that runs, holds and collections of a folder name, each once."""
    found: dict[str, str] = {}
    for name in _names(folder):
        found.setdefault(registry_key(name), name)
    return list(found.values())


def _names(folder: Path) -> Iterator[str]:
    for header in RunStore(folder).headers():
        if header.registry:
            yield header.registry
    for path in (*(folder / "holds").glob("*.json"), *(folder / "collections").glob("*.json")):
        with suppress(OSError, ValueError, msgspec.MsgspecError):
            raw = path.read_bytes()
            yield msgspec.json.decode(raw[raw.index(b"{") :], type=_Named).registry
