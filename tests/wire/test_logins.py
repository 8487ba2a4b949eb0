"""Logins during a whole run: tokens that expire, passwords that change, a login for each namespace.

The registry is the real one, the token server is part of the tests; an expired token is refused by the registry too.
"""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from test_servers import PROGRAM, dregutil

from dregutil.errors import DeniedError, LoginError
from dregutil.inventory.crawl import crawl
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.registry import ConnectOptions, connect
from dregutil.registry.auth.credentials import CredentialPlaces, find_credentials
from dregutil.registry.http.certificates import certificates_of
from images import Pusher
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer
from servers.tokens import TokenIssuer

TAGS = 14
HELPER = """#!/bin/sh
[ "$1" = get ] || exit 2
cat >/dev/null
echo x >>"$KEYCHAIN.asked"
cat "$KEYCHAIN"
"""


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def issuer() -> Iterator[TokenIssuer]:
    with TokenIssuer() as found:
        yield found


@dataclass
class Guarded:
    """A real registry that requires tokens, behind a proxy in which a test can act."""

    url: str
    proxy: Proxy
    issuer: TokenIssuer
    acts: dict[int, Callable[[], None]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.proxy.host

    def scopes(self) -> list[str]:
        return [scope for asked in self.issuer.asked for scope in asked.scopes]


@pytest.fixture
def guarded(tmp_path: Path, issuer: TokenIssuer) -> Iterator[Guarded]:
    """With `r` and its tags; `acts[n]` runs before the n-th request about a manifest is forwarded."""
    auth = issuer.configuration(tmp_path / "tokens")
    with DistributionServer(tmp_path / "registry", auth=auth) as server:
        number = 0
        lock = threading.Lock()
        found: Guarded

        def before(request: Request) -> Answer | None:
            nonlocal number
            if "/manifests/" in request.path:
                with lock:  # the others wait
                    number += 1
                    found.acts.get(number, lambda: None)()
            return None

        with Proxy(server.port, before=before) as proxy:
            found = Guarded(server.url, proxy, issuer)
            push(found, "r", [f"1.{tag}" for tag in range(TAGS)])
            yield found


def push(guarded: Guarded, repository: str, tags: list[str]) -> None:
    token = guarded.issuer.sign("reg", (f"repository:{repository}:pull,push",))
    with Pusher(guarded.url, {"Authorization": f"Bearer {token}"}) as pusher:
        for tag in tags:
            pusher.push_image(repository, tag, seed=f"{repository} {tag}")


async def crawled(url: str, *, user: str = "ann", password: str = "pässword") -> CrawlResult:
    async with connect(url, ConnectOptions(user=user, password=password, concurrency=4)) as registry:
        return await crawl(registry)


async def test_tokens_that_expire_during_a_crawl(guarded: Guarded) -> None:
    guarded.issuer.lives = 1.0
    # Requests in flight then find the token refused; later requests find it expired.
    guarded.acts = dict.fromkeys((4, 9), guarded.issuer.wait_until_all_ended)

    found = await crawled(guarded.proxy.url)

    assert found.inventory.tag_count == TAGS
    assert not found.failed
    asked = guarded.scopes()
    assert 3 <= asked.count("repository:r:pull") <= 5
    assert asked.count("registry:catalog:*") == 1


def test_tokens_that_expire_during_an_apply(guarded: Guarded, tmp_path: Path) -> None:
    guarded.issuer.lives = 1.0
    deletes = 0

    def before(request: Request) -> Answer | None:
        nonlocal deletes
        deletes += request.method == "DELETE"
        if request.method == "DELETE" and deletes in (2, 4):
            guarded.issuer.wait_until_all_ended()
        return None

    guarded.proxy.before = before
    arguments = ["-reg", guarded.proxy.url, "-u", "ann", "-p", "pässword", "-c", "None", "--state-dir", str(tmp_path)]
    found = dregutil(tmp_path, *arguments, "remove-tags", "-r", "r", "-re", "1.1", "-y")

    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) == 5
    assert guarded.scopes().count("repository:r:pull,delete") + guarded.scopes().count("repository:r:delete") >= 2
    token = guarded.issuer.sign("reg", ("repository:r:pull",))
    with Pusher(guarded.url, {"Authorization": f"Bearer {token}"}) as pusher:
        assert len(pusher.tags("r")) == TAGS - 5


