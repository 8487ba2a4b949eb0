"""A plan is written through a link, a pipe and a device, and never replaces them."""

from __future__ import annotations

import os
import stat
import threading
import tty
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil.errors import UsageError
from dregutil.plan.file import decode_plan, write_plan
from dregutil.plan.model import Plan

PLAN = Plan("registry.example.com", datetime(2026, 3, 1, tzinfo=UTC), "remove-tags", ())


def read(path: Path) -> Plan:
    with path.open("rb") as file:
        return decode_plan(file)[0]


def test_a_file_is_replaced_as_a_whole_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    for content in (None, b"older"):
        if content is not None:
            path.write_bytes(content)
        write_plan(path, PLAN)
        assert read(path) == PLAN
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path: Path, is_there: bool) -> None:
    target, link = tmp_path / "elsewhere" / "plan", tmp_path / "link"
    target.parent.mkdir()
    if is_there:
        target.write_bytes(b"older")
    link.symlink_to(target)
    write_plan(link, PLAN)
    assert link.is_symlink()
    assert read(target) == PLAN


def test_a_pipe_gets_the_plan_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[Plan] = []
    reader = threading.Thread(target=lambda: found.append(read(pipe)), daemon=True)
    reader.start()
    write_plan(pipe, PLAN)
    reader.join(20)
    assert found == [PLAN]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_device_gets_the_plan_and_stays() -> None:
    """A terminal created by the test: no file can replace it, so wrong code does no damage."""
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        device = Path(os.ttyname(slave))
        write_plan(device, PLAN)
        assert stat.S_ISCHR(device.lstat().st_mode)
        assert b'"registry.example.com"' in os.read(master, 4096)
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("name", [".", "folder", "folder/"])
def test_a_folder_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the plan cannot be written to"):
        write_plan(Path(name), PLAN)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
