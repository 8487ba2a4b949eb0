"""Authentication against real servers: distribution with tokens and with htpasswd, Apache's HTTP Digest."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dregutil.errors import LoginError
from dregutil.registry.auth.authenticator import Authenticator
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.http.transport import Transport
from servers import find_program
from servers.tokens import TokenIssuer

ANN = Credentials("ann", "pässword")
IDENTITY = Credentials("", "an-identity-token", "identity_token")
CATALOG = ("registry:catalog:*",)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    """A server process, once it listens; yields its URL."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            for _ in range(400):
                with closing(socket.socket()) as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None:
                    assert process.stderr is not None
                    raise AssertionError(process.stderr.read().decode())
                time.sleep(0.025)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()  # not killed: otherwise Apache's workers do not end with it
            process.communicate(timeout=20)


@contextmanager
def distribution(folder: Path, auth: dict[str, Any]) -> Iterator[str]:
    """Debian's docker-registry, empty."""
    program = find_program("docker-registry")
    port = free_port()
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "x"},
        "auth": auth,
    }
    (folder / "storage" / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True, exist_ok=True)
    (folder / "config.yml").write_text(json.dumps(config))
    with running([program, "serve", str(folder / "config.yml")], port) as url:
        yield url


@pytest.fixture
def issuer() -> Iterator[TokenIssuer]:
    with TokenIssuer() as found:
        yield found


@pytest.fixture
def token_registry(tmp_path: Path, issuer: TokenIssuer) -> Iterator[str]:
    issuer.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    token = {"realm": issuer.realm, "service": "reg", "issuer": "issuer", "rootcertbundle": str(tmp_path / "ca.pem")}
    with distribution(tmp_path, {"token": token}) as url:
        yield url


async def statuses(
    url: str,
    credentials: Credentials | None,
    paths: Sequence[tuple[str, tuple[str, ...]]],
    *,
    digest_auth: bool = False,
) -> tuple[list[int], str]:
    """The statuses of all `paths`, requested at once, and the scheme that was used."""
    auth = Authenticator(url, credentials, digest_auth=digest_auth)
    transport = Transport(url, auth)
    try:
        sent = [transport.send("GET", transport.url(path), scopes) for path, scopes in paths]
        return [answer.status for answer in await asyncio.gather(*sent)], auth.scheme_used
    finally:
        await transport.close()


def listings(count: int) -> Sequence[tuple[str, tuple[str, ...]]]:
    """As many listings of repositories, each requested twice; none exists, so 404 means that the login was accepted."""
    return [(f"/v2/r{n}/tags/list", (f"repository:r{n}:pull",)) for n in range(count)] * 2


async def test_distribution_accepts_our_tokens(token_registry: str, issuer: TokenIssuer) -> None:
    paths = [("/v2/", ()), ("/v2/_catalog?n=5", CATALOG), *listings(10)]

    got, scheme = await statuses(token_registry, ANN, paths)

    assert got == [200, 200, *[404] * 20]
    assert scheme == "Bearer"
    assert sorted(asked.fields.get("scope", [""])[0] for asked in issuer.asked) == sorted(
        ["", CATALOG[0], *(f"repository:r{n}:pull" for n in range(10))]
    )
    assert all(asked.method == "GET" and asked.fields["account"] == ["ann"] for asked in issuer.asked)


@pytest.mark.parametrize("takes_post", [True, False])
async def test_distribution_accepts_a_token_fetched_with_an_identity_token(
    token_registry: str, issuer: TokenIssuer, *, takes_post: bool
) -> None:
    issuer.takes_post = takes_post

    assert await statuses(token_registry, IDENTITY, [("/v2/_catalog", CATALOG)]) == ([200], "Bearer")

    assert [asked.method for asked in issuer.asked] == (["POST"] if takes_post else ["POST", "GET"])


async def test_a_token_that_distribution_finds_too_old_is_replaced(token_registry: str, issuer: TokenIssuer) -> None:
    issuer.late = 1
    assert await statuses(token_registry, ANN, [("/v2/_catalog", CATALOG)] * 8) == ([200] * 8, "Bearer")
    assert len(issuer.asked) == 2

    issuer.late = 9
    issuer.asked.clear()
    assert await statuses(token_registry, ANN, [("/v2/_catalog", CATALOG)]) == ([401], "Bearer")
    assert len(issuer.asked) == 2


