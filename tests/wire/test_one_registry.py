"""`localhost`, `127.0.0.1` and `::1` are one registry: one lock, one list of runs, one undo."""

from __future__ import annotations

import fcntl
import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import RefusedError
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.crawl_mark import CrawlMark
from dregutil.journal.last_cleanup import LastCleanupFile
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag, registry_key, registry_spellings
from dregutil.plan.model import Plan
from dregutil.retention.image_name import registry_hosts
from images import Pusher
from program import Program
from servers import DistributionServer
from upgraded import POLICY

LOCAL = ("localhost", "127.0.0.1", "[::1]", "LOCALHOST")


def test_a_run_recorded_under_one_name_is_undone_under_another(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    before = pusher.tags("r")
    port = registry_server.port
    one, other = (Program(f"http://{host}:{port}", tmp_path) for host in ("localhost", "127.0.0.1"))
    assert one.run("remove-tags", "-r", "r", "-t", "1.0", "--plan-out", "plan").returncode == 0
    found = other.run("apply", "plan", "-y")
    assert found.returncode == 0, found.stderr
    assert pusher.tags("r") == {}
    assert [run["removed"] for run in one.history()] == [1]
    found = one.run("undo", "-y")
    assert found.returncode == 0, found.stderr
    assert pusher.tags("r") == before
    assert one.run("undo", "-y").returncode == other.run("undo", "-y").returncode == 1


@pytest.mark.parametrize("host", LOCAL)
def test_the_names_share_one_lock(tmp_path: Path, host: str) -> None:
    store = RunStore(tmp_path)
    with store.lock("localhost:5000"), pytest.raises(RefusedError, match="another run"), store.lock(f"{host}:5000"):
        pass
    with store.lock("localhost:5000"), store.lock(f"{host}:5001"):
        pass


@pytest.mark.parametrize("host", LOCAL)
def test_a_record_of_an_older_version_is_found_by_any_name(tmp_path: Path, host: str) -> None:
    """2.0.0 wrote the name as given."""
    store = RunStore(tmp_path)
    now = datetime.now(UTC)
    store.begin(Plan(f"{host.lower()}:5000", now, "remove-tags", ()), now).close(now)
    assert len(store.headers("localhost:5000")) == len(store.headers("127.0.0.1:5000")) == 1
    assert store.headers("127.0.0.2:5000") == []


@given(
    host=st.sampled_from([*LOCAL, "127.0.0.2", "registry.example.com", "docker.io", "a.localhost"]),
    port=st.sampled_from(["", ":80", ":443", ":5000"]),
    scheme=st.sampled_from(["", "http://", "https://"]),
    prefix=st.sampled_from(["", "/prefix"]),
)
def test_a_registry_has_its_own_key_and_that_of_its_identity(host: str, port: str, scheme: str, prefix: str) -> None:
    address = RegistryAddress.parse(f"{scheme}{host}{port}{prefix}")
    assert registry_key(address.identity) == address.key
    assert registry_key(address.key) == address.key
    assert address.key in registry_spellings(address.identity)
    assert address.identity in registry_spellings(address.key)
    assert {registry_key(spelling) for spelling in registry_spellings(address.key)} == {address.key}


def older_name(name: str) -> str:
    """The file name in 2.0.0: the registry as given."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


@pytest.mark.parametrize("host", LOCAL)
def test_a_run_of_an_older_version_is_locked_out_under_any_name(tmp_path: Path, host: str) -> None:
    for name in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000"):
        folder = tmp_path / "locks"
        folder.mkdir(exist_ok=True)
        held = os.open(folder / older_name(name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(RefusedError, match="another run"), RunStore(tmp_path).lock(f"{host}:5000"):
                pass
        finally:
            os.close(held)
    with RunStore(tmp_path).lock(f"{host}:5000"):
        pass


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("older", ["localhost", "127.0.0.1", "[::1]"])
def test_the_records_of_tags_are_shared_by_all_names(tmp_path: Path, host: str, older: str) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    tags = {Tag("1.0"): Digest.of(b"one")}
    made = TagHistory(tmp_path, f"{older}:5000")
    made.record(Inventory({Repository("r"): tags}), now=now)
    made.path.rename(made.path.with_name(f"{older_name(f'{older}:5000')}.sqlite"))
    found = TagHistory(tmp_path, f"{host.lower()}:5000")
    assert found.of(Repository("r"), tags)[Tag("1.0")].known_since == now
    found.record(Inventory(), now=now)
    assert TagHistory(tmp_path, f"{older}:5000").missing(Repository("r")).keys() == {Tag("1.0")}
    assert len(list((tmp_path / "sightings").iterdir())) == 1
    assert not TagHistory(tmp_path, f"{host.lower()}:5001").has_begun()


def test_of_two_files_of_an_older_version_the_last_written_is_continued(tmp_path: Path) -> None:
    names = ("localhost:5000", "127.0.0.1:5000")
    (tmp_path / "sightings").mkdir()
    for place, name in enumerate(names):
        path = tmp_path / "sightings" / f"{older_name(name)}.sqlite"
        path.touch()
        os.utime(path, (place, place))
    paths = {TagHistory(tmp_path, name).path for name in (*names, "[::1]:5000")}
    assert paths == {tmp_path / "sightings" / f"{older_name(names[1])}.sqlite"}


@pytest.mark.parametrize("older", ["localhost", "127.0.0.1", "[::1]"])
def test_the_last_run_of_a_policy_is_shared_by_all_names(tmp_path: Path, older: str) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    policy = tmp_path / "policy.yml"
    made = LastCleanupFile(tmp_path, f"{older}:5000", policy)
    made.write(now, {"all": 3}, {"all": 1})
    made.path.rename(made.path.with_name(f"{older_name(f'{older}:5000{chr(10)}{policy}')}.json"))
    for host in ("localhost", "127.0.0.1", "[::1]"):
        found = LastCleanupFile(tmp_path, f"{host}:5000", policy).read()
        assert found is not None
        assert (found.when, found.removed) == (now, {"all": 1})
        assert CrawlMark(tmp_path, f"{host}:5000").path == CrawlMark(tmp_path, "localhost:5000").path


def test_a_cleanup_under_another_name_continues_the_records(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for number in range(5):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    (tmp_path / "policy.yml").write_text(POLICY.replace("0s", "1h"))
    one, other = (Program(f"http://{host}:{registry_server.port}", tmp_path) for host in ("localhost", "127.0.0.1"))
    begun = "the records of when tags came begin with this run"
    assert begun in one.run("cleanup", "-f", "policy.yml", "--dry-run").stderr
    found = other.run("cleanup", "-f", "policy.yml", "--dry-run")
    assert (found.returncode, begun in found.stderr) == (0, False), found.stderr


@pytest.mark.parametrize("host", LOCAL)
def test_a_list_may_use_any_name(host: str) -> None:
    own = registry_hosts(RegistryAddress.parse(f"{host}:5000"), ())
    alias = registry_hosts(RegistryAddress.parse("registry.example.com"), (f"{host}:5000",))
    for name in LOCAL:
        for found in (own, alias):
            (mention,) = found.mentions(f"image: {name}:5000/shop/web:1.0")
            (image,) = mention.names
            assert image.repositories_in(found.hosts) == (Repository("shop/web"),)
    assert not own.is_named_in("127.0.0.2:5000/shop/web:1.0")
    assert not list(own.mentions("127.0.0.1:5001/shop/web:1.0"))