async def test_an_identity_token_that_the_server_replaces(guarded: Guarded, tmp_path: Path) -> None:
    guarded.issuer.lives = 1.0
    guarded.issuer.next_identity_token = "the-next-one"
    guarded.acts = {5: guarded.issuer.wait_until_all_ended}
    login = {"auth": basic("ann", ""), "identitytoken": "an-identity-token"}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {guarded.host: login}}))

    async with connect(guarded.proxy.url, ConnectOptions(authfile=str(tmp_path / "auth.json"))) as registry:
        found = await crawl(registry)

    assert found.inventory.tag_count == TAGS
    sent = [asked.fields["refresh_token"][0] for asked in guarded.issuer.asked]
    assert sent[0] == "an-identity-token"
    assert set(sent[1:]) == {"the-next-one"}


@pytest.fixture
def keychain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output of the credential helper `file`; it is on PATH, and Docker's configuration names it."""
    path = tmp_path / "keychain"
    program = tmp_path / "bin" / "docker-credential-file"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text('{"credsStore": "file"}')
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("KEYCHAIN", str(path))
    return path


def keep(keychain: Path, password: str) -> None:
    keychain.write_text(json.dumps({"Username": "ann", "Secret": password}))


def times_asked(keychain: Path) -> int:
    return len(keychain.with_name("keychain.asked").read_text().split())


async def test_a_password_that_changes_while_tokens_are_fetched(guarded: Guarded, keychain: Path) -> None:
    guarded.issuer.lives = 1.0
    keep(keychain, "pässword")

    def rotate() -> None:
        guarded.issuer.users["ann"] = "another"
        keep(keychain, "another")
        guarded.issuer.wait_until_all_ended()

    guarded.acts = {5: rotate}
    async with connect(guarded.proxy.url, ConnectOptions(concurrency=4)) as registry:
        found = await crawl(registry)

    assert found.inventory.tag_count == TAGS
    assert times_asked(keychain) == 2


