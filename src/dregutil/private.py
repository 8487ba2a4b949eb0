"""Files that may name private images: folders of their owner alone, and no link into somebody else's hands."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["make_private_folder", "others_link", "trusted_owners", "write_private"]


def trusted_owners() -> frozenset[int]:
    """Whose links are followed: our own, and the system's."""
    return frozenset((os.geteuid(), 0))


def others_link(path: Path) -> Path | None:
    """The part of `path` that is somebody else's link, or `path` where a link leads to what is somebody else's.

    None where there is nothing of the kind, or nothing at all.
    """
    trusted, has_link = trusted_owners(), False
    try:
        absolute = path.absolute()  # fails where the working folder is deleted
        for part in (*reversed(absolute.parents), absolute):
            found = part.lstat()
            if stat.S_ISLNK(found.st_mode):
                has_link = True
                if found.st_uid not in trusted:
                    return part
        return path if has_link and path.stat().st_uid not in trusted else None
    except OSError:
        return None


def make_private_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for the owner alone whatever the umask is. Raises OSError."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path | str, raw: bytes) -> None:
    """Write a file that only its owner may read; a link in its place is not followed. Raises OSError."""
    # Without a file object around it: thousands are written beside the requests of a run.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(raw)
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)
