"""The cache file: an inventory in the older tool's format, `{"repository": {"tag": "sha256:…"}}`."""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeGuard

from dregutil.errors import CacheError, UsageError
from dregutil.files import check_is_file, lock_file, others_link, write_atomically
from dregutil.inventory.packed_tags import PackedTags
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["CacheFile"]

_LARGE = 8_000_000  # bytes


class CacheFile:
    """The cache of one registry. It is replaced as a whole; a crash leaves the old file."""

    is_shared = False  # whether it is a copy of what several machines share

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Inventory | None:
        """The inventory; None if there is no file. Raises CacheError if it is damaged or cannot be read."""
        self._check_links()
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < _LARGE:
                    return _inventory(json.load(file))
                return _read_large(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.unusable(error.strerror or str(error)) from error
        except (ValueError, RecursionError) as error:
            raise self.unusable("it is not JSON, or was cut short") from error
        except UsageError as error:
            raise self.unusable(error.message) from error

    @property
    def name(self) -> bytes:
        """What names it in a note of when it was written."""
        return os.fsencode(self.path.absolute())

    def written(self) -> int:
        """Another number after each change. Raises OSError."""
        return self.path.stat().st_mtime_ns

    def bring(self) -> None:
        """Bring the file up to date, where it is a copy of what several machines share."""

    def age(self, now: float) -> float | None:
        """The age of what it holds, in seconds, at `now` (seconds since 1970); None if there is no file."""
        try:
            return max(now - self.path.stat().st_mtime, 0.0)
        except OSError:
            return None

    def _check_links(self) -> None:
        if others_link(self.path) is not None:
            raise self.unusable("it is a link of another user, or leads to another user's file")
        try:
            check_is_file(self.path)
        except OSError as error:
            raise self.unusable(error.strerror or str(error)) from error

    def update(self, changed: Callable[[Inventory], Mapping[Repository, Mapping[Tag, Digest]]]) -> None:
        """Replace the tags of some repositories by those that `changed` returns. Without a file nothing is done.

        The age of the file stays: it is that of the oldest tags in it. Raises as `read` and `write` do.
        """
        with self.lock():
            known = self.read()
            if known is None:
                return
            written = self.path.stat().st_mtime_ns
            for repository, tags in changed(known).items():
                known.replace(repository, tags)
            self.write(known, written_ns=written)

    def write(self, inventory: Inventory, *, written_ns: int | None = None) -> None:
        """Replace the file. Raises OSError if the folder cannot be written.

        `written_ns`: when the tags were read, in nanoseconds since 1970; None for now. Only the owner may read the
        file, since it names private images. A link in its place is replaced, not followed.
        """
        if others_link(self.path.parent) is not None:
            raise PermissionError(
                errno.EPERM, "its folder is a link of another user, or leads to another user's folder"
            )
        check_is_file(self.path)  # a device would be replaced
        write_atomically(self.path, map(str.encode, _texts(inventory)), modified_ns=written_ns)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from changing the file meanwhile. Without a lock if the folder cannot be written."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError, ValueError):  # `/` has no name
                held.enter_context(lock_file(self.path.with_name(f".{self.path.name}.lock"), wait=True))
            yield

    def unusable(self, why: str) -> CacheError:
        """The error for a file that cannot be used."""
        return CacheError(
            f"the cache file {self.path} cannot be used: {why}",
            advice="--refresh reads the registry again and replaces it; -c names another file",
        )


def _read_large(file: BinaryIO) -> Inventory:
    """The file is mapped, and the tags of each repository are parsed and packed alone: it may be larger than what holds
    its tags."""
    import msgspec  # to import it takes longer than to read a small file

    raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found, inventory = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]), Inventory()
    done = 0
    for name, tags in found.items():
        read = msgspec.json.decode(tags)
        packed = PackedTags.parse(read) if _is_of_text(read) else None
        inventory.replace(*(_checked(name, read, {}) if packed is None else (Repository.parse(name), packed)))
        done += len(memoryview(tags))
        if done > _LARGE:
            raw.madvise(mmap.MADV_DONTNEED)  # the pages that were read no longer count as memory
            done = 0
    return inventory


def _is_of_text(tags: object) -> TypeGuard[dict[str, str]]:
    return isinstance(tags, dict) and {str}.issuperset(map(type, tags.values()))


def _texts(inventory: Inventory) -> Iterator[str]:
    """The file's text, a repository at a time: that of a large registry is never whole in memory."""
    separator = "{"
    for repository, tags in inventory.as_mapping().items():
        yield f"{separator}{json.dumps(repository)}: {json.dumps(dict(tags.items()), ensure_ascii=False)}"
        separator = ", "
    yield "{}" if separator == "{" else "}"


def _inventory(found: object) -> Inventory:
    if not isinstance(found, dict):
        raise UsageError("it is not an object of repositories")
    inventory, digests = Inventory(), dict[str, Digest]()
    for name, tags in found.items():
        inventory.replace(*_checked(name, tags, digests))
    return inventory


def _checked(name: str, tags: object, parsed: dict[str, Digest]) -> tuple[Repository, Mapping[Tag, Digest]]:
    """A repository and its tags. `parsed` has the digests so far: many tags are on the same."""
    if not isinstance(tags, dict):
        raise UsageError(f"the tags of {name!r} are not an object")
    if not all(isinstance(digest, str) for digest in tags.values()):
        raise UsageError(f"a digest of {name!r} is not a string")
    checked = {
        Tag.parse(tag): parsed.get(digest) or parsed.setdefault(digest, Digest.parse(digest))
        for tag, digest in tags.items()
    }
    return Repository.parse(name), checked
