"""`dregutil serve` as a process of its own, and requests to it as a browser or a program sends them."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from described import Described
from dregutil.serve.openapi import description
from listening import until
from program import Program

__all__ = ["Answered", "Serving", "sent"]


@dataclass(frozen=True)
class Answered:
    """An answer. `headers` have names in lower case; of a header that came twice the last one."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        """The cookie that was set, as it is sent back."""
        return self.headers["set-cookie"].partition(";")[0]


def sent(
    port: int,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    *,
    source: str = "127.0.0.1",
) -> Answered:
    """The answer to one request, whose `path` goes out as it is. `source` is the address that it comes from."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    try:
        connection.request(method, path, body, headers or {})
        answered = connection.getresponse()
        names = {name.lower(): value for name, value in answered.getheaders()}
        return Answered(answered.status, names, answered.read())
    finally:
        connection.close()


@dataclass
class Serving:
    """Started by `with`; ended, and checked to end well, at its end. `address` is what it printed."""

    program: Program
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    address: str = ""
    cookie: str = ""
    _described: Described | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            if self.process is not None:
                self.process.kill()
                self.process.wait(60)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.end() == 0, self.log

    def start(self) -> None:
        """Start it, on a free port, and log in."""
        log = self.path.open("w")
        command = self.program.command(("serve", "--addr", "127.0.0.1:0", *self.options), None)
        environment = self.program.environment() | self.environment
        self.process = subprocess.Popen(
            command, cwd=self.program.folder, env=environment, stdout=subprocess.DEVNULL, stderr=log, text=True
        )
        log.close()
        found = until(
            lambda: re.search(r"(?:open|listening on) (http://\S+)", self.log) or (self.process and self.process.poll())
        )
        assert isinstance(found, re.Match), self.log
        self.address = found[1]
        if "?token=" in self.address:
            entered = sent(self.port, "GET", self.address[self.address.index("/?") :])
            assert entered.status == 303, entered
            self.cookie = entered.cookie

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(60)
            raise

    @property
    def path(self) -> Path:
        return self.program.folder / "serve.log"

    @property
    def log(self) -> str:
        """What it has said."""
        return self.path.read_text()

    @property
    def port(self) -> int:
        found = re.search(r":(\d+)/", self.address)
        assert found is not None, self.address
        return int(found[1])

    def get(self, path: str, **headers: str) -> Answered:
        """`path` below /api/v1, or from its root if it begins with a slash."""
        return self._checked("GET", self._path(path), sent(self.port, "GET", self._path(path), self._headers(headers)))

    def post(self, path: str, body: object = None, **headers: str) -> Answered:
        given = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
        text = json.dumps({} if body is None else body).encode()
        answered = sent(self.port, "POST", self._path(path), self._headers(given | headers), text)
        return self._checked("POST", self._path(path), answered)

    def job(self, answered: Answered, **headers: str) -> dict[str, Any]:
        """The job of an answer, once it has ended."""
        assert answered.status == 202, answered
        found: list[dict[str, Any]] = until(lambda: self._ended(answered.json["id"], headers))
        return found[0]

    def jobs_have_ended(self) -> bool:
        return all(job["state"] in ("done", "failed") for job in self.get("jobs").json["jobs"])

    def report(self) -> dict[str, Any]:
        """The document, once it is there."""
        until(lambda: self.get("report").status == 200)
        found: dict[str, Any] = self.get("report").json
        return found

    def _checked(self, method: str, path: str, answered: Answered) -> Answered:
        """The same answer, which is as the server's description of it says."""
        if path.startswith("/api/"):
            if self._described is None:
                self._described = Described(description("dregutil"))
            has_body = answered.body and answered.headers["content-type"] == "application/json"
            self._described.check(method, path, answered.status, answered.json if has_body else None)
        return answered

    def _ended(self, job: str, headers: dict[str, str]) -> list[dict[str, Any]]:
        found = self.get(f"jobs/{job}", **headers).json
        return [found] if found["state"] in ("done", "failed") else []

    def _path(self, path: str) -> str:
        return path if path.startswith("/") else f"/api/v1/{path}"

    def _headers(self, given: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in given.items()}
        return ({"Cookie": self.cookie} if self.cookie else {}) | named
