"""Logs are found by paths and globs; what cannot be read, or changes meanwhile, is never left out silently."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil.errors import RefusedError, StorageError, UsageError
from dregutil.pulls.find_logs import check_log_pattern, check_logs, find_logs, is_log_of, read_steadily


def names(folder: Path, *patterns: str) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in find_logs(patterns, folder)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/access.log", "a/access.log.1", "a/access.log.2.gz", "b/access.log", "a/error.log", "plain"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["a/error.log"], ["a/error.log"]),
        (["a/access.log*"], ["a/access.log", "a/access.log.1", "a/access.log.2.gz"]),
        (["*/error.log"], ["a/error.log"]),
        (["*/access.log"], ["a/access.log", "b/access.log", "a/access.log.1", "a/access.log.2.gz"]),
        (["b/access.log", "a/error.log"], ["b/access.log", "a/error.log"]),
        (["b/access.{log,txt}"], ["b/access.log"]),
        (["a/../b/access.log"], ["b/access.log"]),
        (["./[b]/access.log"], ["b/access.log"]),
    ],
)
def test_patterns(folder: Path, patterns: list[str], found: list[str]) -> None:
    assert names(folder, *patterns) == found
    assert names(folder, *(str(folder / pattern) for pattern in patterns)) == found


@pytest.mark.parametrize("pattern", ["a/access.log", "a/access.log.1", "?/access.log.2.gz", "a/access.[l]og"])
def test_the_files_of_a_rotation_belong_to_a_log(folder: Path, pattern: str) -> None:
    """Otherwise what was written between the last run and the rotation would never be read."""
    (folder / "a/access.log-20261126").write_text("x")
    (folder / "a/access.log.3").mkdir()
    found = {f"a/access.log{end}" for end in ("", ".1", ".2.gz", "-20261126")}
    assert set(names(folder, pattern)) == found


def test_a_name_with_characters_of_a_glob_is_found_by_itself(folder: Path) -> None:
    (folder / "[a]").mkdir()
    (folder / "[a]" / "access.log").write_text("x")
    assert names(folder, "[a]/access.log") == ["[a]/access.log"]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("absent*", "no file matches 'absent*'"),
        ("nowhere/access.log", "no file matches 'nowhere/access.log'"),
        ("plain/access.log", "no file matches"),
        ("*", "it is a folder"),
        ("a", "it is a folder"),
        ("fifo", "it is not a regular file"),
        ("/dev/null", "it is not a regular file"),
        ("dangling", "No such file"),
        ("loop", "Too many levels of symbolic links"),
        ("loop*", "Too many levels of symbolic links"),
        ("loop/access.log", "no file matches"),
    ],
)
def test_what_is_no_log_refuses(folder: Path, pattern: str, told: str) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nothing")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(RefusedError, match=re.escape(told)):
        find_logs([pattern], folder)


def test_folders_that_link_to_themselves_are_passed(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    (folder / "a" / "up").symlink_to("..")
    assert names(folder, "*/error.log") == ["a/error.log"]
    assert names(folder, "a/*/b/access.log") == ["a/up/b/access.log"]


def test_a_file_with_a_second_name_is_read_once_by_its_own(folder: Path) -> None:
    (folder / "a" / "access.current").symlink_to("access.log")
    assert names(folder, "a/access.[cl]*") == ["a/access.log", "a/access.log.1", "a/access.log.2.gz"]
    assert names(folder, "a/access.current") == ["a/access.current"]
    assert names(folder, "a/access.current", "a/access.log") == ["a/access.log", "a/access.log.1", "a/access.log.2.gz"]


def test_what_this_user_may_not_look_at_refuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return iter(whole(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(RefusedError, match="b cannot be read: Permission denied"):
        find_logs(["*/access.log*"], folder)


def test_a_file_that_may_not_be_read_fails_the_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_logs(["a/access.log*"], folder)

    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RefusedError, match=r"access\.log cannot be read: Permission denied"):
        check_logs(["a/access.log"], folder)


@pytest.mark.parametrize("pattern", ["-", "a\0b", "logs/**/access.log", "[", "*" + "a*" * 5])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises((ValueError, UsageError)):
        check_log_pattern(pattern)


@pytest.mark.parametrize("tries", [1, 4])
def test_files_that_are_renamed_meanwhile_are_read_again(folder: Path, tries: int) -> None:
    """As a rotation does: what was not read yet has another name then, and must be read all the same."""
    seen: list[str] = []

    def read(path: str) -> str:
        text = Path(path).read_text()
        seen.append(text)
        if path.endswith("access.log") and len(seen) <= tries:
            (folder / "a/access.log.1").rename(folder / f"a/access.log.0{len(seen)}")
            Path(path).rename(folder / "a/access.log.1")
            Path(path).write_text(f"new {len(seen)}")
        return text

    done = read_steadily(["a/access.log*"], folder, read)
    assert set(done) == {str(path) for path in (folder / "a").iterdir() if "access" in path.name}
    assert set(done.values()) == {path.read_text() for path in (folder / "a").iterdir() if "access" in path.name}


def test_a_file_that_vanishes_or_is_half_compressed_is_tried_again(folder: Path) -> None:
    errors: list[Exception] = [FileNotFoundError("gone"), EOFError("half")]

    def read(path: str) -> str:
        if errors:
            raise StorageError(f"{path} cannot be read") from errors.pop()
        return path

    assert len(read_steadily(["a/access.log*"], folder, read)) == 3


def test_what_never_stays_refuses(folder: Path) -> None:
    number = iter(range(100))

    def rename(path: str) -> None:
        Path(path).rename(folder / f"a/access.log{next(number)}")

    with pytest.raises(RefusedError, match="were renamed while they were read"):
        read_steadily(["a/access.log*"], folder, rename)


def test_another_error_is_not_tried_again(folder: Path) -> None:
    seen: list[str] = []

    def read(path: str) -> None:
        seen.append(path)
        raise StorageError(f"{path} cannot be read: Permission denied") from PermissionError()

    with pytest.raises(RefusedError, match=r"the log .*access\.log cannot be read: Permission denied") as refused:
        read_steadily(["a/access.log*"], folder, read)
    assert (len(seen), refused.value.exit_code) == (1, 5)
    assert "nothing was removed" in refused.value.advice


@pytest.mark.parametrize(
    ("name", "pattern", "is_one"),
    [
        ("/l/node-3/access.log", "/l/*/access.log*", True),
        ("/l/node-3/access.log", "node-?/access.log.1", True),
        ("/l/node-3/access.log", "/l/*", False),
        ("/l/node-3/error.log", "/l/*/access.log*", False),
        ("standard input", "/l/*", False),
    ],
)
def test_a_log_belongs_to_a_pattern_also_if_it_is_gone(name: str, pattern: str, is_one: bool) -> None:
    assert is_log_of(name, [pattern], Path("/l")) is is_one
