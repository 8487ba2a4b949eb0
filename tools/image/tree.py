"""What a layer contains, as a value: paths, modes and bytes, in memory. It becomes the same tar file each time."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

__all__ = ["Entry", "Tree", "directory", "file", "link"]


@dataclass(frozen=True, slots=True)
class Entry:
    """`kind` is "directory", "file" or "link". `mode` is the permission bits; `owner` is the id of user and group."""

    kind: str
    mode: int = 0o755
    raw: bytes = b""
    target: str = ""
    owner: int = 0


def directory(mode: int = 0o755, owner: int = 0) -> Entry:
    """A folder."""
    return Entry("directory", mode, owner=owner)


def file(raw: bytes | str, mode: int = 0o644) -> Entry:
    """A file of root's."""
    return Entry("file", mode, raw.encode() if isinstance(raw, str) else raw)


def link(target: str) -> Entry:
    """A symbolic link."""
    return Entry("link", 0o777, target=target)


class Tree:
    """Paths without a leading slash, each with its entry. Of two entries for a path, the last one counts."""

    def __init__(self, entries: dict[str, Entry] | None = None) -> None:
        self.entries = dict(entries or {})

    def __setitem__(self, path: str, entry: Entry) -> None:
        self.entries[path] = entry

    def __contains__(self, path: str) -> bool:
        return path in self.entries

    def __getitem__(self, path: str) -> Entry:
        return self.entries[path]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Each file and its bytes, by path."""
        return ((path, entry.raw) for path, entry in sorted(self.entries.items()) if entry.kind == "file")

    def add(self, other: Tree) -> None:
        """Everything of `other`."""
        self.entries.update(other.entries)

    def without(self, is_unwanted: Iterable[str]) -> Tree:
        """A tree without these paths, and what is below them."""
        unwanted = frozenset(is_unwanted)
        return Tree(
            {
                path: entry
                for path, entry in self.entries.items()
                if path not in unwanted and unwanted.isdisjoint(str(one) for one in PurePosixPath(path).parents)
            }
        )

    def complete(self) -> Tree:
        """A tree in which each path has its folders. Raises ValueError where a folder is a file or a link."""
        found = dict(self.entries)
        for path in self.entries:
            for parent in PurePosixPath(path).parents:
                above = found.setdefault(str(parent), directory()) if str(parent) != "." else directory()
                if above.kind != "directory":
                    raise ValueError(f"{path} is below {parent}, which is a {above.kind}")
        return Tree(found)

    def tar(self, mtime: int) -> bytes:
        """An uncompressed tar file, sorted by path, without names of users. `mtime`: seconds since 1970, of all."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, entry in sorted(self.complete().entries.items()):
                one = tarfile.TarInfo(path)
                one.mode, one.mtime, one.uid, one.gid = entry.mode, mtime, entry.owner, entry.owner
                if entry.kind == "directory":
                    one.type = tarfile.DIRTYPE
                elif entry.kind == "link":
                    one.type, one.linkname = tarfile.SYMTYPE, entry.target
                else:
                    one.size = len(entry.raw)
                archive.addfile(one, io.BytesIO(entry.raw) if entry.kind == "file" else None)
        return buffer.getvalue()

    def write(self, folder: Path) -> None:
        """Unpack into a folder that is empty, as the current user. Owners are not kept."""
        for path, entry in sorted(self.complete().entries.items()):
            place = folder / path
            if entry.kind == "directory":
                place.mkdir(exist_ok=True, parents=True)
            elif entry.kind == "link":
                place.symlink_to(entry.target)
            else:
                place.write_bytes(entry.raw)
                place.chmod(entry.mode)

    @classmethod
    def read(cls, raw: bytes) -> Tree:
        """What a tar file contains. A hard link becomes a copy. Raises ValueError for devices and for setuid files."""
        found: dict[str, Entry] = {}
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            for one in archive:
                path = str(PurePosixPath(one.name))
                if path in (".", "/"):
                    continue
                found[path] = _entry(archive, one, found)
        return cls(found)


def _entry(archive: tarfile.TarFile, one: tarfile.TarInfo, found: dict[str, Entry]) -> Entry:
    if one.isdir():
        return directory(one.mode)
    if one.issym():
        return link(one.linkname)
    if one.islnk():
        return replace(found[str(PurePosixPath(one.linkname))])
    content = archive.extractfile(one)
    if content is None:
        raise ValueError(f"{one.name} is neither a file, a folder nor a link")
    if one.mode & 0o6000:
        raise ValueError(f"{one.name} would run as another user")
    return file(content.read(), one.mode)
