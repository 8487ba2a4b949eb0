"""No file of dregutil is readable by others, no link of another user is followed, and no secret is shown."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from test_servers import PROGRAM, dregutil

from dregutil import files
from dregutil.errors import CacheError, JournalError
from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.tags import Inventory
from dregutil.journal.store import RunStore
from dregutil.oci.names import RegistryAddress
from dregutil.registry import ConnectOptions
from dregutil.registry.connect import _with_scheme
from images import Pusher
from servers import DistributionServer

SECRET = "s3cr3t-Pa55w0rd"
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
COMMANDS = (
    ["list-tag-names"],
    ["doctor", "--quick"],
    ["remove-tags", "-r", "shop/web", "-t", "1.0", "-y"],
)


def test_all_written_files_are_accessible_to_their_owner_only(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for tag in ("1.0", "1.1", "2.0"):
        pusher.push_image("shop/web", tag, seed=tag)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for command in (
        ["list-tag-names"],
        ["inspect", "shop/web:1.0"],
        ["remove-tags", "-r", "shop/web", "-t", "1.0", "--plan-out", "plan.jsonl"],
        ["remove-tags", "-r", "shop/web", "-t", "1.0", "-y"],
        ["undo", "-y"],
    ):
        done = subprocess.run(
            [str(PROGRAM), "-reg", registry_server.url, *command],
            cwd=home,
            env={"PATH": "/usr/bin:/bin", "HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
            umask=0,
        )
        assert done.returncode == 0, done.stderr
    written = [path for path in home.rglob("*") if not path.is_symlink()]
    assert {"plan.jsonl", "journal.jsonl", "index.json"} <= {path.name for path in written}
    open_to_others = [
        (str(path), oct(path.stat().st_mode)) for path in written if stat.S_IMODE(path.stat().st_mode) & 0o77
    ]
    assert open_to_others == []


@pytest.fixture
def as_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of this process count as another user's."""
    monkeypatch.setattr(files, "trusted_owners", lambda: frozenset((os.geteuid() + 1,)))


@pytest.mark.usefixtures("as_somebody_else")
def test_a_link_that_belongs_to_another_user_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "cache.json").write_text("{}")
    (tmp_path / "cache.json").symlink_to(tmp_path / "theirs" / "cache.json")
    (tmp_path / "state").symlink_to(tmp_path / "theirs")
    with pytest.raises(CacheError, match="link of another user"):
        CacheFile(tmp_path / "cache.json").read()
    with pytest.raises(PermissionError):
        CacheFile(tmp_path / "state" / "cache.json").write(Inventory({}))
    uses: tuple[Callable[[RunStore], object], ...] = (RunStore.names, lambda store: store.lock("r").__enter__())
    for use in uses:
        with pytest.raises(JournalError, match="link of another user"):
            use(RunStore(tmp_path / "state"))
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == ["cache.json"]


def test_a_link_of_the_own_user_is_followed(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "ours")
    assert RunStore(tmp_path / "state").names() == []
    CacheFile(tmp_path / "ours" / "cache.json").write(Inventory({}))
    (tmp_path / "cache.json").symlink_to(tmp_path / "ours" / "cache.json")
    assert CacheFile(tmp_path / "cache.json").read() is not None


# --- addresses


def test_a_login_in_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    done = dregutil(tmp_path, "-reg", f"https://me:{SECRET}@registry.example.com", "list-repo-names")
    assert done.returncode == 2
    assert "contains credentials" in done.stderr
    assert SECRET not in done.stdout + done.stderr


async def test_a_host_without_a_scheme_is_never_contacted_over_plain_http() -> None:
    found = await _with_scheme(RegistryAddress.parse("registry.example.com:5000"), ConnectOptions())
    assert found.scheme == "https"