@pytest.mark.parametrize("helped", [True, False])
async def test_a_password_that_changes_under_basic(keychain: Path, *, helped: bool) -> None:
    """With a helper that has the new password, and with one that still has the old one."""
    accepted = [basic("ann", "first")]
    keep(keychain, "first")
    number = 0

    def before(request: Request) -> Answer | None:
        nonlocal number
        number += "/manifests/" in request.path
        if number == 5:
            accepted[0] = basic("ann", "second")
            if helped:
                keep(keychain, "second")
        if request.headers.get("authorization") != f"Basic {accepted[0]}":
            return Answer(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
        return None

    with MemoryServer() as memory, Pusher(memory.url) as pusher, Proxy(memory.port, before=before) as proxy:
        for tag in range(TAGS):
            pusher.push_image("r", f"1.{tag}", seed=str(tag))
        async with connect(proxy.url, ConnectOptions(concurrency=8)) as registry:
            if helped:
                assert (await crawl(registry)).inventory.tag_count == TAGS
            else:
                with pytest.raises(LoginError, match="'ann' was not accepted"):
                    await crawl(registry)
    assert times_asked(keychain) == 2


async def test_a_token_with_less_than_the_requested_scope(guarded: Guarded, tmp_path: Path) -> None:
    """A denied repository is reported, and the others are read. A removal ends before anything is sent."""
    push(guarded, "private/x", ["1.0"])
    guarded.issuer.may = {("ann", "private/"): "nothing", ("ann", "r"): "pull"}

    found = await crawled(guarded.proxy.url)

    assert found.inventory.repositories == [Repository("r")] or list(found.inventory.repositories) == ["r"]
    assert [type(error) for error in found.failed.values()] == [DeniedError]
    assert "'ann' has no right" in next(iter(found.failed.values())).message
    arguments = ["-reg", guarded.proxy.url, "-u", "ann", "-p", "pässword", "-c", "None", "--state-dir", str(tmp_path)]
    removal = dregutil(tmp_path, *arguments, "remove-tags", "-r", "r", "-t", "1.0", "-y", "--ignore-other-repos")
    assert removal.returncode == 4
    assert "'ann' has no right" in removal.stderr
    token = guarded.issuer.sign("reg", ("repository:r:pull",), "root")
    with Pusher(guarded.url, {"Authorization": f"Bearer {token}"}) as pusher:
        assert len(pusher.tags("r")) == TAGS


# --- one login for each namespace


async def test_each_repository_is_accessed_with_the_login_of_its_namespace(guarded: Guarded, tmp_path: Path) -> None:
    guarded.issuer.users |= {"bob": "b0b", "carol": "c4rol"}
    for name in ("team/a/app", "team/app", "other/app"):
        push(guarded, name, ["1.0"])
    logins = {
        guarded.host: {"auth": basic("ann", "pässword")},
        f"{guarded.host}/team": {"auth": basic("bob", "b0b")},
        f"{guarded.host}/team/a": {"auth": basic("carol", "c4rol")},
    }
    (tmp_path / "auth.json").write_text(json.dumps({"auths": logins}))

    async with connect(guarded.proxy.url, ConnectOptions(authfile=str(tmp_path / "auth.json"))) as registry:
        found = await crawl(registry)
        assert {path: login.user for path, login in registry.scoped_logins.items()} == {
            "team/a": "carol",
            "team": "bob",
        }

    assert found.inventory.tag_count == TAGS + 3
    who = {scope: asked.user for asked in guarded.issuer.asked for scope in asked.scopes}
    assert who == {
        "registry:catalog:*": "ann",
        "repository:r:pull": "ann",
        "repository:other/app:pull": "ann",
        "repository:team/app:pull": "bob",
        "repository:team/a/app:pull": "carol",
    }


def test_doctor_shows_every_login_and_no_secret(guarded: Guarded, tmp_path: Path) -> None:
    guarded.issuer.users["bob"] = "b0b-s3cret"
    logins = {
        guarded.host: {"auth": basic("ann", "pässword")},
        f"{guarded.host}/team": {"auth": basic("bob", "b0b-s3cret")},
    }
    (tmp_path / "auth.json").write_text(json.dumps({"auths": logins}))

    found = dregutil(tmp_path, "-reg", guarded.proxy.url, "--authfile", "auth.json", "doctor")

    assert found.returncode == 0, found.stderr
    lines = {line.partition("  ")[0]: line for line in found.stdout.splitlines()}
    assert "ann, from ~/auth.json (auths), Bearer" in lines["login"] or "ann, from auth.json" in lines["login"]
    assert "bob, from" in lines["login for team"]
    shown = found.stdout + found.stderr
    assert not any(secret in shown for secret in ("pässword", "b0b-s3cret", basic("ann", "pässword")))


@pytest.mark.parametrize(
    ("keys", "repository", "user"),
    [
        (["h.example", "h.example/a", "h.example/a/b"], "a/b/c", "h.example/a/b"),
        (["h.example", "h.example/a", "h.example/a/b"], "a/b", "h.example/a/b"),
        (["h.example", "h.example/a", "h.example/a/b"], "a/bc", "h.example/a"),
        (["h.example", "h.example/a"], "ab", "h.example"),
        (["h.example/a"], "b", None),
        (["h.example/a"], "", "h.example/a"),
        (["https://h.example/v1/", "h.example/a"], "v1/x", "https://h.example/v1/"),
    ],
)
def test_the_login_with_the_longest_path_is_used(
    tmp_path: Path, keys: list[str], repository: str, user: str | None
) -> None:
    auths = {key: {"username": key, "password": "x"} for key in keys}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))

    places = CredentialPlaces({"HOME": str(tmp_path)}, authfile=str(tmp_path / "auth.json"))
    found = find_credentials(RegistryAddress.parse("h.example"), places, repository=repository)

    assert (found.user if found is not None else None) == user


