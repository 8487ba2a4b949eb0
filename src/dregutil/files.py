"""Files and folders of this machine: where they are, how they are written, and reads with a limit.

They may name private images, so only their owner may read them, and a link of another user is not followed. A file that
the user names is read up to a limit: it may have no end (`/dev/zero`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from dregutil.errors import UsageError

__all__ = [
    "absolute",
    "bounded_lines",
    "check_is_file",
    "contents_file",
    "create_private",
    "file_of",
    "is_locked",
    "lock_file",
    "make_private_folder",
    "others_link",
    "read_bytes",
    "read_stream",
    "read_text",
    "short_path",
    "state_folder",
    "sync_folder",
    "trusted_owners",
    "write_atomically",
    "write_named",
    "write_private",
]

_creating = threading.Lock()


def trusted_owners() -> frozenset[int]:
    """The users whose links are followed: the current one and root."""
    return frozenset((os.geteuid(), 0))


def others_link(path: Path) -> Path | None:
    """The part of `path` that is another user's link, or `path` if a link in it leads to another user's file or folder.

    None if there is no such link, or `path` does not exist.
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
    """Create a folder and missing parents, for the owner alone whatever the umask is. Raises OSError."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path | str, raw: bytes) -> None:
    """Write a file that only its owner may read; a link in its place is not followed. Raises OSError."""
    # Without a file object, which costs time: a run writes thousands of them.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(raw)
        while left:
            left = left[os.write(file, left) :]
    finally:
        os.close(file)


def write_atomically(
    path: Path,
    chunks: Iterable[bytes],
    *,
    durable: bool = True,
    modified_ns: int | None = None,
    mode: int | None = None,
) -> None:
    """Replace a file, through one beside it: a crash leaves either the old content or the new. Raises OSError.

    Only its owner may read it, unless `mode` gives it other permissions. `durable`: the content is on the disk before
    it replaces the file. `modified_ns`: the time of modification that it gets, in nanoseconds since 1970. A link in its
    place is replaced, not followed.
    """
    import tempfile  # 6 ms, which a query need not spend

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(chunks)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            if modified_ns is not None:
                os.utime(file.fileno(), ns=(modified_ns, modified_ns))
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def create_private(path: Path) -> None:
    """Create an empty file that only its owner may read, unless it exists. A link is not followed. Raises OSError.

    One that exists is not opened: to close it would end the locks that this process has on it, and so those of SQLite.
    """
    with _creating:
        try:
            found = path.lstat()
        except FileNotFoundError:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            return
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


@contextlib.contextmanager
def lock_file(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of a file, which is created if it is missing, and stays. A link is not followed.

    Raises OSError; BlockingIOError if another process holds the lock and `wait` is false.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def write_named(path: Path, chunks: Iterable[bytes], what: str) -> None:
    """Write `what` ("the plan") to the file that the user named, through one beside it: a crash leaves no part of it.

    Only its owner may read it. A link is followed; a pipe or device is written directly. Raises UsageError.
    """
    try:
        link = others_link(path)
        if link is not None:
            raise UsageError(
                f"{what} is not written to {path}: {link} is another user's link, or leads to another user's file"
            )
        target = path.resolve()
        if target.is_dir():
            raise UsageError(f"{what} cannot be written to {path}: it is a folder", advice="name a file in it")
        if target.exists() and not target.is_file():
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_NOCTTY), "wb") as file:
                file.writelines(chunks)
            return
        write_atomically(target, chunks)
    except OSError as error:
        raise UsageError(f"{what} cannot be written to {path}: {error.strerror or error}") from error


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock of a file; False if there is no such file. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    """The absolute path. A relative one stays as it is if the working folder is deleted, and then names nothing."""
    try:
        return path.expanduser().absolute()
    except (OSError, RuntimeError):
        return path


def short_path(path: Path) -> str:
    """A path as people write it: `~/` stands for the home folder."""
    home = os.environ.get("HOME")
    return f"~/{path.relative_to(home)}" if home and path.is_relative_to(home) else str(path)


def file_of(folder: Path, names: Sequence[str], suffix: str = "") -> Path:
    """FOLDER/<sum of a name>SUFFIX: of those that exist, the one written last; if none does, that of the first name."""
    paths = [folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}{suffix}" for name in names]
    return max(paths, key=_written_at)  # the first of equal ones


def _written_at(path: Path) -> int:
    """In nanoseconds since 1970; -1 if there is no file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1


_LONGEST_LINE = 64 * 1024 * 1024


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a file. Raises OSError, also if it has more than `most` bytes."""
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise _too_long(most)
    return found


def read_text(path: Path, most: int, *, encoding: str = "utf-8-sig") -> str:
    """The text of a file of at most `most` bytes. Raises OSError, and UnicodeDecodeError if it is not text."""
    return read_bytes(path, most).decode(encoding).replace("\r\n", "\n")


def read_stream(stream: TextIO, most: int) -> str:
    """The text of a stream of at most `most` characters. Raises OSError and UnicodeDecodeError."""
    found = stream.read(most + 1)
    if len(found) > most:
        raise _too_long(most)
    return found


def bounded_lines(file: BinaryIO, most: int) -> Iterator[bytes]:
    """The lines of a file of at most `most` bytes, none longer than 64 MB. Raises OSError."""
    left = most
    while line := file.readline(min(_LONGEST_LINE, left) + 1):
        left -= len(line)
        if left < 0 or len(line) > _LONGEST_LINE:
            raise _too_long(min(_LONGEST_LINE, most))
        yield line


def check_is_file(path: Path) -> None:
    """Raises OSError if there is something at `path` that is not a regular file: a device has no end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is not a regular file")


def _too_long(most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {most >> 20:,} MB")
