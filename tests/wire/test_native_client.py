"""The client for a service's own API, and the other hosts to which a login may be sent."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dregutil.errors import (
    DeniedError,
    NoListingError,
    OutcomeUnknownError,
    ProtocolError,
    RegistryError,
    UnlistableError,
)
from dregutil.oci.api_address import ApiAddress
from dregutil.oci.names import RegistryAddress
from dregutil.registry.connect import ConnectOptions, _other_host
from dregutil.registry.http.transport import READING
from dregutil.registry.native.client import ApiClient, encoded
from dregutil.registry.native.hosts import other_host
from dregutil.registry.native.login import ApiLogin
from native_access import access_to
from servers.http import LOST, Answer, Endpoint, Request

SECRET = "a secret & more"


class Api(Endpoint):
    """`answers`: what it answers, in turn; the last one for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.answers: list[Callable[[Request], Answer] | Answer] = [said({})]

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return found(request) if callable(found) else found


def said(body: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as found:
        yield found


@asynccontextmanager
async def client(api: Api) -> AsyncIterator[ApiClient]:
    async with access_to(api.url, "ann", SECRET) as access:
        yield access.here("the API", access.basic())


def fits(name: str) -> str | None:
    return other_host(RegistryAddress.parse(name))


def test_a_login_goes_to_another_host_only_by_the_exact_name_of_the_registry() -> None:
    assert (
        fits("docker.io") == fits("registry-1.docker.io") == fits("https://index.docker.io") == "https://hub.docker.com"
    )
    assert fits("ghcr.io") == fits("GHCR.io") == fits("https://ghcr.io:443") == "https://api.github.com"
    ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    assert fits(ecr) == "https://api.ecr.eu-west-1.amazonaws.com"
    assert fits(f"{ecr}.cn") == "https://api.ecr.eu-west-1.amazonaws.com.cn"


@pytest.mark.parametrize(
    "name",
    [
        "http://ghcr.io",
        "ghcr.io:8443",
        "ghcr.io.example.com",
        "my-ghcr.io",
        "ghcr.io/mirror",
        "ghcrxio",
        "docker.io.example.com",
        "mirror.docker.io",
        "hub.docker.com",
        "api.github.com",
        "registry.example.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com",
        "12345.dkr.ecr.eu-west-1.amazonaws.com",
        "127.0.0.1:5000",
    ],
)
def test_no_other_name_has_another_host(name: str) -> None:
    assert fits(name) is None


@pytest.mark.parametrize("is_named", [False, True])
def test_the_certificate_of_another_host_is_always_verified(is_named: bool) -> None:
    """But not that of a host that the user named, with the same settings as the registry."""
    transports: list[Any] = []
    api = ApiAddress("https://nexus.example", "docker-hosted") if is_named else None
    options = ConnectOptions(verify=False, insecure=True, api=api)

    async def opened() -> ssl.SSLContext:
        base = "https://hub.docker.com" if api is None else api.base
        transport = _other_host(options, READING, transports, base, ApiLogin())
        found: ssl.SSLContext = transport._connections._session.connector._ssl  # type: ignore[union-attr]
        await transport.close()
        return found

    import asyncio

    context = asyncio.run(opened())
    assert context.verify_mode is (ssl.CERT_NONE if is_named else ssl.CERT_REQUIRED)
    assert context.check_hostname is not is_named
    assert len(transports) == 1  # to be closed with the others


async def test_a_question_is_posted_by_a_reader_and_repeated(api: Api) -> None:
    api.answers = [Answer(503, headers={"Retry-After": "0"}), LOST, said({"found": 1})]

    async with client(api) as found:
        document, _ = await found.query("/graphql", b"{}", headers={"Content-Type": "application/json"})

    assert document == {"found": 1}
    assert [request.method for request in api.requests] == ["POST"] * 3
    assert api.requests[0].headers["authorization"].startswith("Basic ")


async def test_a_reader_cannot_change_anything(api: Api) -> None:
    async with client(api) as found:
        with pytest.raises(ProtocolError, match="this client sends no DELETE"):
            await found.change("DELETE", "/tags/1.0")

    assert api.requests == []


@pytest.mark.parametrize("answer", [LOST, Answer(500), Answer(503)])
async def test_a_change_is_sent_once_and_its_outcome_may_not_be_known(api: Api, answer: Answer) -> None:
    api.answers = [answer]

    async with client(api) as found:
        with pytest.raises(OutcomeUnknownError):
            await found.writing().change("DELETE", "/tags/1.0")

    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_says_why_without_any_secret(api: Api, status: int) -> None:
    """A server may repeat what it was sent."""
    api.answers = [lambda request: said({"message": f"not for {SECRET}: {request.headers['authorization']}"}, status)]

    async with client(api) as found:
        with pytest.raises(NoListingError) as refused:
            await found.get("/tags")
        answer = await found.writing().change("DELETE", "/tags/1.0")
        text = str(found.refused(answer, "delete the tag 1.0"))

    for shown in (refused.value.message, text):
        assert SECRET not in shown
        assert "not for …" in shown
        assert api.requests[0].headers["authorization"].partition(" ")[2] not in shown
    assert f"status {status}" in refused.value.message


async def test_a_refused_change_is_an_error_of_its_kind(api: Api) -> None:
    async with client(api) as found:
        for status, kind in ((403, DeniedError), (409, RegistryError)):
            api.answers = [Answer(status)]
            answer = await found.writing().change("DELETE", "/tags/1.0")
            assert isinstance(found.refused(answer, "delete the tag 1.0"), kind)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[" * 100_000])
async def test_what_is_no_json_is_no_listing(api: Api, body: bytes) -> None:
    api.answers = [Answer(200, body)]

    async with client(api) as found:
        with pytest.raises(NoListingError, match="its answer is not JSON"):
            await found.get("/tags")


async def test_names_are_sent_exactly_as_they_are_encoded(api: Api) -> None:
    async with client(api) as found:
        await found.get(f"/p/{encoded('a/b c', times=2)}/{encoded('1+2:3')}", {"q": "a&b=*", "n": 2})

    assert api.requests[0].target == "/p/a%252Fb%2520c/1%2B2%3A3?q=a%26b%3D%2A&n=2"


async def test_pages_are_followed_by_their_links_and_to_no_other_host(api: Api) -> None:
    api.answers = [
        said([1], Link='</tags?page=2>; rel="next"'),
        said([2], Link='<http://example.com/tags>; rel="next"'),
    ]

    async with client(api) as found:
        pages = found.linked("/tags", names=lambda page: page)
        assert [await anext(pages), await anext(pages)] == [[1], [2]]
        with pytest.raises(UnlistableError, match="at another address"):
            await anext(pages)

    assert len(api.requests) == 2


async def test_a_list_that_never_ends_is_given_up(api: Api) -> None:
    async with client(api) as found:
        api.answers = [said([1], Link='</tags>; rel="next"')]
        with pytest.raises(UnlistableError):
            [page async for page in found.linked("/tags", names=lambda page: page)]

        async def ask(token: str) -> Any:
            return {"token": "more" if token == "" else "and more" if token == "more" else "more"}

        with pytest.raises(UnlistableError, match="does not end"):
            [page async for page in found.continued(ask, lambda page: page["token"])]


async def test_numbered_pages_come_in_their_order(api: Api) -> None:
    api.answers = [lambda request: said(int(request.query["page"]))]

    async with client(api) as found:

        async def ask(number: int) -> Any:
            return (await found.get("/tags", {"page": number}))[0]

        assert await found.numbered(ask, range(2, 40)) == [*range(2, 40)]


async def test_a_login_is_fetched_once_and_again_after_a_refusal() -> None:
    tokens = iter(("one", "two"))

    async def log_in(_: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}-token"}

    async def fetch(_: Any) -> tuple[int, bytes]:
        raise AssertionError

    login = ApiLogin(log_in=log_in)
    first = await login.headers("GET", "/", (), fetch=fetch)
    assert await login.headers("GET", "/", (), fetch=fetch) == first == {"Authorization": "Bearer one-token"}
    assert await login.challenged(401, [], (), attempt=0, fetch=fetch, sent=first)
    assert (await login.headers("GET", "/", (), fetch=fetch))["Authorization"] == "Bearer two-token"
    assert not await login.challenged(401, [], (), attempt=1, fetch=fetch, sent=first)
    assert login.redacted("one-token and two-token") == "… and …"