# --- the order of the places


def test_flags_come_first_then_the_named_file_then_the_environment(guarded: Guarded, tmp_path: Path) -> None:
    guarded.issuer.users |= dict.fromkeys(("flag", "authfile", "environment", "variable", "docker"), "pw")

    def config(user: str) -> str:
        return json.dumps({"auths": {guarded.host: {"auth": basic(user, "pw")}}})

    (tmp_path / "auth.json").write_text(config("authfile"))
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(config("docker"))
    (tmp_path / "secret").write_text("pw\n")
    arguments: list[str] = []
    env: dict[str, str] = {}
    steps: list[tuple[str, list[str], dict[str, str]]] = [
        ("docker", [], {}),
        ("variable", [], {"DOCKER_AUTH_CONFIG": config("variable")}),
        ("environment", [], {"REGISTRY_USER": "environment", "REGISTRY_PASSWORD": "pw"}),
        ("authfile", ["--authfile", "auth.json"], {}),
        ("flag", ["-u", "flag", "-p", "pw"], {}),
    ]
    for user, more, variables in steps:
        arguments += more
        env |= variables
        found = dregutil(tmp_path, "-reg", guarded.proxy.url, *arguments, "doctor", **env)
        assert found.returncode == 0, found.stderr
        assert f"login          {user}, from" in found.stdout or f"{user}, from" in found.stdout
        assert {asked.user for asked in guarded.issuer.asked} == {user}
        guarded.issuer.asked.clear()


def test_after_an_authfile_of_another_registry_the_next_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text('{"auths": {"elsewhere.example": {"auth": "YTpi"}}}')
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"h.example": {"auth": basic("ann", "x")}}}))

    places = CredentialPlaces({"DOCKER_CONFIG": str(tmp_path)}, authfile=str(tmp_path / "auth.json"))
    found = find_credentials(RegistryAddress.parse("h.example"), places)

    assert found is not None
    assert found.user == "ann"


# --- certificates


