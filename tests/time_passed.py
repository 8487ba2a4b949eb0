"""What the records say once days have passed, which no test can wait for."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dregutil.journal.lines import EndLine, RunLine, decode_line, encode_line
from dregutil.oci.names import Digest
from dregutil.pulls.store import PullStore

__all__ = ["record_since", "runs_are_older"]


def record_since(store: PullStore, listener: str, token: str, *, days: int) -> None:
    """Send the listener at the URL `listener` a notification of the registry that runs, which is `days` days late: of a
    pull from a repository that does not exist."""
    with sqlite3.connect(store.path) as database:
        ((instance, address),) = database.execute("SELECT name, address FROM instance WHERE NOT replaced")
    database.close()
    event = {
        "id": "early",
        "timestamp": (datetime.now(UTC) - timedelta(days=days)).isoformat(),
        "action": "pull",
        "target": {"repository": "not/here", "digest": Digest.of(b"early")},
        "source": {"addr": address, "instanceID": instance},
    }
    body, headers = json.dumps({"events": [event]}).encode(), {"Authorization": f"Bearer {token.strip()}"}
    with urllib.request.urlopen(urllib.request.Request(listener, body, headers), timeout=10) as answer:
        assert answer.status == 204


def runs_are_older(state: Path, by: timedelta) -> None:
    """As if every run that is recorded in a state folder had begun and ended earlier."""
    for journal in state.glob("runs/*/journal.jsonl"):
        journal.write_bytes(b"".join(_older(one, by) for one in journal.read_bytes().splitlines(keepends=True)))


def _older(raw: bytes, by: timedelta) -> bytes:
    line = decode_line(raw)
    if isinstance(line, RunLine):
        line.started -= by
    elif isinstance(line, EndLine):
        line.finished -= by
    else:
        return raw
    return encode_line(line)
