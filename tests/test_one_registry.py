"""`localhost`, `127.0.0.1` and `::1` are one registry: one lock, one list of runs, one undo."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import RefusedError
from dregutil.plan import Plan
from dregutil.reference import RegistryAddress, registry_key
from dregutil.runs import RunStore
from images import Pusher
from program import Program
from servers import DistributionServer

LOCAL = ("localhost", "127.0.0.1", "[::1]", "LOCALHOST")


def test_what_is_recorded_under_one_name_is_undone_under_another(
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
    found = one.run("undo")
    assert found.returncode == 0, found.stderr
    assert pusher.tags("r") == before
    assert one.run("undo").returncode == other.run("undo").returncode == 1


@pytest.mark.parametrize("host", LOCAL)
def test_one_lock(tmp_path: Path, host: str) -> None:
    store = RunStore(tmp_path)
    with store.lock("localhost:5000"), pytest.raises(RefusedError, match="another run"), store.lock(f"{host}:5000"):
        pass
    with store.lock("localhost:5000"), store.lock(f"{host}:5001"):
        pass


@pytest.mark.parametrize("host", LOCAL)
def test_a_record_of_an_older_version_is_found_by_any_name(tmp_path: Path, host: str) -> None:
    """2.0.0 wrote the name as it was given."""
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
def test_a_key_is_its_own_key_and_that_of_the_identity(host: str, port: str, scheme: str, prefix: str) -> None:
    address = RegistryAddress.parse(f"{scheme}{host}{port}{prefix}")
    assert registry_key(address.identity) == address.key
    assert registry_key(address.key) == address.key
