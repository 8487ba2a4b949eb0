"""The examples of `serve` behind oauth2-proxy, with the options that they have, over a real registry.

Who logs in is what a provider in this process says; everything else is real.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import pytest
import yaml

from documents import ROOT
from images import Pusher, created
from program import Program
from servers import DistributionServer, free_port
from servers.oauth2_proxy import Oauth2Proxy
from servers.oidc import OidcProvider
from serving import Serving, sent

EXAMPLES = ROOT / "examples"
ANN, BEN, EVE = "ann@example.com", "ben@example.com", "eve@example.com"
NAME = "registry-pages.example.com"  # of the pages, in Kubernetes


@dataclass
class Browser:
    """Keeps cookies, follows redirects, and names the site `host`."""

    port: int
    host: str
    jar: CookieJar = field(
        default_factory=lambda: CookieJar(DefaultCookiePolicy(secure_protocols=("http", "https", "wss")))
    )

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        return self._opened(urllib.request.Request(f"http://localhost:{self.port}{path}", headers=self._with(headers)))

    def post(self, path: str, body: object, **headers: str) -> tuple[int, bytes]:
        given = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"} | headers
        url = f"http://localhost:{self.port}{path}"
        return self._opened(urllib.request.Request(url, json.dumps(body).encode(), self._with(given)))

    def api(self, path: str) -> Any:
        status, body = self.get(f"/api/v1/{path}")
        assert status == 200, body
        return json.loads(body)

    def lines(self, path: str) -> Iterator[bytes]:
        """Of a stream, as they come."""
        request = urllib.request.Request(f"http://localhost:{self.port}{path}", headers=self._with({}))
        with self._opener().open(request, timeout=20) as answer:
            yield from answer

    def _with(self, headers: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return named if self.host == "localhost" else {"Host": self.host} | named

    def _opener(self) -> urllib.request.OpenerDirector:
        return urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )

    def _opened(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with self._opener().open(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@dataclass
class Site:
    """The pages behind the login."""

    serving: Serving
    provider: OidcProvider
    port: int
    host: str

    def logged_in(self, who: str) -> Browser:
        self.provider.who = who
        browser = Browser(self.port, self.host)
        browser.get("/")
        return browser


def _compose(policy: Path) -> tuple[list[str], str]:
    """The options of `serve` in examples/compose."""
    service = yaml.safe_load((EXAMPLES / "compose/serve.yml").read_text())["services"]["serve"]
    words = [*service["entrypoint"], *service["command"]]
    assert words[:4] == ["dregutil", "serve", "--addr", "127.0.0.1:8090"]
    return [word.replace("/etc/dregutil/policy.yml", str(policy)) for word in words[4:]], "localhost"


def _kubernetes(policy: Path) -> tuple[list[str], str]:
    """Those of `serve` in examples/kubernetes."""
    words = _containers("serve.yaml")["serve"]["args"]
    assert words[:3] == ["dregutil", "serve", "--addr=127.0.0.1:8090"]
    return [word.replace("/policy/policy.yml", str(policy)) for word in words[3:]], NAME


def _chart(policy: Path) -> tuple[list[str], str]:
    """Those of `serve` in the chart."""
    words = _containers("rendered/team.yaml")["serve"]["args"]
    assert words[:2] == ["serve", "--addr=127.0.0.1:8090"]
    return [word.replace("/etc/dregutil/policy", str(policy)) for word in words[2:]], NAME


def _containers(file: str) -> dict[str, Any]:
    """By name, of the pod with the pages."""
    for document in yaml.safe_load_all((EXAMPLES / "kubernetes" / file).read_text()):
        if document and document["kind"] == "Deployment":
            found = {one["name"]: one for one in document["spec"]["template"]["spec"]["containers"]}
            if "login" in found:
                return found
    raise AssertionError(file)


def _login(kind: str, folder: Path, issuer: str, port: int, upstream: str) -> Sequence[str]:
    """The arguments of oauth2-proxy, with addresses and secrets of this machine."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    replaced = {
        "https://login.example.com": issuer,
        "0.0.0.0:4180": f"127.0.0.1:{port}",
        "http://localhost:4180": f"http://localhost:{port}",
        f"https://{NAME}": f"http://localhost:{port}",
        "http://127.0.0.1:8090": upstream,
    }

    def here(text: str) -> str:
        for old, new in replaced.items():
            text = text.replace(old, new)
        return text

    if kind != "compose":
        login = _containers({"kubernetes": "serve.yaml", "chart": "rendered/team.yaml"}[kind])["login"]
        assert [one["name"] for one in login["env"]] == ["OAUTH2_PROXY_CLIENT_SECRET", "OAUTH2_PROXY_COOKIE_SECRET"]
        return [*map(here, login["args"]), "--client-secret=a-secret", f"--cookie-secret={secret}"]
    text = here((EXAMPLES / "compose/oauth2-proxy.cfg").read_text())
    (folder / "oauth2-proxy.cfg").write_text(re.sub(r'"SECRET"', f'"{secret}"', text))
    return ["--config", str(folder / "oauth2-proxy.cfg")]


