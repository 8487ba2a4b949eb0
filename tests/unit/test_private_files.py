"""Files that are replaced as a whole, and files that only their owner may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil.errors import RefusedError
from dregutil.files import create_private, write_atomically
from dregutil.inventory.cache_file import CacheFile
from dregutil.journal.store import RunStore


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_and_private(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    write_atomically(path, [b"n", b"ew"], durable=durable, modified_ns=5_000_000_000)
    assert (path.read_text(), path.stat().st_mode & 0o777, path.stat().st_mtime) == ("new", 0o600, 5)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_midway_leaves_the_old_file_alone(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise EOFError

    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(EOFError):
        write_atomically(path, broken())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("target")
    path = tmp_path / "file"
    path.symlink_to(tmp_path / "target")
    write_atomically(path, [b"new"])
    assert not path.is_symlink()
    assert (tmp_path / "target").read_text() == "target"


def test_an_existing_file_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    create_private(path)
    assert path.read_text() == "old"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic links"):
        create_private(tmp_path / "link")


def test_a_lock_that_cannot_be_created_does_not_wait() -> None:
    with CacheFile(Path("/proc/cache.json")).lock():
        pass


def test_only_one_run_holds_the_lock(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    with store.lock("registry.example.com"), pytest.raises(RefusedError), store.lock("registry.example.com"):
        pass
    with store.lock("registry.example.com"):
        pass