async def test_a_token_server_that_does_not_know_the_user(token_registry: str, issuer: TokenIssuer) -> None:
    for credentials in (Credentials("ann", "wrong"), None):
        with pytest.raises(LoginError, match="did not accept"):
            await statuses(token_registry, credentials, [("/v2/", ())])
    assert len(issuer.asked) == 2


async def test_a_registry_token_is_sent_unchanged(token_registry: str, issuer: TokenIssuer) -> None:
    credentials = Credentials("", issuer.sign("reg", CATALOG), "bearer")

    assert await statuses(token_registry, credentials, [("/v2/_catalog", CATALOG)]) == ([200], "Bearer")
    assert issuer.asked == []


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    program = find_program("htpasswd")
    kept = subprocess.run([program, "-nbBC", "4", "ann", ANN.secret], check=True, capture_output=True).stdout
    (tmp_path / "htpasswd").write_bytes(kept)
    return tmp_path / "htpasswd"


async def test_distributions_htpasswd(tmp_path: Path, htpasswd: Path) -> None:
    with distribution(tmp_path, {"htpasswd": {"realm": "a, b", "path": str(htpasswd)}}) as url:
        paths = [("/v2/", ()), ("/v2/_catalog", CATALOG), *listings(5)]
        assert await statuses(url, ANN, paths) == ([200, 200, *[404] * 10], "Basic")
        assert (await statuses(url, Credentials("ann", "wrong"), paths[:1]))[0] == [401]
        assert await statuses(url, None, paths[:1]) == ([401], "")
        with pytest.raises(LoginError, match="no HTTP Digest"):
            await statuses(url, ANN, paths[:1], digest_auth=True)


@contextmanager
def apache_with_digest(nonce_lifetime: int) -> Iterator[str]:
    """Apache's mod_auth_digest in front of a folder with one file."""
    program = find_program("apache2")
    installed = Path(program).parents[1] / "lib" / "apache2" / "modules"
    # Its workers run as another user, who needs access.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        folder.chmod(0o755)
        (folder / "htdocs" / "v2").mkdir(parents=True)
        (folder / "htdocs" / "v2" / "list").write_text("{}")
        key = hashlib.md5(f"ann:the realm, it is:{ANN.secret}".encode(), usedforsecurity=False).hexdigest()
        (folder / "htdigest").write_text(f"ann:the realm, it is:{key}\n")
        port = free_port()
        names = ("mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_digest")
        modules = [f"LoadModule {name}_module {installed}/mod_{name}.so" for name in names]
        settings = [
            f"ServerRoot {folder}",
            f"DefaultRuntimeDir {folder}",
            f"PidFile {folder}/pid",
            f"ErrorLog {folder}/error.log",
            "ServerName 127.0.0.1",
            f"Listen 127.0.0.1:{port}",
            f"DocumentRoot {folder}/htdocs",
            f"<Directory {folder}/htdocs>",
            "AuthType Digest",
            'AuthName "the realm, it is"',
            f"AuthUserFile {folder}/htdigest",
            f"AuthDigestNonceLifetime {nonce_lifetime}",
            "Require valid-user",
            "</Directory>",
        ]
        (folder / "apache.conf").write_text("\n".join([*modules, *settings, ""]))
        command = [program, "-f", str(folder / "apache.conf"), "-k", "start", "-DFOREGROUND"]
        yield stack.enter_context(running(command, port))


async def test_apaches_digest_with_many_requests_at_once() -> None:
    with apache_with_digest(300) as url:
        paths = [(f"/v2/list?n={n}&last=a%2Fb", ()) for n in range(200)]
        assert await statuses(url, ANN, paths) == ([200] * 200, "Digest")
        assert (await statuses(url, Credentials("ann", "wrong"), paths[:1]))[0] == [401]
        assert await statuses(url, None, paths[:1]) == ([401], "")


async def test_nonces_that_apache_accepts_only_once() -> None:
    with apache_with_digest(0) as url:
        auth = Authenticator(url, ANN)
        transport = Transport(url, auth)
        try:
            for _ in range(5):
                assert (await transport.send("GET", transport.url("/v2/list"), ())).status == 200
        finally:
            await transport.close()
