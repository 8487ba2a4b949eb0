"""Who may ask `dregutil serve`, and what it never tells."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from dregutil.serve.answers import answer
from dregutil.serve.app import application
from dregutil.serve.endpoints import ENDPOINTS, Endpoint
from dregutil.serve.guard import HEADERS, Guard
from dregutil.serve.model import Failure
from dregutil.serve.patience import Patience
from dregutil.serve.people import Role, Roles
from serve_inside import BEHIND_PROXY, Inside, inside
from serving import Answered

API = "/api/v1"
SESSION = f"{API}/session"
ORDER = ["nobody", "viewer", "planner", "approver"]
PEOPLE = {"vera": Role.VIEWER, "paul": Role.PLANNER, "anna": Role.APPROVER, "eve": Role.NOBODY}


def check_refused(answered: Answered, status: int) -> None:
    """It is an error in the form of all errors, with the headers of all answers."""
    assert answered.status == status, answered
    assert answered.json.keys() == {"error", "advice"}
    assert answered.json["error"]
    check_headers(answered)


def check_headers(answered: Answered) -> None:
    for name, value in HEADERS.items():
        if name != "Cache-Control":
            assert answered.headers[name.lower()] == value
    assert "no-" in answered.headers["cache-control"]
    assert answered.headers["server"] == "dregutil"
    assert not [name for name in answered.headers if name.startswith("access-control-")], "no CORS"
    assert "Traceback" not in answered.body.decode()


async def test_the_token_is_exchanged_once_for_a_cookie_that_no_script_reads(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        with_token = server.address[server.address.index("/?") :]
        check_refused(await server.ask("GET", with_token), 401)
        again = await server.get(with_token)
        assert (again.status, again.headers["location"]) == (303, "/"), "the browser that has the cookie just goes on"
        assert set(again.headers["set-cookie"].split("; ")[1:]) == {"HttpOnly", "Path=/", "SameSite=Strict"}
        assert "token" not in again.headers["location"]
        found = await server.get(SESSION)
        assert found.json["user"] == "anna", found


@pytest.mark.parametrize("path", ["/?token=x", "/?token=", "/?token=é", "//evil.example.com/?token=x"])
async def test_a_wrong_token_gives_no_cookie_and_leaves_the_right_one(path: str, tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        answered = await server.ask("GET", path.replace("é", "%C3%A9"))
        check_refused(answered, 401)
        assert "set-cookie" not in answered.headers


async def test_the_exchange_leads_to_no_other_host(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        for path in ("//evil.example.com", "//evil.example.com/images", "/\\evil.example.com", "/x"):
            assert (await server.get(f"{path}?token=x")).headers["location"] == "/"
        assert (await server.get("/plans/abc?token=x")).headers["location"] == "/plans/abc"


@pytest.mark.parametrize("cookie", ["", "dregutil_{port}=", "dregutil_{port}=x", "dregutil_1={right}", "x={right}"])
async def test_without_the_cookie_nothing_is_shown(cookie: str, tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        right = server.cookie.partition("=")[2]
        headers = {"Cookie": cookie.format(port=server.port, right=right)} if cookie else {}
        for path in (SESSION, f"{API}/report", f"{API}/events", "/", "/static/serve.js", "/nothing", f"{API}/x"):
            check_refused(await server.ask("GET", path, headers), 401)
        assert (await server.ask("GET", "/healthz")).body == b"ok\n"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:{port}",
        "localhost.evil.example.com",
        "127.0.0.1.evil.example.com:{port}",
        "evil.example.com@127.0.0.1",
        "127.0.0.1:x",
        "127.0.0.1/../",
        "[::1",
        "0.0.0.0:{port}",
        "",
    ],
)
async def test_a_name_that_was_made_to_lead_here_gets_nothing(host: str, tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        headers = {"Host": host.format(port=server.port), "Cookie": server.cookie}
        check_refused(await server.ask("GET", SESSION, headers), 403)
        check_refused(await server.ask("GET", "/", headers), 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:1", "[::1]:{port}", "reg.example.com"])
async def test_the_names_of_the_server_are_answered(host: str, tmp_path: Path) -> None:
    async with inside(tmp_path, hosts=("Reg.example.com",)) as server:
        headers = {"Host": host.format(port=server.port), "Cookie": server.cookie}
        assert (await server.ask("GET", SESSION, headers)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://evil.example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:{port}"},
    ],
)
async def test_the_page_of_another_site_changes_nothing(headers: dict[str, str], tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        given = {name: value.format(port=server.port) for name, value in headers.items()}
        given |= {"Cookie": server.cookie, "Content-Type": "application/json"}
        check_refused(await server.ask("POST", f"{API}/refresh", given, b"{}"), 403)
        assert server.site.jobs.all == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_form_of_another_site_can_send_is_refused(kind: str, tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        check_refused(await server.post(f"{API}/refresh", Content_Type=kind), 400)
        assert server.site.jobs.all == []


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://127.0.0.1:{port}"}])
async def test_the_servers_own_page_may_ask(headers: dict[str, str], tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        given = {name: value.format(port=server.port) for name, value in headers.items()}
        given |= {"Cookie": server.cookie, "Content-Type": "application/json"}
        assert (await server.ask("POST", f"{API}/refresh", given, b"{}")).status == 202


async def test_another_site_reads_nothing_of_the_api(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        for site in ("cross-site", "same-site"):
            check_refused(await server.get(SESSION, Sec_Fetch_Site=site), 403)
        assert (await server.get("/", Sec_Fetch_Site="cross-site")).status == 200, "a link to a page works"


async def test_the_header_of_the_proxy_is_believed_from_the_proxy_alone(tmp_path: Path) -> None:
    async with inside(tmp_path, **BEHIND_PROXY) as server:
        assert "token" not in server.address
        headers = {"X-User": "anna", "Host": "registry.example.com"}
        assert (await server.ask("GET", SESSION, headers)).json["user"] == "anna"
        check_refused(await server.ask("GET", SESSION, headers, source="127.0.0.2"), 403)
        forwarded = headers | {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
        check_refused(await server.ask("GET", SESSION, forwarded, source="127.0.0.2"), 403)


@pytest.mark.parametrize(
    "lines", ["", "X-User:\r\n", "X-User: anna\r\nX-User: eve\r\n", "X-User: eve\r\nx-user: anna\r\n"]
)
async def test_nobody_or_two_people_at_once_are_refused(lines: str, tmp_path: Path) -> None:
    async with inside(tmp_path, **BEHIND_PROXY) as server:
        text = await raw(server, f"GET {SESSION} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n")
        assert text.startswith("HTTP/1.1 401 "), text


async def test_a_cookie_is_worth_nothing_behind_a_proxy(tmp_path: Path) -> None:
    async with inside(tmp_path, **BEHIND_PROXY) as server:
        for cookie in (f"dregutil_{server.port}=", f"dregutil_{server.port}=x"):
            check_refused(await server.get(SESSION, Cookie=cookie), 401)
        assert (await server.get("/?token=", X_User="vera")).status == 200


def routes(server: Inside) -> list[tuple[str, str]]:
    """Each route of the application, as it was built."""
    built = application(server.site, Guard(server.site.options, Patience()))
    return sorted(
        (route.method, route.resource.canonical)
        for route in built.router.routes()
        if route.resource is not None and route.method != "HEAD"
    )


def row(method: str, path: str) -> Endpoint:
    assert (method, path) in ENDPOINTS, f"{method} {path} has no row in endpoints.py that says who may ask it"
    return ENDPOINTS[method, path]


async def test_each_role_may_do_what_its_row_says_and_no_more(tmp_path: Path) -> None:
    async with inside(tmp_path, **BEHIND_PROXY) as server:
        for method, path in routes(server):
            needed = row(method, path).role
            where = re.sub(r"\{\w+\}", "x", path)
            for name, role in PEOPLE.items():
                if role < needed:
                    answered = await ask(server, method, where, name)
                    check_refused(answered, 403)
                    assert f"the role {ORDER[needed]}" in answered.json["error"]
                elif path != f"{API}/events":
                    answered = await ask(server, method, where, name)
                    assert answered.status not in (401, 403), (method, path, name)
                    check_headers(answered)
                await ended(server)


async def ask(server: Inside, method: str, path: str, name: str) -> Answered:
    if method == "GET":
        return await server.get(path, X_User=name)
    return await server.post(path, X_User=name)


async def ended(server: Inside) -> None:
    for job in server.site.jobs.all:
        await server.site.jobs.ended(job)


async def test_who_may_not_carry_out_a_plan_may_not_stop_it(tmp_path: Path) -> None:
    async with inside(tmp_path, "import time; time.sleep(60)", **BEHIND_PROXY) as server:
        run = await server.site.jobs.start("apply", "a plan", "anna", ("apply",))
        read = (await server.post(f"{API}/refresh", X_User="paul")).json
        check_refused(await server.post(f"{API}/jobs/{run.id}/cancel", X_User="paul"), 403)
        assert (await server.post(f"{API}/jobs/{read['id']}/cancel", X_User="paul")).status == 200
        assert (await server.site.jobs.ended(server.site.jobs.get(read["id"]))).state == "failed"
        assert server.site.jobs.get(run.id).state == "running"
        assert (await server.post(f"{API}/jobs/{run.id}/cancel", X_User="anna")).status == 200
        assert (await server.site.jobs.ended(run)).state == "failed"


def test_what_is_not_shown_is_escaped_in_all_json() -> None:
    body = answer(Failure(error="\u202e\u200b\x1b", advice="é")).body
    assert body == b'{"error":"\\u202e\\u200b\\u001b","advice":"\xc3\xa9"}'


async def test_what_changes_something_is_a_post_that_needs_more_than_to_look(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        for method, path in routes(server):
            needed = row(method, path).role
            assert method in ("GET", "POST")
            assert (method == "POST") == (needed > Role.VIEWER), path
            assert needed > Role.NOBODY or path == "/healthz", path
        assert set(routes(server)) == ENDPOINTS.keys(), "every row is a route"


async def test_a_route_without_a_row_is_refused_to_everyone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with inside(tmp_path) as server:
        monkeypatch.delitem(ENDPOINTS, ("GET", SESSION))
        check_refused(await server.get(SESSION), 403)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/serve.js%00",
        "/static/..\\app.py",
        "/static/",
        "/static",
        "/bundle/serve.js",
        f"{API}/../../static/../app.py",
    ],
)
async def test_no_path_leads_out_of_the_bundle(path: str, tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        check_refused(await server.get(path), 404)


async def test_what_is_not_there_or_not_done_this_way_is_an_error_like_others(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        check_refused(await server.get(f"{API}/nothing"), 404)
        check_refused(await server.get(f"{API}/jobs/nothing"), 404)
        wrong = await server.post(SESSION)
        check_refused(wrong, 405)
        assert wrong.headers["allow"] == "GET,HEAD"
        for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
            headers = {"Cookie": server.cookie, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
            check_refused(await server.ask(method, SESSION, headers), 405)
        head = await server.ask("HEAD", SESSION, {"Cookie": server.cookie})
        assert (head.status, head.body) == (200, b"")
        check_headers(head)
        page = await server.get("/nothing", Accept="text/html,*/*")
        assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert b"<h1>there is no such page</h1>" in page.body


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"unknown": 1}', b'{"full": 1}', b"\xff", b'{"full": true} x', b"null"]
)
async def test_a_body_that_cannot_be_read_is_an_error_like_others(body: bytes, tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        headers = {"Cookie": server.cookie, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
        check_refused(await server.ask("POST", f"{API}/refresh", headers, body), 400)


async def test_a_body_of_more_than_a_megabyte_is_refused(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        check_refused(await server.post(f"{API}/refresh", {"full": True, "x": "x" * (1 << 20)}), 413)
        assert (await server.post(f"{API}/refresh", {"full": False})).status == 202


async def test_a_request_that_does_not_arrive_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.serve.guard._LONGEST_BODY", 0.05)
    async with inside(tmp_path) as server:
        head = f"POST {API}/refresh HTTP/1.1\r\nHost: localhost\r\nCookie: {server.cookie}\r\n"
        head += "Sec-Fetch-Site: same-origin\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        assert (await raw(server, head)).startswith("HTTP/1.1 408 ")


async def test_a_connection_without_a_request_is_closed_and_one_with_events_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dregutil.serve.app.Patience", lambda: Patience(0.2))
    async with inside(tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {API}/events HTTP/1.1\r\nHost: localhost\r\nCookie: {server.cookie}\r\n\r\n".encode())
        head = (await reader.readuntil(b"retry: 2000")).decode()
        assert all(f"{name}: {value}" in head for name, value in HEADERS.items())
        assert await raw(server, "GET / HTTP/1.1\r\nHost:") == ""
        server.site.events.changed("runs")
        assert b"runs" in await reader.readuntil(b'{"what":"runs"}')
        writer.close()


async def test_what_is_no_http_is_refused_without_a_word_of_the_inside(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        for text in (
            "x\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "GET\r\n\r\n",
            f"GET /{'x' * 20_000} HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            found = await raw(server, text)
            assert re.match(r"HTTP/1.[01] 400 ", found), found
            assert ".py" not in found
            assert "Traceback" not in found


async def test_a_failure_inside_tells_nothing_of_the_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with inside(tmp_path) as server:
        monkeypatch.setattr(server.site, "reported", None)
        found = await server.get(f"{API}/report")
        check_refused(found, 500)
        assert "NoneType" not in found.body.decode()


async def test_too_many_requests_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.serve.guard._MOST_AT_ONCE", 0)
    async with inside(tmp_path, **BEHIND_PROXY) as server:
        check_refused(await server.get(SESSION), 503)


async def test_hostile_names_are_escaped_in_every_answer(tmp_path: Path) -> None:
    name = "eve\u202e<script>" + "x" * 5_000
    async with inside(tmp_path, **BEHIND_PROXY) as server:
        found = await server.ask("GET", SESSION, {"X-User": name.encode().decode("latin-1")})
        check_refused(found, 403)
        assert "\u202e" not in found.body.decode()
        assert len(found.body) < 2000
        page = await server.ask("GET", "/x", {"X-User": name.encode().decode("latin-1"), "Accept": "text/html"})
        assert b"<script" not in page.body


async def test_a_hostile_name_of_a_person_is_shown_as_text(tmp_path: Path) -> None:
    name = "eve\u202e\u200b" + "x" * 5_000
    async with inside(tmp_path, **BEHIND_PROXY | {"roles": Roles({Role.PLANNER: ["*"]})}) as server:
        headers = {"X-User": name.encode().decode("latin-1")}
        user = (await server.get(SESSION, **headers)).json["user"]
        assert user.startswith("eve\\u202e\\u200bxxx")
        assert len(user) <= 600
        assert (await server.post(f"{API}/refresh", **headers)).json["by"] == user


async def raw(server: Inside, text: str) -> str:
    """What comes back for these bytes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(text.encode())
    async with asyncio.timeout(10):
        try:
            found = await reader.read(64 * 1024)
        except ConnectionResetError:
            found = b""
    writer.close()
    return found.decode()


SECRET = "s3cret-of-the-registry"
SAYS_ALL = """
import json, os, sys
print(json.dumps([dict(os.environ)]))
sys.stderr.write("dregutil: it failed\\n  see to it\\n")
sys.exit(1)
"""


async def test_the_environment_of_a_job_is_in_no_answer(tmp_path: Path) -> None:
    async with inside(tmp_path, SAYS_ALL, {"REGISTRY_PASSWORD": SECRET}) as server:
        job = (await server.post(f"{API}/refresh")).json
        await ended(server)
        found = (await server.get(f"{API}/jobs/{job['id']}")).json
        assert (found["state"], found["message"], found["advice"]) == ("failed", "it failed", "see to it")
        for method, path in routes(server):
            if method == "GET" and path != f"{API}/events":
                assert SECRET not in (await server.get(path)).body.decode()
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]  # noqa: ASYNC240 - it has ended
    assert SECRET.encode() not in b"".join(kept)
