"""What the last cleanup with a policy took, for comparison: one small file for each registry and policy file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.files import file_of, make_private_folder, write_atomically
from dregutil.inventory.shared import SharedDocuments
from dregutil.oci.names import registry_spellings
from dregutil.plan.cleanup import LastCleanup

__all__ = ["LastCleanupFile"]


class LastCleanupFile:
    """STATE/cleanups/<sum of registry and policy>.json; with `shared`, what all machines have in its place."""

    def __init__(self, state: Path, registry: str, policy: Path, shared: SharedDocuments | None = None) -> None:
        """`registry` is its identity."""
        names = [f"{spelling}\n{policy.absolute()}" for spelling in registry_spellings(registry)]
        self.path = file_of(state / "cleanups", names, ".json")
        self._shared = None if shared is None else shared.document(f"cleanups/{file_of(Path(), names[:1]).name}")

    def read(self) -> LastCleanup | None:
        """None if there was no cleanup, or the file cannot be read: nothing is decided by it. Raises JournalError if a
        store cannot be asked."""
        try:
            raw = self.path.read_bytes() if self._shared is None else self._shared.read() or b""
            return msgspec.json.decode(raw, type=LastCleanup)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(
        self,
        when: datetime,
        selected: Mapping[str, int],
        removed: Mapping[str, int],
        lists: Mapping[str, int] | None = None,
    ) -> None:
        """Raises OSError, and JournalError if it cannot be written for all machines."""
        content = msgspec.json.encode(LastCleanup(when, dict(selected), dict(removed), dict(lists or {})))
        if self._shared is not None:
            self._shared.write(content)
            return
        make_private_folder(self.path.parent)
        write_atomically(self.path, [content], durable=False)
