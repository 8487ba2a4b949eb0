"""A server that is no registry, or has no catalog: every command says so, and points to the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dregutil.cli import run
from dregutil.cli.parser import COMMANDS
from images import Pusher
from servers.http import Answer, Endpoint, Request
from servers.memory import MemoryServer

HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<html><body>Welcome to nginx!</body></html>"
BASIC = {**HTML, "WWW-Authenticate": 'Basic realm="Jenkins"'}
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
POLICY = "version: 1\npolicies: [{name: p, repositories: [shop/web], keep: {last: 1}}]\n"
SHOP = "shop/web"
IMAGE = "shop/web:1.0"
DIGEST = f"sha256:{'0' * 64}"
OF_TAGS = ("-r", SHOP, "-t", "1.0")

# Every command that asks a registry; a new one belongs here.
ASKING: dict[str, list[tuple[str, ...]]] = {
    "ls": [(), (SHOP,)],
    "list-repo-names": [()],
    "list-tag-names": [(), (SHOP,)],
    "query-repos": [("-r", SHOP), ("-r", SHOP, "--ignore-other-repos")],
    "query-tags": [OF_TAGS, (*OF_TAGS, "--ignore-other-repos"), (*OF_TAGS, "--older-than", "1d")],
    "find": [(IMAGE,), ("sha256:abcdef012345",)],
    "inspect": [(IMAGE,)],
    "du": [(), (SHOP,)],
    "remove-tags": [OF_TAGS, (*OF_TAGS, "--ignore-other-repos"), (*OF_TAGS, "--dry-run"), (*OF_TAGS, "--untag")],
    "remove-repos": [("-r", SHOP), ("-r", SHOP, "--ignore-other-repos")],
    "remove-digests": [("-r", SHOP, DIGEST, "-y")],
    "cleanup": [("-f", "policy.yml", "-y"), ("-f", "policy.yml", "--dry-run")],
    "apply": [("plan.jsonl", "-y")],
    "policy": [("check", "policy.yml", "--against", "HOST")],
    "why": [(IMAGE, "-f", "policy.yml")],
    "hold": [(IMAGE,)],
    "undo": [("-y",), ("--dry-run",)],
    "doctor": [(), ("--quick",)],
    "refresh": [(), (SHOP,)],
    "pulls": [()],
    "report": [(), ("-f", "policy.yml", "--format", "md")],
}
# `collect` collects where no registry answers, too: it may be stopped.
NOT_ASKING = {"plan", "history", "config", "completion", "help", "listen", "serve", "collect", "store", "plans", "work"}
LINES = [(name, *arguments) for name, lines in ASKING.items() for arguments in lines]


class Server(Endpoint):
    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        super().__init__()
        self._answer = answer

    def answer(self, request: Request) -> Answer:
        return self._answer(request)


def a_registry_without_a_catalog(request: Request) -> Answer:
    if request.path == "/v2/":
        return Answer(200, b"{}", JSON | {"Docker-Distribution-Api-Version": "registry/2.0"})
    return Answer(404, b"404 page not found\n", PLAIN)


def a_login_page(request: Request) -> Answer:
    return Answer(200, PAGE, HTML) if request.path == "/login" else Answer(302, b"", {"Location": "/login"})


NO_REGISTRIES: dict[str, Callable[[Request], Answer]] = {
    "a page for everything": lambda _: Answer(200, PAGE, HTML),
    "a page for HTML errors": lambda _: Answer(404, PAGE, HTML),
    "no path": lambda _: Answer(404, b"404 page not found\n", PLAIN),
    "an API of its own": lambda _: Answer(404, b'{"detail": "Not Found"}', JSON),
    "a redirect to a login page": a_login_page,
}
WANT_LOGINS: dict[str, Callable[[Request], Answer]] = {
    "a web application with Basic": lambda _: Answer(401, PAGE, BASIC),
    "a web application that forbids": lambda _: Answer(403, PAGE, HTML),
}


@dataclass(frozen=True)
class Commands:
    """Commands in this process. `url` is the address of a registry that is gone; there are a plan and a run of it."""

    url: str
    port: int
    capsys: pytest.CaptureFixture[str]

    def run(self, line: tuple[str, ...]) -> tuple[int, str, str]:
        """The exit code, the output, and the errors after the command line."""
        words = [self.url if word == "HOST" else word for word in line]
        code = run(["-reg", self.url, "-c", "None", *words])
        shown = self.capsys.readouterr()
        return code, shown.out, f"$ {' '.join(line)}\n{shown.err}"

    @contextmanager
    def answered(self, answer: Callable[[Request], Answer]) -> Iterator[None]:
        """Another server at that address."""
        server = Server(answer)
        server.port = self.port
        with server:
            yield


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yml").write_text(POLICY)
    with MemoryServer() as registry:
        found = Commands(registry.url, registry.port, capsys)
        with Pusher(registry.url) as pusher:
            for tag in ("1.0", "1.1", "1.2"):
                pusher.push_image(SHOP, tag, seed=tag)
        assert found.run(("remove-tags", *OF_TAGS, "--plan-out", "plan.jsonl"))[0] == 0
        assert found.run(("remove-tags", "-r", SHOP, "-t", "1.1"))[0] == 0
    return found


def test_every_command_is_here() -> None:
    assert {*ASKING, *NOT_ASKING} == set(COMMANDS)


@pytest.mark.parametrize("kind", NO_REGISTRIES)
def test_no_registry_at_the_address(kind: str, commands: Commands) -> None:
    with commands.answered(NO_REGISTRIES[kind]):
        for line in LINES:
            code, out, errors = commands.run(line)
            assert code == 1, errors
            assert f"dregutil: no registry at {commands.url}: /v2/ answers with " in errors
            assert "check the address (-reg), its port and its path" in errors
            assert "log in" not in errors
            assert out == "" or line[0] == "doctor", errors


@pytest.mark.parametrize("kind", WANT_LOGINS)
def test_a_login_that_may_not_be_a_registrys(kind: str, commands: Commands) -> None:
    """A registry behind a proxy may answer like this, too."""
    with commands.answered(WANT_LOGINS[kind]):
        for line in LINES:
            code, out, errors = commands.run(line)
            assert code == 4, errors
            assert f"dregutil: no sign of a registry at {commands.url}: " in errors
            assert "check the address (-reg), its port and its path; if a registry is behind this" in errors
            assert out == "" or line[0] == "doctor", errors


def test_a_registry_without_a_catalog_is_reported_with_the_ways_around_it(commands: Commands) -> None:
    needless = ("inspect", "why", "doctor", "apply", "undo", "remove-digests", "hold")
    of_one = (("list-tag-names", SHOP), ("ls", SHOP), ("refresh", SHOP))
    with commands.answered(a_registry_without_a_catalog):
        for line in LINES:
            if {"--ignore-other-repos", "--untag"} & {*line} or line[0] in needless or line in of_one:
                continue
            code, _, errors = commands.run(line)
            assert code == 1, errors
            assert "dregutil: could not read the catalog: the registry has none (status 404)\n" in errors
            assert "--repositories-from FILE" in errors
            assert "--ignore-other-repos" in errors
            assert "login" not in errors


def test_v2_is_requested_only_if_the_first_answer_leaves_doubt(commands: Commands) -> None:
    paths: list[str] = []
    lists = [Answer(200, b'{"name": "shop/web", "tags": []}', PLAIN), Answer(404, b"404 page not found\n", PLAIN)]

    def registry(request: Request) -> Answer:
        paths.append(request.path)
        return Answer(200, b"{}", JSON) if request.path == "/v2/" else lists[0]

    with commands.answered(registry):
        commands.run(("list-tag-names", SHOP))
        assert "/v2/" not in paths
        lists.pop(0)
        assert "status 404" in commands.run(("list-tag-names", SHOP, "base/images"))[2]
        assert paths.count("/v2/") == 1
