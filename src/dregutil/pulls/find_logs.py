"""Finds the logs that paths and globs name, and has them read while a rotation may rename them. Nothing in them is read
here."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dregutil.errors import RefusedError, StorageError
from dregutil.pulls.log_files import log_name
from dregutil.select.glob import parse_glob

__all__ = ["check_log_pattern", "find_logs", "is_log_of", "read_steadily"]

_Read = TypeVar("_Read")
_MAGIC = "*?[{\\"
_TRIES = 5
_PAUSE = 0.2  # seconds between them
_ADVICE = "nothing was removed: without it, what was pulled might go"
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def check_log_pattern(pattern: str) -> str:
    """The pattern, if it is a path or a glob. Raises ValueError and UsageError."""
    if pattern == "-":
        raise ValueError("a log is a file, not standard input")
    if "\0" in pattern:
        raise ValueError("a path has no NUL")
    for part in Path(pattern).parts:
        if "**" in part:
            raise ValueError(f"{pattern!r}: '**' is not known in paths of logs; name each level with '*'")
        parse_glob(part)
    return pattern


def find_logs(patterns: Iterable[str], folder: Path) -> Mapping[str, tuple[int, int]]:
    """The files that patterns match, and those that a rotation made of them, by path, each with its device and inode.
    Relative patterns begin in `folder`; `*` does not match `/`. Of several paths to one file, one that is no link is
    taken.

    Raises RefusedError if a pattern matches no file, or what it matches is a folder, is no file or cannot be looked at.
    """
    found: dict[tuple[int, int], Path] = {}
    for pattern in patterns:
        paths = _matching(_absolute(pattern, folder))
        if not paths:
            raise RefusedError(f"no file matches {pattern!r}, which names logs of pulls", advice=_ADVICE)
        for path in (*paths, *_rotated(paths)):
            file = _identity(path)
            if file not in found or (found[file].is_symlink() and not path.is_symlink()):
                found[file] = path
    return {str(path): file for file, path in found.items()}


def check_logs(patterns: Iterable[str], folder: Path) -> None:
    """Raises RefusedError as `find_logs` does, or if a file may not be read."""
    for path in map(Path, find_logs(patterns, folder)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise _unreadable(path, error) from error


def is_log_of(name: str, patterns: Iterable[str], folder: Path) -> bool:
    """Whether patterns match a log by its name (`log_name`), also if no file of it is there any more."""
    return any(
        _matches(Path(name), pattern) or _matches(Path(name), Path(log_name(str(pattern))))
        for pattern in (_absolute(one, folder) for one in patterns)
    )


def read_steadily(patterns: Sequence[str], folder: Path, read: Callable[[str], _Read]) -> dict[str, _Read]:
    """What `read` returns for each file that patterns match. If a rotation renames files meanwhile, all are read again.

    Raises RefusedError if one cannot be read, or files never stay as they are.
    """
    for left in reversed(range(_TRIES)):
        try:
            found = find_logs(patterns, folder)
            done = {path: read(path) for path in found}
            if find_logs(patterns, folder) == found:
                return done
        except (RefusedError, StorageError) as error:
            if not left or not isinstance(error.__cause__, FileNotFoundError | EOFError):
                if isinstance(error, RefusedError):
                    raise
                raise RefusedError(f"the log {error.message}", advice=_ADVICE) from error
        time.sleep(_PAUSE)
    raise RefusedError(
        f"the logs that {patterns[0]!r} names were renamed while they were read, each time",
        advice="nothing was removed; run it again when their rotation is over",
    )


def _absolute(pattern: str, folder: Path) -> Path:
    """The pattern from the root, without `..` where that is the same folder: a log has one name."""
    path = folder / Path(pattern).expanduser()
    fixed = Path(*itertools.takewhile(lambda part: not _is_glob(part), path.parent.parts))
    with suppress(OSError):
        if fixed.samefile(os.path.normpath(fixed)):
            return Path(os.path.normpath(path))
    return path


def _is_glob(part: str) -> bool:
    return any(sign in part for sign in _MAGIC)


def _matching(pattern: Path) -> list[Path]:
    """The paths that a pattern from the root matches, in order."""
    if _exists(pattern):
        return [pattern]  # also if it has characters of a glob
    root, *parts = pattern.parts
    found = [Path(root)]
    for part in parts:
        if _is_glob(part):
            glob = parse_glob(part)
            found = [one / name for one in found for name in _names(one) if glob.matches(name)]
        else:
            found = [one / part for one in found]
    return [path for path in found if _exists(path)]


def _rotated(paths: Sequence[Path]) -> Iterator[Path]:
    """The files beside some logs that have their names after a rotation: lines may be in them that were not read."""
    logs = {log_name(str(path)) for path in paths}
    for folder in dict.fromkeys(path.parent for path in paths):
        beside = (folder / name for name in _names(folder))
        yield from (path for path in beside if log_name(str(path)) in logs and not path.is_dir())


def _names(folder: Path) -> list[str]:
    """The names in a folder; none if it is not one, or not there."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _unreadable(folder, error) from error
        return []


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _unreadable(path, error) from error
        return False
    return True


def _identity(path: Path) -> tuple[int, int]:
    """The device and inode of a file. Raises RefusedError if it is none."""
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode):
        what = "it is a folder" if stat.S_ISDIR(found.st_mode) else "it is not a regular file"
        raise RefusedError(f"the log {path} cannot be read: {what}", advice=_ADVICE)
    return found.st_dev, found.st_ino


def _unreadable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(f"the log {path} cannot be read: {error.strerror or error}", advice=_ADVICE)


def _matches(name: Path, pattern: Path) -> bool:
    return len(name.parts) == len(pattern.parts) and all(
        one == part or parse_glob(part).matches(one) for one, part in zip(name.parts, pattern.parts, strict=True)
    )
