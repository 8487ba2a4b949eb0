"""Reads the lists of images in use, and looks up image IDs in the content database."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from dregutil.errors import RefusedError
from dregutil.inventory.contents.database import CHILD, CONFIG, ContentDatabase
from dregutil.inventory.contents.search import digests_beginning_with, find_users
from dregutil.oci.names import Digest, RegistryAddress
from dregutil.retention.doomed import read_doomed, with_doomed
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, Lookup
from dregutil.retention.list_tree import LONGEST
from dregutil.retention.names import NamesFile, read_names, with_names
from dregutil.retention.policy import DoomedList, InUseList, NamedIn, PolicySet

__all__ = ["STANDARD_INPUT", "manifests_of", "policy_folder", "read_doomed_lists", "read_list", "read_name_lists"]

STANDARD_INPUT = "-"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # as written by `>` in PowerShell


def policy_folder(path: Path | None) -> Path:
    """The folder to which paths in policies are relative: that of their file, or the folder of several files. Without
    one, the current folder."""
    if path is None:
        return Path.cwd()
    return path.absolute() if path.is_dir() else path.absolute().parent


def read_list(entry: InUseList, folder: Path) -> ListFile:
    """Read one list of images in use; its path is relative to `folder`. Raises RefusedError if it cannot be read."""
    try:
        if entry.file == STANDARD_INPUT:
            if sys.stdin is None or sys.stdin.isatty():
                raise RefusedError(
                    "the list of what is in use is standard input, which is a terminal",
                    advice="pipe the list into this command; nothing was removed",
                )
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


def read_name_lists(
    policies: PolicySet, folder: Path, before: Mapping[str, int], planned: Mapping[str, int] | None = None
) -> PolicySet:
    """Policies with the names in their lists; paths are relative to `folder`. `before`: how many each list had at the
    last cleanup; `planned`: how many when the plan was made that is to be carried out, which count instead.

    Raises RefusedError if one cannot be read, is empty, too old, or much shorter.
    """
    planned = planned or {}

    def read(rule: NamedIn) -> NamedIn:
        names = NamesFile(*_read(folder, rule.file, f"the list {rule.file} of names"))
        if rule.file in planned:
            return read_names(rule, names, planned[rule.file], "when the plan was made")
        return read_names(rule, names, before.get(rule.file, 0))

    return with_names(policies, read)


def read_doomed_lists(policies: PolicySet, folder: Path, address: RegistryAddress) -> PolicySet:
    """Policies with the images in their lists of what is to go; paths are relative to `folder`.

    Raises RefusedError if one cannot be read, or is too old.
    """
    own = registry_hosts(address, policies.protect.aliases)

    def read(entry: DoomedList) -> DoomedList:
        return read_doomed(entry, *_read(folder, entry.file, f"the list {entry.file}"), own, address)

    return with_doomed(policies, read)


def _read(folder: Path, name: str, what: str) -> tuple[str, timedelta]:
    """The text of a file and its age. Raises RefusedError."""
    try:
        path = folder / Path(name).expanduser()
        with path.open("rb") as file:
            age = max(time.time() - path.stat().st_mtime, 0.0)
            return _text(file), timedelta(seconds=age)
    except OSError as error:
        raise RefusedError(f"{what} cannot be read: {error.strerror or error}", advice="nothing was removed") from error
    except ValueError as error:
        raise RefusedError(f"{what} is no UTF-8 text", advice="nothing was removed") from error


def _text(file: BinaryIO) -> str:
    """Read one byte more than a list may have characters, so that a longer one is noticed."""
    raw = file.read(LONGEST + 1)
    return raw.decode("utf-16" if raw.startswith(_UTF16) else "utf-8-sig")


def manifests_of(database: ContentDatabase) -> Lookup:
    """A function that returns the manifests of an image ID, or of its first digits, as far as they were read."""

    def lookup(value: str) -> Collection[Digest]:
        found: dict[Digest, None] = {}
        for digest in digests_beginning_with(database, value):
            found[digest] = None
            users = find_users(database, digest).items()
            found.update((user, None) for user, use in users if use.role in (CHILD, CONFIG))
        return found

    return lookup