def test_certificates_in_the_folders_of_docker_and_podman(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = authority.issue_cert("me@example.com")
    tls = f"  tls: {{certificate: {pem}, key: {pem}, clientcas: [{tmp_path / 'ca.pem'}]}}"
    with DistributionServer(tmp_path / "registry", http=tls) as server:
        folder = tmp_path / ".config" / "containers" / "certs.d" / server.host
        folder.mkdir(parents=True)
        assert dregutil(tmp_path, "-reg", server.host, "doctor").returncode == 6
        authority.cert_pem.write_to_path(folder / "ca.crt")
        assert dregutil(tmp_path, "-reg", server.host, "doctor").returncode == 6, "without the client's own"
        client.cert_chain_pems[0].write_to_path(folder / "me.cert")
        found = dregutil(tmp_path, "-reg", server.host, "doctor")
        assert (found.returncode, "me.key" in found.stderr) == (2, True)
        client.private_key_pem.write_to_path(folder / "me.key")
        found = dregutil(tmp_path, "-reg", server.host, "doctor")
        assert found.returncode == 0, found.stderr


def test_a_certificate_folder_has_the_port_in_its_name(tmp_path: Path) -> None:
    for name in ("h.example", "h.example:5000", "h.example:443"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.crt").touch()

    def found(address: str) -> set[str]:
        kept = certificates_of(RegistryAddress.parse(address), (tmp_path,))
        return {path.parent.name for path in kept.authorities}

    assert found("h.example") == found("h.example:443") == {"h.example", "h.example:443"}
    assert found("h.example:5000") == {"h.example:5000"}
    assert found("other.example") == set()


# --- where there is no catalog


@pytest.fixture
def closed() -> Iterator[tuple[str, Pusher]]:
    """A registry without a catalog, with `team/app` and `team/lib`."""

    def before(request: Request) -> Answer | None:
        return Answer(404, b"404 page not found") if request.path == "/v2/_catalog" else None

    with MemoryServer() as memory, Pusher(memory.url) as pusher, Proxy(memory.port, before=before) as proxy:
        pusher.push_image("team/app", "1.0", "1.1", seed="one")
        pusher.push_image("team/lib", "1.0", seed="one")
        yield proxy.url, pusher


def test_a_closed_catalog_names_the_workaround(closed: tuple[str, Pusher], tmp_path: Path) -> None:
    url, _ = closed
    for command in (["list-repo-names"], ["query-tags", "-r", "team/app", "-t", "1.0"], ["refresh"]):
        found = dregutil(tmp_path, "-reg", url, *command)
        assert found.returncode == 1
        assert "--repositories-from FILE" in found.stderr
    found = dregutil(tmp_path, "-reg", url, "doctor")
    assert found.returncode == 0
    assert "--repositories-from FILE" in found.stdout
    assert "deletion" in found.stdout


def test_repositories_from_a_file(closed: tuple[str, Pusher], tmp_path: Path) -> None:
    url, pusher = closed
    host = url.removeprefix("http://")
    (tmp_path / "names").write_text(f"# ours\nteam/app  # the app\n\n{host}/team/lib\nteam/app\nteam/absent\n")
    listed = ["-reg", url, "--repositories-from", "names"]

    assert dregutil(tmp_path, *listed, "list-repo-names").stdout == "team/app\nteam/lib\n"
    assert dregutil(tmp_path, *listed, "doctor").returncode == 0
    # The repositories in the file are the whole registry: the cache is kept, and other repositories hold a shared
    # digest.
    found = dregutil(tmp_path, "-reg", url, "query-tags", "-r", "team/app", "-t", "1.0", "1.1")
    assert found.returncode == 0
    assert "team/lib" in found.stderr
    found = dregutil(tmp_path, *listed, "remove-tags", "-r", "team/app", "-t", "1.0", "1.1", "-y")
    assert (found.returncode, found.stdout) == (0, "")
    assert pusher.tags("team/app").keys() == {"1.0", "1.1"}
    arguments = ["remove-tags", "-r", "team/app", "team/lib", "-t", "1.0", "1.1", "-y", "--yes-remove", "3"]
    found = dregutil(tmp_path, *listed, *arguments)
    assert found.returncode == 0, found.stderr
    assert pusher.tags("team/app") == pusher.tags("team/lib") == {}


def test_repositories_from_standard_input(closed: tuple[str, Pusher], tmp_path: Path) -> None:
    url, _ = closed
    command = [str(PROGRAM), "-reg", url, "-c", "None", "--repositories-from", "-", "list-repo-names"]
    found = subprocess.run(command, input="team/lib\n", cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "team/lib\n")
    found = subprocess.run(
        [*command, "-u", "me", "--password-stdin"],
        input="x\n",
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert "standard input cannot hold both" in found.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "names no repository"), ("# nothing\n", "names no repository"), ("a\nB:1\n", "names, line 2: not a rep")],
)
def test_a_file_that_names_no_repositories(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "names").write_text(text)
    found = dregutil(tmp_path, "-reg", "127.0.0.1:1", "--repositories-from", "names", "list-repo-names")
    assert found.returncode == 2
    assert said in found.stderr
    found = dregutil(tmp_path, "-reg", "127.0.0.1:1", "--repositories-from", "absent", "list-repo-names")
    assert found.returncode == 2
    assert "cannot be read" in found.stderr


# --- Docker Hub


def test_the_names_of_docker_hub_are_one_registry() -> None:
    names = ("docker.io", "index.docker.io", "https://registry-1.docker.io", "docker.io:443")
    addresses = [RegistryAddress.parse(name) for name in names]
    assert {address.base_url for address in addresses} == {"https://registry-1.docker.io"}
    assert {address.identity for address in addresses} == {"docker.io"}
    assert RegistryAddress.parse("docker.io").repository("alpine") == "library/alpine"
    assert RegistryAddress.parse("docker.io").repository("docker.io/grafana/grafana") == "grafana/grafana"
    assert RegistryAddress.parse("h.example").repository("alpine") == "alpine"