@contextmanager
def _started(kind: str, registry: DistributionServer, folder: Path) -> Iterator[Site]:
    policy = folder / "policy.yml"
    policy.write_text((EXAMPLES / "policy.yml").read_text())
    options, host = {"compose": _compose, "kubernetes": _kubernetes, "chart": _chart}[kind](policy)
    port = free_port()
    with OidcProvider() as provider, Serving(Program(registry.url, folder), tuple(options)) as serving:
        upstream = f"http://127.0.0.1:{serving.port}"
        arguments = _login(kind, folder, provider.url, port, upstream)
        with Oauth2Proxy(folder / "login", port, [*arguments]):
            yield Site(serving, provider, port, host)


@pytest.fixture(params=["compose", "kubernetes", "chart"])
def site(
    request: pytest.FixtureRequest, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> Iterator[Site]:
    pusher.push_image("shop/web", "1.0", seed="a", config=created(90))
    with _started(request.param, registry_server, tmp_path) as found:
        yield found


def test_who_logs_in_has_the_roles_that_the_example_gives(site: Site) -> None:
    def session(browser: Browser) -> tuple[str, list[str]]:
        found = browser.api("session")
        return found["user"], found["roles"]

    ben = site.logged_in(BEN)
    assert session(site.logged_in(ANN)) == (ANN, ["viewer", "planner", "approver"])
    assert session(site.logged_in(EVE)) == (EVE, ["viewer"])
    assert session(ben) == (BEN, ["viewer", "planner"])
    status, body = ben.get("/api/v1/session", X_Forwarded_Email=ANN)
    assert (status, json.loads(body)["user"]) == (200, BEN), "the proxy replaces what a browser says"

    assert site.logged_in(EVE).post("/api/v1/refresh", {})[0] == 403
    assert ben.post("/api/v1/refresh", {}, Sec_Fetch_Site="cross-site")[0] == 403
    assert ben.post("/api/v1/refresh", {})[0] == 202
    assert next(site.logged_in(EVE).lines("/api/v1/events"))


def test_nobody_passes_without_a_login(site: Site) -> None:
    site.provider.who = "mallory@elsewhere.example"
    for path in ("/", "/api/v1/session", "/api/v1/report"):
        status, body = Browser(site.port, site.host).get(path)
        assert status in (401, 403)
        assert b"registry" not in body
    assert sent(site.serving.port, "GET", "/api/v1/session").status == 401, "the proxy named nobody"
    forged = {"X-Forwarded-Email": ANN, "Host": "rebound.example"}
    assert sent(site.serving.port, "GET", "/api/v1/session", forged).status == 403


@pytest.mark.parametrize("site", ["chart"], indirect=True)
def test_the_probe_of_the_chart_needs_no_login(site: Site) -> None:
    """A kubelet asks by the address of the pod, without a cookie, on the port of the login."""
    probe = _containers("rendered/team.yaml")["serve"]["readinessProbe"]["httpGet"]
    asked = sent(site.port, "GET", probe["path"], {"Host": f"10.0.0.7:{probe['port']}"})
    assert asked.status == 200
    for path in ("/api/v1/session", "/healthz/../api/v1/session"):
        assert sent(site.port, "GET", path).body != asked.body, path
        assert b"roles" not in sent(site.port, "GET", path).body
    site.serving.end()
    assert sent(site.port, "GET", probe["path"], {"Host": f"10.0.0.7:{probe['port']}"}).status == 502
