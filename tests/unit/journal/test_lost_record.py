"""Tags that a run deleted along are in its record; records without them are read as before."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil.journal.reader import read_journal
from dregutil.journal.writer import Journal
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Plan
from dregutil.plan.outcome import LostTag

NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")


@pytest.mark.parametrize(
    ("noted", "read"),
    [
        ([], ()),
        ([LostTag(Repository("r"), Tag("prod"), (ONE, TWO))], (LostTag(Repository("r"), Tag("prod"), (ONE, TWO)),)),
        (
            [
                LostTag(Repository("r"), Tag("prod"), (ONE,), why="status 500"),
                LostTag(Repository("r"), Tag("prod"), (ONE,), mended=ONE),
            ],
            (LostTag(Repository("r"), Tag("prod"), (ONE,), mended=ONE),),
        ),
    ],
)
def test_a_lost_tag_is_read_as_last_recorded(tmp_path: Path, noted: list[LostTag], read: tuple[LostTag, ...]) -> None:
    journal = Journal(tmp_path)
    journal.begin(Plan("registry.example.com", NOW, "remove-tags", ()), started=NOW)
    for lost in noted:
        journal.lost(lost)
    journal.close(NOW)
    record = read_journal(tmp_path)
    assert record.lost == read
    assert not record.damaged
