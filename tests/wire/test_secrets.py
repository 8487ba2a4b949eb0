"""No secret is ever shown or stored: every kind of login, at `-l debug`, with servers that echo everything.

The test searches standard output, standard error and every written file (cache, records of runs, state, plans), for the
plain secret and for its encodings in URLs, forms, JSON and HTTP Basic.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_servers import dregutil

from dregutil.registry.auth.authenticator import Authenticator
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.keyring import Keyring
from images import Pusher
from servers.http import LOST, Answer, Endpoint, Proxy, Request
from servers.memory import MemoryServer

SECRET = "s3cr3t+Pa55/w0rd&ä=1"
ASCII = "s3cr3t+Pa55/w0rd-1="  # of tokens
TOKEN = "a-t0ken.that/was+given~out="
SIGNATURE = "s1gnature0f-the-url"
HELPER = """#!/bin/sh
[ "$1" = get ] || exit 2
cat >/dev/null
cat "$KEYCHAIN"
"""
COMMANDS = (
    ["list-tag-names"],
    ["inspect", "shop/web:1.0"],
    ["doctor"],
    ["remove-tags", "-r", "shop/web", "-t", "1.0", "--plan-out", "plan.jsonl"],
    ["remove-tags", "-r", "shop/web", "-t", "1.0", "-y"],
    ["undo", "-y"],
)
FEW = COMMANDS[:2]


def forms(secret: str) -> set[str]:
    basic = base64.b64encode(f"me:{secret}".encode()).decode()
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], basic}


class Parrot(Proxy):
    """A registry with its token server that records everything that was sent, and echoes it in refusals.

    `scheme` is the one it requires. `refuses` selects the requests that it refuses, with its status.
    """

    def __init__(self, upstream: int, scheme: str, refuses: Callable[[Request], int], elsewhere: str) -> None:
        super().__init__(upstream, before=self._answer)
        self.scheme = scheme
        self.refuses = refuses
        self.elsewhere = elsewhere
        self.heard: list[str] = []

    def said(self) -> bytes:
        """Everything so far, as messages, codes and details; once truncated in the middle of a secret."""
        words = list(dict.fromkeys(self.heard[-12:]))
        errors = [{"code": "UNKNOWN", "message": f"you sent {word}", "detail": {"sent": [word]}} for word in words]
        errors += [{"code": word, "message": "x" * (295 - len(word) // 2) + word} for word in words]
        return json.dumps({"errors": errors[:20]}).encode()

    def _answer(self, request: Request) -> Answer | None:
        body = request.body.decode("latin-1")
        authorization = request.headers.get("authorization", "")
        words = [authorization.partition(" ")[2], *body.split("&"), *request.target.partition("?")[2].split("&")]
        self.heard += [form for word in words if len(word) > 8 for form in (word, unquote_plus(word))]
        if request.path == "/token":
            if self.refuses(request):
                return Answer(self.refuses(request), self.said(), {"Content-Type": "application/json"})
            return Answer(200, json.dumps({"token": TOKEN, "expires_in": 300}).encode())
        if not authorization:
            challenge = f'Bearer realm="{self.url}/token",service="s"' if self.scheme == "Bearer" else 'Basic realm="r"'
            return Answer(401, b"", {"WWW-Authenticate": challenge})
        status = self.refuses(request)
        if status:
            word = authorization.partition(" ")[2]
            named = {"Docker-Content-Digest": word, "Content-Encoding": word} if status == 200 else {}
            kind = {"Content-Type": f"text/{word}" if status == 200 else "application/json"}
            return Answer(status, self.said(), {**kind, **named}) if status > 1 else LOST
        if request.method == "GET" and "/blobs/" in request.path:
            return Answer(307, b"", {"Location": f"{self.elsewhere}/{request.reference}?X-Amz-Signature={SIGNATURE}"})
        return None


class Store(Endpoint):
    """The blob store, with signed URLs; it refuses, and echoes the URL as object stores do."""

    def answer(self, request: Request) -> Answer:
        body = json.dumps({"errors": [{"code": "DENIED", "message": f"StringToSign: {request.target}"}]})
        return Answer(403, body.encode(), {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Way:
    """A kind of login: the scheme of the registry, the secret, and the files for it."""

    scheme: str
    secret: str
    write: Callable[[Path, str], dict[str, str]]


def helper(user: str, secret: str) -> Callable[[Path, str], dict[str, str]]:
    """A credential helper that returns them; its own files are not searched afterwards."""

    def write(folder: Path, _: str) -> dict[str, str]:
        program = folder / "bin" / "docker-credential-x"
        program.parent.mkdir()
        program.write_text(HELPER)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        (folder / "docker").mkdir()
        (folder / "docker" / "config.json").write_text('{"credsStore": "x"}')
        (folder / "bin" / "keychain").write_text(json.dumps({"Username": user, "Secret": secret}))
        return {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "DOCKER_CONFIG": str(folder / "docker"),
            "KEYCHAIN": str(folder / "bin" / "keychain"),
        }

    return write


def configured(entry: dict[str, str]) -> Callable[[Path, str], dict[str, str]]:
    def write(_: Path, host: str) -> dict[str, str]:
        return {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {host: entry}})}

    return write


def environment(_: Path, __: str) -> dict[str, str]:
    return {"REGISTRY_USER": "me", "REGISTRY_PASSWORD": SECRET}


WAYS = {
    "password from a helper": Way("Basic", SECRET, helper("me", SECRET)),
    "password for tokens": Way("Bearer", SECRET, environment),
    "identity token from a helper": Way("Bearer", ASCII, helper("<token>", ASCII)),
    "identity token": Way("Bearer", ASCII, configured({"auth": "bWU6", "identitytoken": ASCII})),
    "registry token": Way("Bearer", ASCII, configured({"registrytoken": ASCII})),
}


def _is_manifest(request: Request) -> bool:
    return "/manifests/" in request.path or "/tags/" in request.path


REFUSALS: dict[str, tuple[tuple[list[str], ...], Callable[[Request], int]]] = {
    "nothing": (COMMANDS, lambda _: 0),
    "writes": (COMMANDS[-2:], lambda request: 400 * (request.method not in ("GET", "HEAD") and _is_manifest(request))),
    "writes, in part": (COMMANDS[-2:-1], lambda request: 202 * (request.method == "DELETE")),
    "reads": (FEW, lambda request: 403 * _is_manifest(request)),
    "reads, with headers": (FEW, lambda request: 200 * _is_manifest(request)),
    "answers": (FEW, lambda request: int(_is_manifest(request))),
    "tokens": (FEW, lambda request: 400 * (request.path == "/token")),
}


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as found:
        yield found


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("name", WAYS)
def test_no_secret_is_shown_or_stored(name: str, refusal: str, store: Store, tmp_path: Path) -> None:
    way = WAYS[name]
    commands, refuses = REFUSALS[refusal]
    with MemoryServer() as memory, Pusher(memory.url) as pusher:
        pusher.push_image("shop/web", "1.0", seed="one")
        pusher.push_image("shop/web", "2.0", seed="two")
        with Parrot(memory.port, way.scheme, refuses, store.url) as server:
            (tmp_path / "login").mkdir()
            (tmp_path / "work").mkdir()
            env = way.write(tmp_path / "login", server.host)
            for command in commands:
                done = dregutil(tmp_path / "work", "-reg", server.url, "-l", "debug", "--timeout", "2", *command, **env)
                shown = done.stdout + done.stderr
                assert "Traceback" not in shown, command
                assert secrets_in(shown.encode(), way.secret) == [], command
            assert any(form in word for word in server.heard for form in forms(way.secret))
    for path in (tmp_path / "work").rglob("*"):
        if path.is_file():
            assert secrets_in(path.read_bytes(), way.secret) == [], path


def secrets_in(text: bytes, secret: str) -> list[str]:
    """The parts of the secret, the token and the signature in `text`; also a truncated one, if most of it is there."""
    spelled = {*forms(secret), *forms(TOKEN), SIGNATURE}
    return [form for form in spelled if form.encode() in text or form[: len(form) * 2 // 3].encode() in text]


SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL": quote,
    "URL, all": lambda secret: quote(secret, safe=""),
    "form": quote_plus,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON in UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "Basic": lambda secret: base64.b64encode(f"me:{secret}".encode()).decode(),
}


@pytest.mark.property
@given(
    secret=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=4, max_size=40),
    spelling=st.sampled_from(sorted(SPELLINGS)),
    around=st.text(st.sampled_from(" <>"), max_size=10),
)
def test_a_secret_is_redacted_in_any_encoding(secret: str, spelling: str, around: str) -> None:
    keyring = Keyring(Authenticator("https://r.example", Credentials("me", secret)))
    said = SPELLINGS[spelling](secret)
    found = keyring.redacted(f"{around}{said}{around}")
    assert said not in found or said.strip(" <>") == ""
    assert found.startswith(around) or secret[0] in " <>"
