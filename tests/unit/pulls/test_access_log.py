"""Lines of access logs: each known format, and lines that are hostile."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.access_log import line_reader, line_time, parse_line
from dregutil.pulls.request import LoggedPull, log_time

AT = int(datetime(2026, 11, 26, 16, 12, 30, tzinfo=UTC).timestamp())
DIGEST = Digest.of(b"one")
PATH = "/v2/shop/web/manifests/1.0"
CLF = f'10.0.0.9 - - [26/Nov/2026:16:12:30 +0000] "GET {PATH} HTTP/1.1" 200 517'
GOOGLE = {
    "httpRequest": {
        "requestMethod": "GET",
        "requestUrl": f"https://registry.example.com{PATH}",
        "status": 200,
        "userAgent": "skopeo/1.9.3",
    },
    "timestamp": "2026-11-26T16:12:30.187009Z",
    "severity": "INFO",
}
DISTRIBUTION = {
    "go.version": "go1.19.8",
    "http.request.method": "GET",
    "http.request.uri": PATH,
    "http.request.useragent": "skopeo/1.9.3",
    "http.response.status": 200,
    "level": "info",
    "msg": "response completed",
    "time": "2026-11-26T16:12:30.187009457Z",
}
ENVOY = (
    f'[2026-11-26T16:12:30.310Z] "GET {PATH} HTTP/2" 200 - 0 517 3 2 "10.0.35.28" "skopeo/1.9.3" '
    '"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "registry.example.com" "tcp://10.0.2.1:5000"'
)
LOGFMT = (
    'time="2026-11-26T16:12:30.187009457Z" level=info msg="response completed" go.version=go1.19.8 '
    f'http.request.host="127.0.0.1:5000" http.request.method=GET http.request.uri={PATH} '
    'http.request.useragent="skopeo/1.9.3 (x y)" http.response.duration="670.488µs" http.response.status=200'
)
ALB = (
    "https 2026-11-26T16:12:30.187009Z app/lb/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 "
    "200 200 0 57 "
    f'"GET https://registry.example.com:443{PATH} HTTP/1.1" "skopeo/1.9.3" ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 arn:aws'
)
LINES = {
    "distribution": f'{CLF} "" "skopeo/1.9.3"',
    "nginx": f'{CLF} "-" "skopeo/1.9.3"',
    "nginx with more": f'{CLF} "-" "skopeo/1.9.3" "203.0.113.7" rt=0.003',
    "traefik": f'{CLF} "-" "skopeo/1.9.3" 12 "registry@docker" "http://10.0.0.2:5000" 3ms',
    "envoy": ENVOY,
    "alb": ALB,
    "google": json.dumps(GOOGLE),
    "distribution json": json.dumps(DISTRIBUTION),
    "distribution logfmt": LOGFMT,
    "traefik json": json.dumps(
        {
            "RequestMethod": "GET",
            "RequestPath": PATH,
            "DownstreamStatus": 200,
            "request_User-Agent": "skopeo/1.9.3",
            "time": "2026-11-26T16:12:30Z",
        }
    ),
    "envoy json": json.dumps(
        {
            "method": "GET",
            "path": PATH,
            "response_code": 200,
            "user_agent": "skopeo/1.9.3",
            "start_time": "2026-11-26T16:12:30.310Z",
        }
    ),
    "nginx json": json.dumps(
        {
            "time_iso8601": "2026-11-26T17:12:30+01:00",
            "request_method": "GET",
            "request_uri": f"{PATH}?ns=docker.io",
            "status": "200",
            "http_user_agent": "skopeo/1.9.3",
        }
    ),
}
for _name in ("distribution", "distribution json", "distribution logfmt"):
    _docker = json.dumps({"log": f"{LINES[_name]}\n", "stream": "stdout"}, separators=(",", ":"))
    LINES |= {
        f"{_name} in docker": _docker,
        f"{_name} in kubernetes": f"2026-11-26T16:12:31.123456789Z stdout F {LINES[_name]}",
    }
STATUSES = ['" 200 517', "status=200", 'tatus": 200', '_code": 200', '": "200"', '" 200 -', "200 200 0 57"]
STATUSES += [json.dumps(one)[1:-1] for one in STATUSES]
PULL = LoggedPull(AT, Repository("shop/web"), Tag("1.0"), "skopeo/1.9.3")


@pytest.mark.parametrize("name", LINES)
def test_each_format(name: str) -> None:
    line = LINES[name].encode()
    assert parse_line(line) == PULL
    assert line_time(line) == AT
    other = line.replace(b"/manifests/", b"/tags/")
    assert parse_line(other) is None
    assert line_time(other) == line_time(line)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("status", ["304", "404", "401", "500", "206"])
def test_the_status_decides(name: str, status: str) -> None:
    line = LINES[name]
    for before in STATUSES:
        line = line.replace(before, before.replace("200", status))
    found = parse_line(line.encode())
    assert found == (PULL if status == "304" else None), line


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
def test_the_method_decides(name: str, method: str) -> None:
    found = parse_line(LINES[name].replace("GET", method).encode())
    assert found == (PULL if method == "HEAD" else None)


@pytest.mark.parametrize(
    ("path", "repository", "reference"),
    [
        (f"/v2/shop/web/manifests/{DIGEST}", "shop/web", DIGEST),
        (f"/v2/shop/web/manifests/{DIGEST.replace(':', '%3A')}", "shop/web", DIGEST),
        (f"/v2/shop/web/manifests/{DIGEST.replace(':', '%3a')}?ns=x", "shop/web", DIGEST),
        ("/v2/shop%2Fweb/manifests/1%2E0", "shop/web", "1.0"),
        ("/registry/v2/shop/web/manifests/1.0", "shop/web", "1.0"),
        ("/v2/a/manifests/b/manifests/1.0", "a/manifests/b", "1.0"),
        ("/v2/manifests/manifests/manifests", "manifests", "manifests"),
    ],
)
def test_paths(path: str, repository: str, reference: str) -> None:
    found = parse_line(LINES["nginx"].replace(PATH, path).encode())
    assert found is not None
    assert (found.repository, found.reference) == (repository, reference)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/shop/web/manifests/",
        "/v2//manifests/1.0",
        "/v2/Shop/manifests/1.0",
        "/v2/../manifests/1.0",
        "/v2/shop/web/manifests/sha256:1",
        "/v2/shop/web/manifests/%00",
        "/v2/shop/web/manifests/%FF",
        "/v2/shop/web/manifests/a%20b",
        "/manifests/1.0",
    ],
)
def test_paths_of_no_manifest(path: str) -> None:
    assert parse_line(LINES["nginx"].replace(PATH, path).encode()) is None


def test_an_agent_cannot_pretend_a_pull() -> None:
    """nginx escapes quotes in what a client sends."""
    fake = CLF.replace('"', r"\x22")
    line = f'10.0.0.9 - - [26/Nov/2026:16:12:30 +0000] "PUT /v2/x/manifests/1 HTTP/1.1" 201 0 "-" "{fake}"'
    assert parse_line(line.encode()) is None
    assert parse_line(line.replace(r"\x22", r"\"").encode()) is None


@pytest.mark.parametrize(
    "line",
    [
        b"/manifests/" * 1000,
        b"[" * 10_000 + b"/manifests/",
        b'"' * 10_000 + b"/manifests/",
        b'{"a":' * 3000 + b"/manifests/",
        b"\0" * 100 + LINES["nginx"].encode() + b"\0",
        LINES["nginx"].encode().replace(b"skopeo", b"\xff\xfe\0"),
        LINES["nginx"].encode().replace(b"skopeo", b"x" * 10_000),
        LINES["nginx"].encode().replace(b"26/Nov", b"99/Nov"),
        LINES["nginx"].encode().replace(b"2026", b"0000"),
        LINES["nginx"].encode().replace(b"16:12:30", b"99:99:99"),
        LINES["google"].encode().replace(b"2026", b"9999"),
        LINES["distribution logfmt"].encode().replace(b"=", b"==="),
        b"x" * 1_000_000 + b"/manifests/",
    ],
)
def test_hostile_lines(line: bytes) -> None:
    found = parse_line(line)
    assert found is None or found.reference == "1.0"
    line_time(line)


@pytest.mark.property
@given(st.sampled_from(sorted(LINES)), st.data())
def test_no_line_crashes(name: str, data: st.DataObject) -> None:
    line = bytearray(LINES[name].encode())
    for _ in range(data.draw(st.integers(0, 5))):
        place = data.draw(st.integers(0, len(line)))
        line[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    parse_line(bytes(line))
    line_time(bytes(line))


def test_a_format_of_its_own() -> None:
    reader = line_reader(r"^(?P<time>\S+)\|(?P<method>[A-Z]+)\|(?P<path>[^|]+)\|(?P<status>\d+)\|(?P<agent>.*)$")
    assert reader.pull(f"2026-11-26T16:12:30Z|GET|{PATH}|200|skopeo/1.9.3".encode()) == PULL
    assert reader.pull(f"1795709550.123|GET|{PATH}|200|skopeo/1.9.3".encode()) is not None
    assert reader.pull(f"2026-11-26T16:12:30Z|GET|{PATH}|404|skopeo/1.9.3".encode()) is None
    assert reader.pull(b"nonsense /manifests/") is None
    assert reader.time(b"2026-11-26T16:12:30Z|GET|/v2/|200|") == AT
    without = line_reader(r"(?P<time>\S+) (?P<method>\S+) (?P<path>\S+) (?P<status>\d+)")
    found = without.pull(f"2026-11-26T16:12:30Z GET {PATH} 200".encode())
    assert found is not None
    assert found.agent == ""


@pytest.mark.parametrize("wrong", ["(", "(?P<time>x)", "(?P<time>a)(?P<method>b)(?P<path>c)"])
def test_a_wrong_format_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        line_reader(wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"26/Nov/2026:16:12:30 +0000", AT),
        (b"26/Nov/2026:18:42:30 +0230", AT),
        (b"26/Nov/2026:11:12:30 -0500", AT),
        (b"2026-11-26T16:12:30.187009457Z", AT),
        (b"2026-11-26 16:12:30,187", AT),
        (b"2026-11-26T17:12:30+01:00", AT),
        (str(AT).encode(), AT),
        (f"{AT}.5".encode(), AT),
        (f"{AT}500".encode(), AT),
        (b"26/Now/2026:16:12:30 +0000", None),
        (b"1969-01-01T00:00:00Z", None),
        (b"nan", None),
        (b"inf", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_times(text: bytes, seconds: int | None) -> None:
    assert log_time(text) == seconds
