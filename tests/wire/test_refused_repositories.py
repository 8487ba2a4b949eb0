"""One repository that refuses a login is named and skipped; a login that nothing accepts ends the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.real import OlaregServer
from servers.tokens import TokenIssuer

REFUSED = {
    "401": Answer(
        401, b"{}", {"WWW-Authenticate": 'Basic realm="x"', "Docker-Distribution-Api-Version": "registry/2.0"}
    ),
    "403": Answer(403, b'{"errors": [{"code": "DENIED", "message": "not yours"}]}'),
}
LISTING = (
    ("list-tag-names",),
    ("ls",),
    ("ls", "--older-than", "1d"),
    ("du",),
    ("doctor",),
    ("refresh",),
    ("query-tags", "-r", "open", "secret", "-t", "1.0"),
    ("find", "open:1.0"),
)


@pytest.fixture
def two(registry_server: DistributionServer) -> DistributionServer:
    with Pusher(registry_server.url) as pusher:
        for name in ("open", "secret"):
            pusher.push_image(name, "1.0", seed=name)
    return registry_server


@pytest.mark.parametrize("login", [(), ("-u", "ann", "-p", "right")])
@pytest.mark.parametrize("status", REFUSED)
def test_a_repository_that_refuses_the_login_is_named_and_skipped(
    status: str, login: tuple[str, ...], two: DistributionServer, tmp_path: Path
) -> None:
    def refuse(request: Request) -> Answer | None:
        return REFUSED[status] if request.path.startswith("/v2/secret/") else None

    with Proxy(two.port, before=refuse) as proxy:
        program = Program(proxy.url, tmp_path)
        for arguments in LISTING:
            done = program.run(*login, *arguments)
            assert done.returncode == 3, (arguments, done.stderr)
            assert "secret" in (done.stdout if arguments == ("doctor",) else done.stderr)
            assert "secret  1.0" not in done.stdout
        assert program.run(*login, "list-tag-names").stdout == "open  1.0\n"
        assert program.run(*login, "inspect", "secret:1.0").returncode == 4


@pytest.mark.parametrize("status", REFUSED)
def test_manifests_that_refuse_the_login_are_named(status: str, two: DistributionServer, tmp_path: Path) -> None:
    """The tags of the repository are listed; its manifests can be looked for, and not read."""

    def refuse(request: Request) -> Answer | None:
        is_manifest = request.path.startswith("/v2/secret/manifests/")
        return REFUSED[status] if request.method == "GET" and is_manifest else None

    with Proxy(two.port, before=refuse) as proxy:
        program = Program(proxy.url, tmp_path)
        done = program.run("du", "--format", "json")
        assert done.returncode == 3, done.stderr
        assert "secret" in done.stderr
        *rows, _ = json.loads(done.stdout)
        assert [row["size"] > 0 for row in rows if row["repository"] == "open"] == [True]
        assert program.run("ls", "--older-than", "1d").returncode == 3


@pytest.mark.parametrize("login", [(), ("-u", "ann", "-p", "wrong")])
def test_a_login_that_nothing_accepts_is_tried_a_few_times_only(
    login: tuple[str, ...], two: DistributionServer, tmp_path: Path
) -> None:
    """The catalog is open, as on some registries: 300 repositories, and none accepts the login."""
    requests: list[str] = []
    names = [f"secret/{number}" for number in range(300)]

    def refuse(request: Request) -> Answer | None:
        if request.path == "/v2/_catalog":
            return Answer(200, json.dumps({"repositories": names}).encode(), {"Content-Type": "application/json"})
        requests.append(request.path)
        return REFUSED["401"]

    with Proxy(two.port, before=refuse) as proxy:
        done = Program(proxy.url, tmp_path).run(*login, "list-tag-names", "--format", "json")
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert len(requests) < 60


@pytest.mark.parametrize("names", [("secret",), ("secret", "open")])
def test_repositories_that_all_refuse_the_login(
    names: tuple[str, ...], two: DistributionServer, tmp_path: Path
) -> None:
    """`/v2/` needs no login; what was asked for does."""
    with Proxy(two.port, before=lambda request: REFUSED["401"] if request.path != "/v2/" else None) as proxy:
        done = Program(proxy.url, tmp_path).run("list-tag-names", *names)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr


@pytest.fixture
def guarded_by_tokens(tmp_path: Path) -> Iterator[tuple[Program, DistributionServer]]:
    with TokenIssuer() as tokens:
        server = DistributionServer(tmp_path / "registry", auth=tokens.configuration(tmp_path / "ca"))
        with server:
            token = tokens.sign("reg", ("repository:r:pull,push",))
            with Pusher(server.url, {"Authorization": f"Bearer {token}"}) as pusher:
                pusher.push_image("r", "1.0", seed="one")
            yield Program(server.url, tmp_path), server


def test_a_wrong_password_for_a_token_says_nothing_about_tags(
    guarded_by_tokens: tuple[Program, DistributionServer],
) -> None:
    program, _ = guarded_by_tokens
    commands = (
        ("inspect", "r:1.0"),
        ("inspect", "--raw", "r:1.0"),
        ("inspect", "--raw-config", "r:9.9"),
        ("find", "r:1.0"),
        ("remove-tags", "-r", "r", "-t", "1.0"),
        ("remove-tags", "-r", "r", "-t", "9.9", "--ignore-other-repos"),
        ("list-tag-names", "r"),
        ("ls", "r"),
        ("du",),
        ("query-tags", "-r", "r", "-t", "9.9"),
        ("refresh",),
        ("doctor",),
    )
    for arguments in commands:
        done = program.run("-u", "ann", "-p", "wrong", *arguments)
        assert done.returncode == 4, (arguments, done.stderr)
        assert "did not accept the login 'ann'" in done.stderr
        for claim in ("there is no", "no tag", "does not exist", "did you mean", "did not ask for"):
            assert claim not in done.stdout + done.stderr, arguments
    assert program.run("-u", "ann", "-p", "pässword", "inspect", "r:1.0").returncode == 0


def test_a_registry_without_a_catalog_is_no_matter_of_logins(tmp_path: Path) -> None:
    """olareg has no catalog."""
    with OlaregServer(tmp_path / "olareg") as server:
        with Pusher(server.url) as pusher:
            pusher.push_image("r", "1.0", seed="one")
        program = Program(server.url, tmp_path)
        for login in ((), ("-u", "ann", "-p", "any")):
            for arguments in (("list-repo-names",), ("du",), ("refresh",), ("query-tags", "-r", "r", "-t", "1.0")):
                done = program.run(*login, *arguments)
                assert (done.returncode, done.stdout) == (1, ""), done.stderr
                assert "dregutil: could not read the catalog: the registry has none (status 404)\n" in done.stderr
                assert "--repositories-from FILE" in done.stderr
                assert "login" not in done.stderr
        done = program.run("doctor")
        assert "catalog        none; write the names of the repositories into a file" in done.stdout
        (tmp_path / "names").write_text("r\n")
        assert program.run("--repositories-from", "names", "list-repo-names").stdout == "r\n"
