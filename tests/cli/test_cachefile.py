"""The cache file: complete or absent, one writer at a time, and unchanged by an incomplete crawl."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dregutil.cli.settings import cache_file_name
from dregutil.errors import CacheError
from dregutil.inventory import cache_file
from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag

PROGRAM = Path(sys.executable).with_name("dregutil")
INVENTORIES = st.dictionaries(
    st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", fullmatch=True).map(Repository),
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,12}", fullmatch=True).map(Tag),
        st.integers(0, 20).map(lambda number: Digest(f"sha256:{number:064x}")),
        min_size=1,
        max_size=5,
    ),
    max_size=5,
)


@pytest.mark.property
@given(INVENTORIES)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, tags: dict[Repository, dict[Tag, Digest]]
) -> None:
    cache = CacheFile(tmp_path_factory.mktemp("cache") / "c.json")
    cache.write(Inventory(tags))
    found = cache.read()
    assert found is not None
    assert found.as_mapping() == tags
    assert json.loads(cache.path.read_text()) == tags
    assert cache.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.property
@given(
    st.one_of(st.binary(max_size=200), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps))
)
def test_any_other_content_is_damage(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    assume(content.strip() != b"{}")  # an empty registry
    cache = CacheFile(tmp_path_factory.mktemp("cache") / "c.json")
    cache.path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CacheError, match=r"c\.json"):
        cache.read()


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("registry.example.com", "registry_example_com_cache.json"),
        ("https://registry.example.com/hub", "registry_example_com_hub_cache.json"),
        ("localhost:5000", "localhost:5000_cache.json"),
        ("https://registry.example.com/hub/v2/", "registry_example_com_hub_cache.json"),
    ],
)
def test_the_name_is_that_of_the_older_tool(registry: str, name: str) -> None:
    assert cache_file_name(RegistryAddress.parse(registry)) == name


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "c.json").symlink_to(tmp_path / "theirs")
    CacheFile(tmp_path / "c.json").write(Inventory())
    assert (tmp_path / "theirs").read_text() == "theirs"


def _take(path: Path, taken: Event) -> None:
    with CacheFile(path).lock():
        taken.set()


TAGS = st.dictionaries(st.sampled_from(["1.0", "latest", "-bad"]), st.sampled_from([f"sha256:{'a' * 64}", "bad", 7]))
FILES = st.one_of(
    st.dictionaries(st.sampled_from(["a", "b/c", "Bad"]), TAGS | st.just([]) | st.none()).map(json.dumps),
    st.sampled_from(["", "[]", "{", '{"a": {}}', '{"a": { }}', '{"a": {"1": }}', '{"a": 1}', "null", "{} x", "\xff"]),
)


@pytest.mark.property
@given(FILES)
def test_a_large_file_is_read_as_a_small_one(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = CacheFile(Path(folder) / "c.json")
        cache.path.write_text(text, encoding="latin-1")
        small = _read(cache)
        with patch.object(cache_file, "_LARGE", 0):
            assert _read(cache) == small


def _read(cache: CacheFile) -> object:
    try:
        found = cache.read()
        assert found is not None
        return found.repositories, {name: dict(tags) for name, tags in found.as_mapping().items()}, found.tag_count
    except CacheError as error:
        return str(cache.path) in error.message


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    context = get_context("spawn")
    taken = context.Event()
    with CacheFile(tmp_path / "c.json").lock():
        other = context.Process(target=_take, args=(tmp_path / "c.json", taken))
        other.start()
        assert not taken.wait(1.0)
    assert taken.wait(10)
    other.join()


@pytest.mark.parametrize("how", ["interrupted", "lost"])
def test_an_incomplete_crawl_leaves_the_old_cache(tmp_path: Path, how: str) -> None:
    old = '{"r": {"1.0": "sha256:' + "a" * 64 + '"}}'
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (tmp_path / f"127_0_0_1:{port}_cache.json").write_text(old)
        command = [str(PROGRAM), "-reg", f"http://127.0.0.1:{port}", "refresh"]
        child = subprocess.Popen(
            command,
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
        connection, _ = listener.accept()
        with connection:
            connection.recv(10_000)
            body = b'{"repositories": ["r"]}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            connection.recv(10_000)  # the list of tags is requested, and never arrives
            if how == "interrupted":
                os.kill(child.pid, signal.SIGINT)
        if how == "lost":
            listener.close()
        _, err = child.communicate(timeout=60)
    assert child.returncode == (130 if how == "interrupted" else 6)
    assert "Traceback" not in err
    assert [path.read_text() for path in tmp_path.glob("*_cache.json")] == [old]


def test_the_proxy_in_the_environment_is_used(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        env = {**os.environ, "HTTP_PROXY": f"http://127.0.0.1:{listener.getsockname()[1]}", "NO_PROXY": ""}
        env["http_proxy"], env["no_proxy"] = env["HTTP_PROXY"], ""
        command = [str(PROGRAM), "-reg", "http://registry.example.com", "doctor"]
        child = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        with connection:
            asked = connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            child.communicate(timeout=60)
    assert asked.startswith(b"GET http://registry.example.com/v2/ HTTP/1.1")
    assert child.returncode == 1


def test_a_partial_reading_does_not_make_the_file_younger(tmp_path: Path) -> None:
    cache = CacheFile(tmp_path / "c.json")
    one, other = Repository("one"), Repository("other")
    digests = [Digest(f"sha256:{number:064x}") for number in (1, 2)]
    cache.update(lambda _: {one: {Tag("1"): digests[0]}})
    assert not cache.path.exists()
    cache.write(Inventory({one: {Tag("1"): digests[0]}, other: {Tag("1"): digests[0]}}))
    os.utime(cache.path, (1_000_000, 1_000_000))
    cache.update(lambda known: {one: {**known.tags(one), Tag("2"): digests[1]}})
    assert cache.age(1_000_500) == 500
    found = cache.read()
    assert found is not None
    assert found.as_mapping() == {
        one: {Tag("1"): digests[0], Tag("2"): digests[1]},
        other: {Tag("1"): digests[0]},
    }
    cache.write(found)
    assert cache.age(1_000_500) == 0
