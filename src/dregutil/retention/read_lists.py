"""The lists of images in use: their bytes, and what the content database knows of the IDs in them."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from dregutil.errors import RefusedError
from dregutil.inventory.contents.database import CHILD, CONFIG, ContentDatabase
from dregutil.inventory.contents.search import digests_beginning_with, find_users
from dregutil.oci.names import Digest
from dregutil.retention.in_use import ListFile, Lookup
from dregutil.retention.list_tree import LONGEST
from dregutil.retention.policy import InUseList, PolicySet

__all__ = ["manifests_of", "read_list", "read_lists"]

_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what PowerShell's `>` writes begins so


def read_lists(policies: PolicySet, folder: Path) -> tuple[ListFile, ...]:
    """The lists of what is in use, paths being of the policy's folder. Raises RefusedError where one is missing."""
    return tuple(read_list(entry, folder) for entry in policies.protect.in_use)


def read_list(entry: InUseList, folder: Path) -> ListFile:
    """One of them. Raises RefusedError."""
    try:
        if entry.file == "-":
            return ListFile(entry, _text(sys.stdin.buffer), timedelta(0))
        path = folder / Path(entry.file).expanduser()
        with path.open("rb") as file:
            age = max(time.time() - path.stat().st_mtime, 0.0)
            return ListFile(entry, _text(file), timedelta(seconds=age))
    except OSError as error:
        raise RefusedError(
            f"the list {entry.file} of what is in use cannot be read: {error.strerror or error}",
            advice="nothing was removed: without it, what is running might go",
        ) from error
    except ValueError as error:
        raise RefusedError(f"the list {entry.file} of what is in use is no UTF-8 text") from error


def _text(file: BinaryIO) -> str:
    """At most one byte more than a list may have characters, so that a longer one is noticed."""
    raw = file.read(LONGEST + 1)
    return raw.decode("utf-16" if raw.startswith(_UTF16) else "utf-8-sig")


def manifests_of(database: ContentDatabase) -> Lookup:
    """From an image's ID, or the first digits of one, to the manifests that it may mean, as far as they were read."""

    def lookup(value: str) -> Collection[Digest]:
        found: dict[Digest, None] = {}
        for digest in digests_beginning_with(database, value):
            found[digest] = None
            users = find_users(database, digest).items()
            found.update((user, None) for user, use in users if use.role in (CHILD, CONFIG))
        return found

    return lookup
