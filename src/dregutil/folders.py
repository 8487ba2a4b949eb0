"""Where records and contents lie unless a caller names another place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["absolute", "contents_file", "state_folder"]


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
