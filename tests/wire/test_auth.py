"""What is sent as Authorization, and what never is: the challenges of one registry, against scripted token servers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import traceback
from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import DeniedError, DregutilError, LoginError, ProtocolError, ThrottledError, UnreachableError
from dregutil.registry.auth.authenticator import Authenticator, TokenRequest
from dregutil.registry.auth.bearer import BearerTokens
from dregutil.registry.auth.challenge import Challenge, parse_challenges
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.auth.digest_auth import DigestSession, choose_digest_challenge
from dregutil.registry.auth.realm import check_realm

BASE = "https://registry.example.com"
REALM = "https://auth.example.com/token"
SECRET = "s3cr3t-pässword"
ANN = Credentials("ann", SECRET)
PULL = ("repository:a/b:pull",)
BASIC_ANN = f"Basic {base64.b64encode(f'ann:{SECRET}'.encode()).decode()}"


def bearer(scope: str = PULL[0], *, realm: str = REALM, error: str = "") -> list[str]:
    more = f',error="{error}"' if error else ""
    return [f'Bearer realm="{realm}",service="the registry",scope="{scope}"{more}']


class TokenServer:
    """Returns tokens t1, t2, … and records its requests. `gate` delays the answers until it is set."""

    def __init__(self, *answers: tuple[int, object], expires_in: object = 300) -> None:
        self.requests: list[TokenRequest] = []
        self.answers = list(answers)
        self.expires_in = expires_in
        self.asked = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: TokenRequest) -> tuple[int, bytes]:
        self.requests.append(request)
        self.asked.release()
        await self.gate.wait()
        if self.answers:
            status, answer = self.answers.pop(0)
            return status, answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return 200, json.dumps({"token": f"t{len(self.requests)}", "expires_in": self.expires_in}).encode()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def never(request: TokenRequest) -> tuple[int, bytes]:
    raise AssertionError(f"{request.url} was asked")


def known(auth: Authenticator, scopes: tuple[str, ...] = PULL, method: str = "GET", target: str = "/v2/") -> str | None:
    headers = auth.known_headers(method, target, scopes)
    return None if headers is None else headers.get("Authorization", "")


# --- Basic


async def test_basic_is_sent_only_after_a_challenge() -> None:
    auth = Authenticator(BASE, ANN)
    assert known(auth) == ""
    assert auth.scheme_used == ""

    assert await auth.challenged(401, ['Basic realm="x"'], PULL, attempt=0, fetch=never, sent={})

    assert known(auth) == BASIC_ANN
    assert known(auth, ("repository:other:pull",)) == BASIC_ANN
    assert await auth.headers("GET", "/v2/", ()) == {"Authorization": BASIC_ANN}
    assert auth.scheme_used == "Basic"


async def test_a_refused_password_is_not_sent_again() -> None:
    auth = Authenticator(BASE, ANN)
    await auth.challenged(401, ["Basic realm=x"], PULL, attempt=0, fetch=never, sent={})

    sent = auth.known_headers("GET", "/v2/", PULL)

    assert not await auth.challenged(401, ["Basic realm=x"], PULL, attempt=0, fetch=never, sent=sent)
    assert not await auth.challenged(401, ["Basic realm=x"], PULL, attempt=1, fetch=never)


@pytest.mark.parametrize("challenges", [["Basic realm=x"], ["Digest realm=x, nonce=n"], ["Negotiate"], [], ["\x00"]])
async def test_an_anonymous_client_answers_only_bearer(challenges: list[str]) -> None:
    auth = Authenticator(BASE, None)

    assert not await auth.challenged(401, challenges, PULL, attempt=0, fetch=never)
    assert known(auth) == ""


async def test_tokens_are_not_passwords() -> None:
    for kind in ("identity_token", "bearer"):
        auth = Authenticator(BASE, Credentials("ann", "token", kind))

        assert not await auth.challenged(401, ["Basic realm=x"], PULL, attempt=0, fetch=never)


# --- which scheme


async def test_bearer_before_digest_before_basic() -> None:
    both = ["Basic realm=x", 'Digest realm="x", nonce="n", qop="auth"']
    auth = Authenticator(BASE, ANN)
    assert await auth.challenged(401, both, PULL, attempt=0, fetch=never)
    assert auth.scheme_used == "Digest"

    auth = Authenticator(BASE, ANN)
    assert await auth.challenged(401, [*both, *bearer()], PULL, attempt=0, fetch=TokenServer())
    assert auth.scheme_used == "Bearer"

    auth = Authenticator(BASE, ANN, digest_auth=True)
    assert await auth.challenged(401, [*both, *bearer()], PULL, attempt=0, fetch=never)
    assert auth.scheme_used == "Digest"


async def test_basic_is_never_sent_if_digest_is_required() -> None:
    auth = Authenticator(BASE, ANN, digest_auth=True)

    with pytest.raises(LoginError, match="no HTTP Digest") as caught:
        await auth.challenged(401, ["Basic realm=x"], PULL, attempt=0, fetch=never)

    assert "--digest-auth" in caught.value.advice
    assert known(auth) == ""


async def test_a_different_scheme_for_some_scopes_is_remembered_for_those() -> None:
    auth = Authenticator(BASE, ANN)
    catalog = ("registry:catalog:*",)
    await auth.challenged(401, bearer(), PULL, attempt=0, fetch=TokenServer())

    assert await auth.challenged(401, ["Basic realm=harbor"], catalog, attempt=0, fetch=never, sent={})

    assert known(auth, catalog) == BASIC_ANN
    assert known(auth) == "Bearer t1"
    assert auth.scheme_used == "Bearer"


# --- Bearer


async def test_a_token_request_has_the_parameters_of_the_challenge() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)

    assert await auth.challenged(401, bearer("repository:a/b:push,pull x"), PULL, attempt=0, fetch=server, sent={})

    (request,) = server.requests
    assert (request.method, request.url, request.form) == ("GET", REALM, None)
    assert request.params == [
        ("service", "the registry"),
        ("scope", "repository:a/b:push,pull"),
        ("scope", "x"),
        ("account", "ann"),
    ]
    assert request.headers == {"Authorization": BASIC_ANN}
    assert known(auth) == "Bearer t1"


async def test_an_anonymous_token_request_has_no_authorization() -> None:
    server, auth = TokenServer(), Authenticator(BASE, None)

    assert await auth.challenged(401, [f'Bearer realm="{REALM}"'], (), attempt=0, fetch=server)

    assert server.requests == [TokenRequest("GET", REALM, {}, None, [])]
    assert known(auth, ()) == "Bearer t1"


async def test_a_second_repository_needs_no_challenge() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)
    await auth.challenged(401, bearer(), PULL, attempt=0, fetch=server)
    other = ("repository:other:pull",)

    assert known(auth, other) is None
    assert await auth.headers("GET", "/v2/", other) == {}
    assert await auth.headers("GET", "/v2/", other, fetch=server) == {"Authorization": "Bearer t2"}
    assert known(auth, other) == "Bearer t2"
    assert ("scope", other[0]) in server.requests[1].params


async def test_the_challenged_scope_is_remembered() -> None:
    server, auth, delete = TokenServer(expires_in=1e-9), Authenticator(BASE, ANN), ("repository:a/b:pull,delete",)
    await auth.challenged(401, bearer("repository:a/b:push"), delete, attempt=0, fetch=server)

    await auth.headers("DELETE", "/v2/", delete, fetch=server)

    assert [("scope", "repository:a/b:push") in request.params for request in server.requests] == [True, True]


async def test_insufficient_scope_is_answered_once_more() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)
    await auth.challenged(401, bearer(), PULL, attempt=0, fetch=server, sent={})
    sent = auth.known_headers("GET", "/v2/", PULL)
    wider = bearer("repository:a/b:pull,delete", error="insufficient_scope")

    assert await auth.challenged(401, wider, PULL, attempt=1, fetch=server, sent=sent)
    assert known(auth) == "Bearer t2"

    sent = auth.known_headers("GET", "/v2/", PULL)
    assert not await auth.challenged(401, wider, PULL, attempt=1, fetch=server, sent=sent)
    assert not await auth.challenged(401, wider, PULL, attempt=2, fetch=server, sent=sent)
    assert len(server.requests) == 2


async def test_a_403_is_a_challenge_only_if_the_scope_is_insufficient() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)

    assert not await auth.challenged(403, bearer(), PULL, attempt=0, fetch=server)
    assert not await auth.challenged(404, bearer(error="insufficient_scope"), PULL, attempt=0, fetch=server)
    assert await auth.challenged(403, bearer(error="insufficient_scope"), PULL, attempt=0, fetch=server)


async def test_a_token_that_the_registry_no_longer_accepts_is_replaced_once() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)
    await auth.challenged(401, bearer(), PULL, attempt=0, fetch=server, sent={})
    sent = auth.known_headers("GET", "/v2/", PULL)

    refused = bearer(error="invalid_token")
    late = [auth.challenged(401, refused, PULL, attempt=0, fetch=server, sent=sent) for _ in range(2)]

    assert await asyncio.gather(*late) == [True, True]
    # A request refused after the new token has arrived does not fetch another.
    assert await auth.challenged(401, bearer(error="invalid_token"), PULL, attempt=0, fetch=server, sent=sent)
    assert len(server.requests) == 2
    assert not await auth.challenged(401, bearer(), PULL, attempt=1, fetch=server)


async def test_concurrent_requests_fetch_a_token_once() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)
    server.gate.clear()

    waiting = [
        asyncio.ensure_future(auth.challenged(401, bearer(), PULL, attempt=0, fetch=server, sent={}))
        for _ in range(200)
    ]
    other = asyncio.ensure_future(auth.challenged(401, bearer("other"), ("other",), attempt=0, fetch=server))
    await server.asked.acquire()
    await server.asked.acquire()
    server.gate.set()

    assert all(await asyncio.gather(*waiting, other))
    assert len(server.requests) == 2


async def test_a_cancelled_request_does_not_cancel_the_fetch_for_others() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)
    server.gate.clear()
    first, second = (
        asyncio.ensure_future(auth.challenged(401, bearer(), PULL, attempt=0, fetch=server)) for _ in range(2)
    )
    await server.asked.acquire()

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    server.gate.set()

    assert await second
    assert len(server.requests) == 1


async def test_the_fetch_ends_when_all_requests_are_cancelled() -> None:
    server, auth = TokenServer(), Authenticator(BASE, ANN)
    server.gate.clear()
    only = asyncio.ensure_future(auth.challenged(401, bearer(), PULL, attempt=0, fetch=server))
    await server.asked.acquire()

    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    if fetches := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(fetches)

    server.gate.set()
    assert await auth.challenged(401, bearer(), PULL, attempt=0, fetch=server)
    assert known(auth) == "Bearer t2"


@pytest.mark.parametrize(
    ("expires_in", "renew_after", "life"),
    [
        (300, 290, 300),
        (20, 16, 20),
        (None, 50, 60),
        ("90", 80, 90),
        (0, 50, 60),
        (-5, 50, 60),
        (True, 50, 60),
        ("soon", 50, 60),
        ([], 50, 60),
        (float("nan"), 50, 60),
        (float("inf"), 86390, 86400),
        (10**400, 50, 60),
    ],
)
async def test_when_a_token_is_renewed(expires_in: object, renew_after: float, life: float) -> None:
    server, clock = TokenServer(expires_in=expires_in), Clock()
    tokens = BearerTokens(BASE, ANN, clock=clock)
    await tokens.answer(parse_challenges(bearer())[0], PULL, attempt=0, fetch=server, sent="")

    clock.now += renew_after - 0.001
    assert tokens.fresh(PULL) == {"Authorization": "Bearer t1"}
    clock.now += 0.002
    assert tokens.fresh(PULL) is None
    assert await tokens.renewed(PULL, None) == {"Authorization": "Bearer t1"}
    clock.now += life - renew_after
    assert await tokens.renewed(PULL, None) == {}
    assert await tokens.renewed(PULL, server) == {"Authorization": "Bearer t2"}


async def test_a_renewal_may_fail_while_the_token_is_valid() -> None:
    server, clock = TokenServer(), Clock()
    tokens = BearerTokens(BASE, ANN, clock=clock)
    await tokens.answer(parse_challenges(bearer())[0], PULL, attempt=0, fetch=server, sent="")

    clock.now += 295
    server.answers = [(503, b""), (403, b"")]
    assert await tokens.renewed(PULL, server) == {"Authorization": "Bearer t1"}
    assert await tokens.renewed(PULL, server) == {"Authorization": "Bearer t1"}
    clock.now += 10
    server.answers = [(503, b"")]
    with pytest.raises(UnreachableError):
        await tokens.renewed(PULL, server)


async def test_very_many_repositories_do_not_fill_the_memory() -> None:
    server = TokenServer()
    tokens = BearerTokens(BASE, ANN)
    await tokens.answer(parse_challenges(bearer())[0], PULL, attempt=0, fetch=server, sent="")

    for number in range(1500):
        await tokens.renewed((f"repository:{number}:pull",), server)

    assert len(tokens._tokens) == 1024
    assert tokens.fresh(("repository:1499:pull",)) == {"Authorization": "Bearer t1501"}
    assert tokens.fresh(PULL) is None


async def test_a_registry_token_is_sent_unchanged() -> None:
    auth = Authenticator(BASE, Credentials("", "eyJ.a.b", "bearer"))
    assert known(auth) == ""

    assert await auth.challenged(401, ["Bearer"], PULL, attempt=0, fetch=never, sent={})

    assert known(auth) == "Bearer eyJ.a.b"
    sent = auth.known_headers("GET", "/", PULL)
    assert not await auth.challenged(401, bearer(error="invalid_token"), PULL, attempt=0, fetch=never, sent=sent)


# --- identity tokens


async def test_an_identity_token_is_posted() -> None:
    server = TokenServer((200, {"access_token": "a", "refresh_token": "r"}))
    auth = Authenticator(BASE, Credentials("", "refresh-me", "identity_token"))

    assert await auth.challenged(401, bearer("a b"), PULL, attempt=0, fetch=server)

    (request,) = server.requests
    assert (request.method, request.url, request.params, request.headers) == ("POST", REALM, [], {})
    assert request.form == {
        "grant_type": "refresh_token",
        "service": "the registry",
        "client_id": "dregutil",
        "scope": "a b",
        "refresh_token": "refresh-me",
    }
    assert known(auth) == "Bearer a"


@pytest.mark.parametrize("status", [404, 405])
async def test_if_post_is_not_supported_an_identity_token_is_sent_with_get(status: int) -> None:
    server = TokenServer((status, b"no such page"))
    auth = Authenticator(BASE, Credentials("0-0", "refresh-me", "identity_token"))

    assert await auth.challenged(401, bearer(), PULL, attempt=0, fetch=server)

    assert [request.method for request in server.requests] == ["POST", "GET"]
    assert server.requests[1].headers == {"Authorization": f"Basic {base64.b64encode(b'0-0:refresh-me').decode()}"}


# --- what goes wrong


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, LoginError),
        (403, DeniedError),
        (400, LoginError),
        (404, ProtocolError),
        (302, ProtocolError),
        (429, ThrottledError),
        (500, UnreachableError),
        (503, UnreachableError),
    ],
)
async def test_a_token_server_that_returns_no_token(status: int, error: type[DregutilError]) -> None:
    auth = Authenticator(BASE, ANN)

    with pytest.raises(error) as caught:
        await auth.challenged(401, bearer(), PULL, attempt=0, fetch=TokenServer((status, SECRET.encode())))

    assert "auth.example.com" in caught.value.message
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caught.value.advice


async def test_a_wrong_password_is_sent_once_for_all_repositories() -> None:
    server, auth = TokenServer(*[(401, b"")] * 9), Authenticator(BASE, ANN)

    for scope in ("a", "b", "c"):
        with pytest.raises(LoginError, match=r"'ann' \(from flags\)"):
            await auth.challenged(401, bearer(scope), (scope,), attempt=0, fetch=server)

    assert len(server.requests) == 1


async def test_one_denied_repository_does_not_affect_the_next() -> None:
    server, auth = TokenServer((200, {"token": "x"}), (401, b"")), Authenticator(BASE, ANN)
    await auth.challenged(401, bearer(), PULL, attempt=0, fetch=server)
    with pytest.raises(LoginError):
        await auth.challenged(401, bearer("denied"), ("denied",), attempt=0, fetch=server)

    assert await auth.challenged(401, bearer("fine"), ("fine",), attempt=0, fetch=server)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"token": ""}',
        b'{"token": 7}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": "\\u00e9"}',
        b"\xff",
        b"[" * 100000,
        b'{"token": "x"}' + b" " * 2**20,
        b'{"token": 1' + b"0" * 9999,
    ],
)
async def test_an_answer_without_a_token(body: bytes) -> None:
    auth = Authenticator(BASE, ANN)

    with pytest.raises(ProtocolError, match=r"auth\.example\.com answered without a token"):
        await auth.challenged(401, bearer(), PULL, attempt=0, fetch=TokenServer((200, body)))


@pytest.mark.parametrize(
    ("base", "realm"),
    [
        (BASE, "https://auth.example.com/token?x=1"),
        (BASE, "https://registry.example.com:8443/token"),
        (BASE, "https://8.8.8.8/token"),
        (BASE, "https://[::ffff:8.8.8.8]/token"),
        (BASE, "https://[2606:4700::1111]:8443/token"),
        ("https://10.1.2.3:5000", "https://10.1.2.3/token"),
        ("http://10.1.2.3:5000", "http://10.1.2.3:5001/token"),
        ("http://localhost:5000", "http://127.0.0.1:5001/token"),
        ("http://registry.example.com", REALM),
        ("http://registry.example.com", "http://REGISTRY.example.com./token"),
    ],
)
async def test_a_realm_that_is_accepted(base: str, realm: str) -> None:
    server = TokenServer()

    assert await Authenticator(base, ANN).challenged(401, bearer(realm=realm), PULL, attempt=0, fetch=server)

    assert server.requests[0].url == realm


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example.com/token",
        "http://registry.example.com/token",
        "ftp://auth.example.com/",
        "//auth/",
        "/token",
        "https://",
        "https:auth",
        "token",
        "https://ann:pw@auth.example.com/",
        "https://a@b/",
        "https://a:b/",
        "https://a:1:2/",
        "https://auth.example.com\\@evil.net/",
        "https://a b/",
        "https://ａ.example/",
        "https://a:99999/",
        "https://[::1/",
        "https://10.0.0.1/t",
        "https://192.168.1.1/t",
        "https://169.254.169.254/latest",
        "https://127.0.0.1/t",
        "https://localhost/t",
        "https://x.localhost./t",
        "https://[::1]/t",
        "https://[fe80::1]/t",
        "https://[fc00::1]/t",
        "https://[::ffff:10.0.0.1]/t",
        "https://2130706433/t",
        "https://0x7f.1/t",
        "https://127.1/t",
        "https://0/t",
        "https://0251.0376.0251.0376/t",
        "https://10.0.0.1./t",
        "https://100.64.0.1/t",
        "https://239.1.1.1/t",
        "https://[ff02::1]/t",
        "https://%31%32%37.0.0.1/t",
    ],
)
@pytest.mark.parametrize("credentials", [ANN, None])
async def test_a_realm_that_is_refused(realm: str, credentials: Credentials | None) -> None:
    auth = Authenticator(BASE, credentials)

    with pytest.raises(LoginError, match="token server") as caught:
        await auth.challenged(401, bearer(realm=realm), PULL, attempt=0, fetch=never)

    assert "nothing was sent" in caught.value.advice
    assert known(auth) == ""


async def test_without_https_credentials_go_to_the_named_host_only() -> None:
    realm = "http://auth.example.com/token"
    with pytest.raises(LoginError, match="does not use https"):
        await Authenticator("http://r.example", ANN).challenged(401, bearer(realm=realm), (), attempt=0, fetch=never)

    server = TokenServer()
    assert await Authenticator("http://r.example", None).challenged(
        401, bearer(realm=realm), (), attempt=0, fetch=server
    )


@given(st.text(max_size=60) | st.builds("https://{}".format, st.text(max_size=40)))
def test_any_realm_is_accepted_or_refused(realm: str) -> None:
    try:
        taken = check_realm(realm, BASE, has_credentials=True)
    except LoginError:
        return
    assert re.match(r"https://[\w.\[\]:-]+(/|\?|#|\Z)", taken)


async def test_a_challenge_that_no_request_can_repeat() -> None:
    challenge = [f'Bearer realm="{REALM}",service="a\udcffb"']

    with pytest.raises(ProtocolError):
        await Authenticator(BASE, ANN).challenged(401, challenge, PULL, attempt=0, fetch=never)


async def test_nothing_reveals_a_secret() -> None:
    server = TokenServer()
    auth = Authenticator(BASE, ANN)
    await auth.challenged(401, bearer(), PULL, attempt=0, fetch=server)

    shown = "".join(map(repr, [auth, auth._tokens, *auth._tokens._tokens.values(), *server.requests]))

    assert SECRET not in shown
    assert BASIC_ANN[6:] not in shown
    assert "t1" not in shown


# --- Digest

MUFASA = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


def parameters(header: str) -> dict[str, str]:
    (challenge,) = parse_challenges([header])
    return dict(challenge.parameters)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616(algorithm: str, response: str) -> None:
    (challenge,) = parse_challenges([MUFASA.format(algorithm)])
    client_nonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    session = DigestSession(challenge, "Mufasa", "Circle of Life", make_client_nonce=lambda: client_nonce)

    answer = session.answer("GET", "/dir/index.html")

    assert parameters(answer) == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "nc": "00000001",
        "cnonce": client_nonce,
        "qop": "auth",
        "response": response,
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    }
    assert ", qop=auth, nc=00000001, " in answer


def test_the_example_of_rfc_2069_without_qop() -> None:
    (challenge,) = parse_challenges(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'])

    answer = parameters(DigestSession(challenge, "Mufasa", "CircleOfLife").answer("GET", "/dir/index.html"))

    # As corrected by the RFC's errata.
    assert answer["response"] == "1949323746fe6a43ef61f9606e7febea"
    assert not {"qop", "nc", "cnonce", "algorithm", "opaque"} & answer.keys()


@pytest.mark.parametrize(("algorithm", "name"), [("MD5-sess", "md5"), ("SHA-256-sess", "sha256")])
def test_a_session_key_is_computed_once_per_nonce(algorithm: str, name: str) -> None:
    def digest(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    (challenge,) = parse_challenges([f'Digest realm="r", nonce="n", qop="auth", algorithm={algorithm}'])
    session = DigestSession(challenge, "ann", SECRET)
    first, second = (parameters(session.answer("HEAD", "/v2/?n=1")) for _ in range(2))

    key = digest(digest("ann", "r", SECRET), "n", first["cnonce"])
    for count, answer in (("00000001", first), ("00000002", second)):
        assert answer["response"] == digest(key, "n", count, answer["cnonce"], "auth", digest("HEAD", "/v2/?n=1"))
        assert answer["nc"] == count
    assert first["cnonce"] == second["cnonce"]


def test_the_strongest_supported_challenge_is_used() -> None:
    def chosen(*headers: str) -> str | None:
        challenge = choose_digest_challenge(parse_challenges(headers))
        return None if challenge is None else challenge.get("nonce")

    md5, sha = 'Digest realm="x", nonce="m", qop="auth"', 'Digest realm="x", nonce="s", algorithm=sha-256, qop=auth'
    assert chosen(md5, sha) == chosen(sha, md5) == "s"
    assert chosen(md5, 'Digest realm="x", nonce="t", algorithm=TIGER') == "m"
    assert chosen('Digest realm="x", nonce="i", qop="auth-int"') is None
    assert chosen('Digest realm="x"') is None
    assert chosen('Digest nonce="x"') is None
    assert chosen('Digest realm="x", nonce="a\r\nb"') is None


@pytest.mark.parametrize(
    ("charset", "field"), [(', charset="UTF-8"', "username*=UTF-8''%C3%A4nn%22,"), ("", 'username="änn\\"",')]
)
def test_a_user_name_with_other_than_ascii_characters(charset: str, field: str) -> None:
    (challenge,) = parse_challenges([f'Digest realm="r", nonce="n", qop="auth"{charset}'])

    assert field in DigestSession(challenge, 'änn"', "x").answer("GET", "/")
    assert unquote("%C3%A4nn%22") == 'änn"'


async def test_each_digest_request_has_its_own_count_and_target() -> None:
    auth = Authenticator(BASE, ANN)
    challenge = ['Digest realm="r", nonce="n1", qop="auth"']
    assert await auth.challenged(401, challenge, (), attempt=0, fetch=never, sent={})

    answers = [parameters(known(auth, target=f"/v2/_catalog?n={number}") or "") for number in range(200)]

    assert len({answer["nc"] for answer in answers}) == 200
    assert answers[7]["uri"] == "/v2/_catalog?n=7"
    assert {answer["nonce"] for answer in answers} == {"n1"}


async def test_requests_sent_before_a_challenge_share_the_first_nonce() -> None:
    auth = Authenticator(BASE, ANN)
    for nonce in ("n1", "n2"):
        challenge = [f'Digest realm="r", nonce="{nonce}", qop="auth"']
        assert await auth.challenged(401, challenge, (), attempt=0, fetch=never, sent={})

    assert parameters(known(auth) or "")["nonce"] == "n1"


async def test_a_stale_nonce_is_replaced_once_more() -> None:
    auth = Authenticator(BASE, ANN)
    await auth.challenged(401, ['Digest realm="r", nonce="n1", qop="auth"'], (), attempt=0, fetch=never, sent={})
    sent = auth.known_headers("GET", "/", ())
    stale = ['Digest realm="r", nonce="n2", qop="auth", stale=TRUE']

    assert await auth.challenged(401, stale, (), attempt=1, fetch=never, sent=sent)
    answer = parameters(known(auth) or "")
    assert (answer["nonce"], answer["nc"]) == ("n2", "00000001")
    assert not await auth.challenged(401, stale, (), attempt=2, fetch=never, sent=sent)


async def test_a_wrong_digest_password_ends_it() -> None:
    auth, challenge = Authenticator(BASE, ANN), ['Digest realm="r", nonce="n1", qop="auth"']
    await auth.challenged(401, challenge, (), attempt=0, fetch=never, sent={})

    sent = auth.known_headers("GET", "/", ())

    assert not await auth.challenged(401, challenge, (), attempt=1, fetch=never, sent=sent)


@given(
    st.lists(st.text(st.sampled_from('Bearr Digstlm="x,\\;:/.@ncqop\x00é') | st.characters(), max_size=150), max_size=3)
)
def test_no_challenge_causes_a_crash(headers: list[str]) -> None:
    said: list[str] = []

    async def all_of_them() -> None:
        for credentials in (ANN, None, replace(ANN, kind="identity_token"), Credentials("", "t", "bearer")):
            auth = Authenticator(BASE, credentials)
            try:
                await auth.challenged(401, headers, PULL, attempt=0, fetch=TokenServer())
            except DregutilError as error:
                said.append(error.message)
            known(auth)

    asyncio.run(all_of_them())
    assert SECRET not in "".join(said)


def test_a_challenge_knows_its_scopes() -> None:
    assert Challenge("bearer", {"scope": " b  a b "}).scopes == ("b", "a")
