"""Endless files, and files that are not files."""

from __future__ import annotations

import io
import resource
import subprocess
from pathlib import Path

import pytest

from dregutil.errors import CacheError
from dregutil.files import bounded_lines, check_is_file, read_bytes, read_stream
from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.tags import Inventory
from program import Program
from servers.memory import MemoryServer

POLICY = "version: 1\nprotect: {in_use: [{file: LIST}]}\npolicies: [{name: p, repositories: ['**'], keep: {last: 1}}]\n"
MEMORY = 3 << 30  # bytes


def bounded(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    with Path("/dev/zero").open() as zeros:
        return subprocess.run(
            program.command(arguments),
            cwd=program.folder,
            env=program.environment(),
            stdin=zeros,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("apply", "/dev/zero", "-y"), 2),
        (("cleanup", "-f", "/dev/zero", "-y"), 2),
        (("policy", "check", "/dev/zero"), 2),
        (("why", "a:1", "-f", "/dev/zero"), 2),
        (("cleanup", "-f", "zero.yml", "-y"), 5),
        (("cleanup", "-f", "stdin.yml", "-y"), 5),
        (("policy", "check", "zero.yml"), 2),
        (("list-tag-names", "--repositories-from", "/dev/zero"), 2),
        (("list-tag-names", "--repositories-from", "-"), 2),
        (("list-tag-names", "-c", "/dev/zero"), 1),
        (("du", "-c", "/dev/zero"), 1),
        (("list-tag-names", "-c", "/"), 1),
        (("list-tag-names", "-c", "."), 1),
        (("refresh", "-c", "/"), 0),
        (("refresh", "-c", "."), 0),
        (("list-tag-names", "--authfile", "/dev/zero"), 4),
        (("remove-tags", "-r", "a", "-t", "1", "--storage", "/dev/zero", "--dry-run"), 3),
    ],
)
def test_an_endless_file_is_an_error_in_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    (tmp_path / "zero.yml").write_text(POLICY.replace("LIST", "/dev/zero"))
    (tmp_path / "stdin.yml").write_text(POLICY.replace("LIST", "'-'"))
    with MemoryServer() as server:
        found = bounded(Program(server.url, tmp_path), *arguments)
    assert found.returncode == code, found.stderr
    assert "defect" not in found.stderr
    assert "Traceback" not in found.stderr


def test_a_list_is_read_completely_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"12345")
    assert read_bytes(tmp_path / "list", 5) == b"12345"
    for read in (
        lambda: read_bytes(tmp_path / "list", 4),
        lambda: read_stream(io.StringIO("12345"), 4),
        lambda: list(bounded_lines(io.BytesIO(b"1\n2\n3"), 4)),
    ):
        with pytest.raises(OSError, match="more than"):
            read()
    assert list(bounded_lines(io.BytesIO(b"1\n2\n3"), 5)) == [b"1\n", b"2\n", b"3"]


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    """A folder replaces the device here, so that a wrong test does not overwrite a device."""
    place = tmp_path / "cache"
    place.mkdir()
    with pytest.raises(CacheError, match="directory"):
        CacheFile(place).read()
    with pytest.raises(OSError, match="directory"):
        CacheFile(place).write(Inventory({}))
    with pytest.raises(OSError, match="not a regular file"):
        check_is_file(Path("/dev/null"))
    check_is_file(tmp_path / "not there")
