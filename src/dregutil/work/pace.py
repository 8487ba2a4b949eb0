"""The part of a registry's pace that this worker has: a file for each registry, which its processes read every second.

A pace is shared by the workers that are alive in equal parts, whether they have something to do or not: so its sum is
never more than was set, but for the seconds until a new worker is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from dregutil.files import write_private
from dregutil.work.site import Site

__all__ = ["PACE_FILE", "Paces"]

PACE_FILE = "DREGUTIL_PACE_FILE"
"""The variable that names the file to a process."""


class Paces:
    """The files are in the folder of the site."""

    def __init__(self, site: Site) -> None:
        self._folder = site.folder
        self._set: dict[str, float | None] = {}

    def set(self, key: str, pace: float | None) -> None:
        """Requests a second for the processes of this worker on a registry; None: no limit."""
        if self._set.get(key, -1.0) != pace:
            with contextlib.suppress(OSError):  # of the work folder; it is tried again
                write_private(self._file(key), f"{pace or 0:.6g}\n".encode())
                self._set[key] = pace

    def environment(self, key: str) -> Mapping[str, str]:
        """What a process on a registry needs to know."""
        return {PACE_FILE: str(self._file(key))}

    def remove(self) -> None:
        """Remove the files."""
        for key in self._set:
            with contextlib.suppress(OSError):
                self._file(key).unlink()

    def _file(self, key: str) -> Path:
        return self._folder / f"pace-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
