"""The command line against real servers with every kind of access, and together with the older tool."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from images import Pusher
from servers import DistributionServer, find_program

PROGRAM = Path(sys.executable).with_name("dregutil")
ROOT = Path(__file__).parents[2]


def dregutil(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(folder), **env}
    command = [str(PROGRAM), *arguments]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def protected(tmp_path: Path) -> Iterator[DistributionServer]:
    """A registry with one user, `me`."""
    line = subprocess.run(
        [find_program("htpasswd"), "-nbB", "me", "s3cret"], check=True, capture_output=True, text=True
    ).stdout
    (tmp_path / "users").write_text(line)
    auth = f"auth: {{htpasswd: {{realm: r, path: {tmp_path / 'users'}}}}}"
    with DistributionServer(tmp_path / "registry", auth=auth) as server:
        pusher = Pusher(server.url, {"Authorization": "Basic bWU6czNjcmV0"})
        pusher.push_image("r", "1.0", seed="one")
        pusher.close()
        yield server


def test_a_registry_that_requires_a_login(protected: DistributionServer, tmp_path: Path) -> None:
    for command in (["list-repo-names"], ["doctor"], ["remove-tags", "-r", "r", "-t", "1.0"]):
        found = dregutil(tmp_path, "-reg", protected.url, *command)
        assert found.returncode == 4, command
        assert "-u and -p" in found.stderr
    found = dregutil(tmp_path, "-reg", protected.url, "-u", "me", "-p", "wrong-one", "list-repo-names")
    assert found.returncode == 4
    assert "'me'" in found.stderr
    assert "wrong-one" not in found.stderr + found.stdout


def test_every_source_of_a_login(protected: DistributionServer, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.mkdir()
    (docker / "config.json").write_text(json.dumps({"auths": {protected.host: {"auth": "bWU6czNjcmV0"}}}))
    for arguments, env in (
        (["-u", "me", "-p", "s3cret"], {}),
        ([], {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": "s3cret"}),
        ([], {"DOCKER_CONFIG": str(docker)}),
    ):
        found = dregutil(tmp_path, "-reg", protected.url, "-c", "None", *arguments, "list-repo-names", **env)
        assert (found.returncode, found.stdout) == (0, "r\n"), found.stderr
        found = dregutil(tmp_path, "-reg", protected.url, *arguments, "doctor", **env)
        assert "me, from" in found.stdout
        assert "s3cret" not in found.stdout + found.stderr


def test_a_private_ca_and_a_client_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    pem = tmp_path / "server.pem"
    tls = f"  tls: {{certificate: {pem}, key: {pem}, clientcas: [{tmp_path / 'ca.pem'}]}}"
    with DistributionServer(tmp_path / "registry", http=tls) as server:
        trusted = ["-reg", server.host, "-v", str(tmp_path / "ca.pem"), "-cert", str(tmp_path / "me.pem")]
        found = dregutil(tmp_path, *trusted, "doctor")
        assert (found.returncode, "https://" in found.stdout) == (0, True), found.stderr
        found = dregutil(tmp_path, "-reg", server.host, "doctor")
        assert found.returncode == 6
        assert "-v FILE" in found.stderr
        found = dregutil(tmp_path, *trusted[:4], "doctor")
        assert found.returncode == 6, "without the client's certificate"
        found = dregutil(tmp_path, "-reg", server.host, "-v", "None", *trusted[4:], "doctor")
        assert (found.returncode, "not verified" in found.stderr) == (0, True)
        found = dregutil(tmp_path, "-reg", server.host, "-v", "nothing.pem", "doctor")
        assert found.returncode == 2


def test_a_path_prefix(tmp_path: Path) -> None:
    with DistributionServer(tmp_path / "registry", prefix="/hub") as server:
        pusher = Pusher(server.url)
        pusher.push_image("r", "1.0", seed="one")
        pusher.close()
        found = dregutil(tmp_path, "-reg", server.url, "remove-tags", "-r", "r", "-t", "1.0")
        assert found.returncode == 0, found.stderr
        assert len(found.stdout.splitlines()) == 1


def test_an_unknown_media_type_leaves_its_repository_unchanged(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    found = dregutil(tmp_path, "-reg", registry_server.url, "list-repo-names")
    assert found.returncode == 0
    # The storage has only the bytes of manifests: an unknown media type makes the server's answer unreadable.
    digest = pusher.tags("r")["1.0"]
    data = registry_server.storage / f"docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
    data.write_bytes(b'{"schemaVersion": 2, "mediaType": "application/vnd.example.unknown+json"}')
    found = dregutil(tmp_path, "-reg", registry_server.url, "remove-tags", "-r", "r", "-t", "1.0")
    assert found.returncode == 3
    assert found.stdout == ""
    assert "left as it is" in found.stderr


def test_a_tag_deleted_after_it_was_listed(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> None:
    pusher.push_image("r", "1.0", "1.1", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    digest = pusher.tags("r")["1.0"]
    link = registry_server.storage / f"docker/registry/v2/repositories/r/_manifests/revisions/sha256/{digest[7:]}/link"
    link.unlink()
    found = dregutil(tmp_path, "-reg", registry_server.url, "list-tag-names")
    assert (found.returncode, found.stdout) == (0, "r  2.0\n")


def test_the_older_tool_reads_our_cache_and_we_read_its(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    older = ROOT / ".cache" / "older" / "bin" / "dregutil"
    if not older.exists():
        subprocess.run([sys.executable, "-m", "venv", str(older.parents[1])], check=True)
        packages = ["docker-registry-util==1.0.3", "setuptools<80"]
        subprocess.run([str(older.with_name("pip")), "install", "-q", *packages], check=True)
    pusher.push_image("shop/web", "1.0", "latest", seed="one")
    assert dregutil(tmp_path, "-reg", registry_server.url, "refresh").returncode == 0
    ours = tmp_path / f"127_0_0_1:{registry_server.port}_cache.json"
    before = json.loads(ours.read_text())
    read = subprocess.run(
        [str(older), "-reg", registry_server.url, "query-repos", "-r", "shop/web"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert read.stdout == dregutil(tmp_path, "-reg", registry_server.url, "query-repos", "-r", "shop/web").stdout
    assert json.loads(ours.read_text()) == before, "as the older tool has written it again"
