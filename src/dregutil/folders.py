"""Where records and contents lie unless a caller names another place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["absolute", "contents_file", "file_of", "state_folder"]


def state_folder(env: Mapping[str, str] = os.environ) -> Path:
    """The folder of the records: DREGUTIL_STATE_DIR, else `dregutil` under XDG_STATE_HOME."""
    named = env.get("DREGUTIL_STATE_DIR")
    if named:
        return absolute(Path(named))
    return absolute(Path(env.get("XDG_STATE_HOME") or "~/.local/state") / "dregutil")


def contents_file(env: Mapping[str, str] = os.environ) -> Path:
    """The file of the content database."""
    return absolute(Path(env.get("XDG_CACHE_HOME") or "~/.cache") / "dregutil" / "contents.sqlite")


def absolute(path: Path) -> Path:
    """The path from the root; where the working folder is deleted a relative one stays as it is, and names nothing."""
    try:
        return path.expanduser().absolute()
    except (OSError, RuntimeError):
        return path


def file_of(folder: Path, names: Sequence[str], suffix: str = "") -> Path:
    """FOLDER/<sum of a name>SUFFIX: of those that are there, the one written last; where none is, the first name's."""
    paths = [folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}{suffix}" for name in names]
    return max(paths, key=_written_at)  # of several that are equal, the first


def _written_at(path: Path) -> int:
    """In nanoseconds; -1 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1
