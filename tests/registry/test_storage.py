"""A registry's own storage, as written by a real registry, and damaged: read completely, oddities reported, never
written."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil.errors import StorageError, UsageError
from dregutil.oci.manifest import Kind
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.storage.opened import Storage, read_storage
from images import Pusher
from servers import DistributionServer

NOBODY = 65534


@pytest.fixture
def filled(pusher: Pusher, registry_server: DistributionServer) -> Path:
    """Two repositories, an index, an untagged image; the folder that holds `docker`."""
    child = pusher.push_image("shop/web", seed="child")
    pusher.push_index("shop/web", "2.0", children=[child])
    pusher.push_image("shop/web", "1.0", "latest", seed="one")
    pusher.push_image("shop", "1.0", seed="one")
    return registry_server.storage


def root_of(storage: Path) -> Path:
    return storage / "docker" / "registry" / "v2"


def tag_link(storage: Path, tag: str) -> Path:
    return root_of(storage) / "repositories/shop/web/_manifests/tags" / tag / "current/link"


def data_of(storage: Path, digest: str) -> Path:
    return root_of(storage) / "blobs/sha256" / digest[7:9] / digest[7:] / "data"


def test_the_push_date_of_a_manifest_is_that_of_its_link(filled: Path, pusher: Pusher) -> None:
    digest = Digest(pusher.tags("shop/web")["1.0"])
    link = root_of(filled) / f"repositories/shop/web/_manifests/revisions/sha256/{digest.hex}/link"
    os.utime(link, (1_700_000_000, 1_700_000_000))
    storage = Storage(str(filled))
    places = [(Repository("shop/web"), digest), (Repository("shop/web"), Digest.of(b"nobody"))]
    assert list(storage.moments(places)) == [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), None]


def test_everything_is_read(filled: Path, pusher: Pusher) -> None:
    found = read_storage(str(filled))
    assert list(found.repositories) == ["shop", "shop/web"]
    web = found.repositories[Repository("shop/web")]
    assert web.tags == pusher.tags("shop/web")
    assert len(web.revisions) == 3
    assert len(web.layers) == 4
    assert found.oddities == ()
    index = found.manifests[web.tags[Tag("2.0")]]
    assert index.kind is Kind.INDEX
    assert set(index.children) <= web.revisions
    raw = pusher.raw("shop/web", "1.0")
    assert found.blobs[Digest.of(raw)] == len(raw)
    assert set(found.manifests) == web.revisions | found.repositories[Repository("shop")].revisions
    assert len(found.blobs) == 3 + 4
    assert all(found.blobs[digest] == data_of(filled, digest).stat().st_size for digest in found.blobs)


@pytest.mark.parametrize("below", ["", "docker", "docker/registry", "docker/registry/v2"])
def test_the_root_or_a_folder_inside_it_can_be_named(filled: Path, below: str) -> None:
    found = read_storage(str(filled / below))
    assert (len(found.blobs), list(found.repositories)) == (7, ["shop", "shop/web"])


@pytest.mark.parametrize("below", ["", "nothing/there", "file"])
def test_a_folder_that_is_not_a_storage_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"no registry's storage|cannot be read"):
        read_storage(str(tmp_path / below))


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="ftp"):
        read_storage("ftp://host/registry")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root can read everything, so a test of permissions runs as another user for a while."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def open_folder(filled: Path) -> Iterator[Path]:
    """A copy of the storage that others may read."""
    folder = Path(tempfile.mkdtemp(prefix="dregutil-test-"))
    folder.chmod(0o755)
    shutil.copytree(filled, folder / "storage")
    for found in (folder, *folder.rglob("*")):
        found.chmod(0o755 if found.is_dir() else 0o644)
    (root_of(folder / "storage") / "repositories/shop/web/_manifests/revisions").chmod(0)
    yield folder / "storage"
    shutil.rmtree(folder)


def test_what_may_not_be_read_is_reported(open_folder: Path) -> None:
    with as_nobody():
        found = read_storage(str(open_folder))
    assert "repositories/shop/web/_manifests/revisions" in [oddity.place for oddity in found.hidden]
    assert {oddity.why for oddity in found.hidden} == {"cannot be read: Permission denied"}


def test_a_storage_that_may_not_be_read_at_all_is_refused(open_folder: Path) -> None:
    root_of(open_folder).chmod(0)
    with as_nobody(), pytest.raises(StorageError, match="Permission denied"):
        read_storage(str(open_folder))
    root_of(open_folder).chmod(0o755)


def test_damage_is_reported_and_skipped(filled: Path, pusher: Pusher) -> None:
    one, two = pusher.tags("shop/web")["1.0"], pusher.tags("shop/web")["2.0"]
    tag_link(filled, "latest").write_text("sha256:garbage")
    tag_link(filled, "gone").parent.mkdir(parents=True)
    tag_link(filled, "nowhere").parent.mkdir(parents=True)
    tag_link(filled, "nowhere").write_text(f"sha256:{'0' * 64}")
    cut = data_of(filled, one)
    cut.write_bytes(cut.read_bytes()[:50])
    data_of(filled, two).unlink()
    revisions = root_of(filled) / "repositories/shop/web/_manifests/revisions/sha256"
    (revisions / ("1" * 64)).mkdir()
    (revisions / ("1" * 64) / "link").write_text(one)
    (revisions / ("2" * 64)).mkdir()  # as a deletion leaves it
    os.mkfifo(root_of(filled) / "blobs/sha256" / "ab")
    found = read_storage(str(filled))
    named = {oddity.place.rpartition("tags/")[2].partition("/v2/")[0]: oddity for oddity in found.oddities}
    assert {place: oddity.hides for place, oddity in named.items()} == {
        "latest/current/link": True,
        "gone": False,
        "nowhere": False,
        f"repositories/shop/web/_manifests/revisions/sha256/{'1' * 64}/link": True,
        f"blobs/sha256/{one[7:9]}/{one[7:]}/data": True,
        f"blobs/sha256/{two[7:9]}/{two[7:]}/data": False,
    }
    web = found.repositories[Repository("shop/web")]
    assert web.tags == {"1.0": one, "2.0": two, "nowhere": f"sha256:{'0' * 64}"}
    assert Digest(one) not in found.manifests


def test_nothing_is_opened_for_writing(filled: Path, tmp_path: Path) -> None:
    """Checked with the interpreter's audit of every opened file, and by the folder itself."""
    before = snapshot(filled)
    watch = tmp_path / "watch.py"
    watch.write_text(
        "import os, sys\n"
        "place = sys.argv[1]\n"
        "changing = ['os.' + name for name in 'remove rename mkdir rmdir chmod utime truncate link symlink'.split()]\n"
        "def hook(event, args):\n"
        "    names = [str(arg) for arg in args[:2]]\n"
        "    if not any(name.startswith(place) for name in names):\n"
        "        return\n"
        "    flags = args[2] if event == 'open' else 0\n"
        "    if event in changing or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):\n"
        "        print('WRITES', event, args)\n"
        "    elif event == 'open':\n"
        "        print('reads')\n"
        "sys.addaudithook(hook)\n"
        "from dregutil.storage.opened import read_storage\n"
        "read_storage(place)\n"
    )
    done = subprocess.run([sys.executable, str(watch), str(filled)], capture_output=True, text=True, check=True)
    assert set(done.stdout.split("\n")) == {"reads", ""}
    assert snapshot(filled) == before


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        str(found): (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        for found in sorted(folder.rglob("*"))
        for status in [found.stat()]
    }
