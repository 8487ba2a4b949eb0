"""The containers of a local Docker or podman, asked through its socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil.clusters.engine import read_engine
from dregutil.errors import RefusedError
from dregutil.oci.names import RegistryAddress
from dregutil.retention.asked import Engine
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import images_in
from servers.engine import Engine as Daemon
from servers.http import Answer

HOST, ID, DIGEST = "registry.example.com", f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """With one running and one stopped container."""
    with Daemon(tmp_path, ID, digests=[f"{HOST}/shop/web@{DIGEST}"]) as server:
        server.images, server.ended = [f"{HOST}/shop/web:1.0"], [f"{HOST}/shop/web:2.0"]
        yield server


@pytest.mark.parametrize(("name", "variable"), [("docker", "DOCKER_HOST"), ("podman", "CONTAINER_HOST")])
async def test_names_ids_and_digests_of_all_containers(daemon: Daemon, name: str, variable: str) -> None:
    file = await read_engine(Engine(name), {variable: f"unix://{daemon.socket}"})
    assert file.name == name
    found = images_in(file, registry_hosts(RegistryAddress.parse(HOST), ())).understood
    images = [one for entry in found for one in entry.names]
    assert {one.tag for one in images if one.digest is None} >= {"1.0", "2.0"}
    assert {one.digest for one in images if one.digest is not None} == {ID, DIGEST}


async def test_an_image_that_was_removed_under_its_container(daemon: Daemon) -> None:
    daemon.failing[f"/images/{ID}/json"] = Answer(404, b'{"message": "No such image"}')
    file = await read_engine(Engine("docker"), {"DOCKER_HOST": f"unix://{daemon.socket}"})
    assert "2.0" in file.text
    daemon.failing["/containers/json"] = Answer(404)
    with pytest.raises(RefusedError):
        await read_engine(Engine("docker"), {"DOCKER_HOST": f"unix://{daemon.socket}"})


async def test_the_socket_in_the_users_folder(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman" / "podman.sock").symlink_to(str(daemon.socket))
    assert (await read_engine(Engine("podman"), {"XDG_RUNTIME_DIR": str(tmp_path)})).text


@pytest.mark.parametrize("path", ["/containers/json", f"/images/{ID}/json"])
@pytest.mark.parametrize(
    "answer",
    [Answer(500, b"{}"), Answer(200, b"1"), Answer(200, b"[{"), Answer(200, b"[" + b" " * 99 + b"]", cut=True)],
)
async def test_an_answer_that_is_not_whole_refuses(daemon: Daemon, path: str, answer: Answer) -> None:
    daemon.failing[path] = answer
    with pytest.raises(RefusedError, match="docker: its containers cannot be read"):
        await read_engine(Engine("docker"), {"DOCKER_HOST": f"unix://{daemon.socket}"})


@pytest.mark.parametrize("host", ["unix:///no/such.sock", "tcp://127.0.0.1:2375", "ssh://host"])
async def test_an_engine_that_cannot_be_reached_refuses(host: str) -> None:
    with pytest.raises(RefusedError):
        await read_engine(Engine("docker"), {"DOCKER_HOST": host})
