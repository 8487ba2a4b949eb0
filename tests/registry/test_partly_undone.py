"""What an undo cannot read or put is left with its reason; everything else is restored, and the counts are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def removed(program: Program, pusher: Pusher, number: int = 5) -> dict[str, str]:
    """Push images and remove them; return their previous tags."""
    for place in range(number):
        pusher.push_image("r", f"1.{place}", seed=str(place))
    pusher.push_image("r", "2.0", seed="keep")
    before = pusher.tags("r")
    found = program.run("remove-tags", "-r", "r", "-t", "<2", "--yes-remove", str(number))
    assert found.returncode == 0, found.stderr
    return before


def layer_of(pusher: Pusher, raw: bytes) -> str:
    digest: str = json.loads(raw)["layers"][0]["digest"]
    return digest


@pytest.mark.parametrize("server", ["real", "memory"])
def test_an_image_with_an_empty_layer_is_restored(
    server: str, registry_server: DistributionServer, tmp_path: Path
) -> None:
    with MemoryServer() as memory:
        url = registry_server.url if server == "real" else memory.url
        program = Program(url, tmp_path)
        with Pusher(url) as pusher:
            pusher.push_image("r", "1.0", seed="one", layers=[b"", b"more"])
            before = pusher.tags("r")
            assert program.run("remove-tags", "-r", "r", "-t", "1.0").returncode == 0
            assert pusher.tags("r") == {}
            found = program.run("undo", "-y")
            assert found.returncode == 0, found.stderr
            assert pusher.tags("r") == before
            assert pusher.is_whole("r", "1.0")


@pytest.mark.parametrize("said", [100, 0])
def test_a_wrong_size_of_an_empty_layer_does_not_matter(pusher: Pusher, program: Program, said: int) -> None:
    """Servers accept any stated size."""
    image = pusher.push_image("r", "1.0", seed="one", layers=[b"" if said else b"full"])
    raw = json.loads(pusher.raw("r", "1.0"))
    raw["layers"][0]["size"] = said
    pusher.push_manifest("r", "1.0", json.dumps(raw).encode(), image["mediaType"])
    before = pusher.tags("r")
    assert program.run("remove-tags", "-r", "r", "-t", "1.0").returncode == 0
    found = program.run("undo", "-y")
    assert (found.returncode, pusher.tags("r")) == (0, before), found.stderr


@pytest.mark.parametrize("status", [500, 403, 412])
@pytest.mark.parametrize("when", ["look", "look after"])
def test_an_unreadable_blob_does_not_prevent_other_images_from_being_restored(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, status: int, when: str
) -> None:
    program = Program(registry_server.url, tmp_path)
    before = removed(program, pusher)
    image = next(path for path in program.state.rglob(f"blobs/sha256/{before['1.2'][7:]}"))
    layer = layer_of(pusher, image.read_bytes())
    ill, asked = [True], [0]

    def fail(request: Request) -> Answer | None:
        if request.method == "GET" and request.reference == layer:
            asked[0] += 1
            if ill[0] and (when == "look" or asked[0] > 1):
                return Answer(status)
        return None

    with Proxy(registry_server.port, before=fail) as proxy:
        behind = Program(proxy.url, tmp_path)
        # The record contains the address of the server itself.
        for record in program.state.rglob("journal.jsonl"):
            _readdress(record, program.url, proxy.url)
        found = behind.run("undo", "-y")
        assert found.returncode == 3, found.stderr
        others = {tag: digest for tag, digest in before.items() if tag != "1.2"}
        assert others.items() <= pusher.tags("r").items()
        assert re.search(r"(left, to be tried again|failed): r sha256:\w+.*" + str(status), found.stderr), found.stderr
        ill[0] = False
        again = behind.run("undo", "-y")
        assert again.returncode == 0, again.stderr
    assert pusher.tags("r") == before
    assert pusher.is_whole("r", "1.2")


def _readdress(record: Path, url: str, other: str) -> None:
    """Change the address in a record, with new checksums."""
    from dregutil.journal.lines import RunLine, decode_line, encode_line

    lines = record.read_bytes().splitlines(keepends=True)
    header = decode_line(lines[0])
    assert isinstance(header, RunLine)
    header.registry = other.partition("//")[2]
    record.write_bytes(b"".join((encode_line(header), *lines[1:])))


def test_a_repository_that_cannot_be_listed_does_not_prevent_others_from_being_restored(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    ill = [False]

    def fail(request: Request) -> Answer | None:
        return Answer(500) if ill[0] and request.path == "/v2/a/tags/list" else None

    for name in ("a", "b"):
        pusher.push_image(name, "1.0", seed=name)
        pusher.push_image(name, "2.0", seed=f"{name} keep")
    before = {name: pusher.tags(name) for name in ("a", "b")}
    with Proxy(registry_server.port, before=fail) as proxy:
        program = Program(proxy.url, tmp_path)
        found = program.run("remove-tags", "-r", "a", "b", "-t", "1.0")
        assert found.returncode == 0, found.stderr
        ill[0] = True
        found = program.run("undo", "-y")
        assert found.returncode == 3, found.stderr
        assert "left, to be tried again: a sha256:" in found.stderr
        assert pusher.tags("b") == before["b"]
        ill[0] = False
        assert program.run("undo", "-y").returncode == 0
    assert {name: pusher.tags(name) for name in ("a", "b")} == before


def test_an_untagged_image_is_not_counted_as_put_back(pusher: Pusher, program: Program) -> None:
    """Only the tags were removed: as many are restored, and no manifest."""
    pusher.push_image("r", "1.0", "1.1", "stable", seed="one")
    before = pusher.tags("r")
    found = program.run("remove-tags", "-r", "r", "-t", "<2", "--untag", "--yes-remove", "2")
    assert "removed 2 tags (0 manifests)" in found.stderr
    found = program.run("undo", "-y")
    assert found.returncode == 0, found.stderr
    assert "put back 2 tags (0 manifests)" in found.stderr
    assert pusher.tags("r") == before
