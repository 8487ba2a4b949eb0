"""A proxy in front of a real registry that breaks some of the exchanges, like a bad network or a failing server."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from dataclasses import replace

from servers.http import LOST, Answer, Proxy, Request

__all__ = ["FAULTS", "Fault", "FaultyProxy"]

Fault = Callable[["FaultyProxy", Request], Answer]


class FaultyProxy(Proxy):
    """Breaks the exchanges that `breaks` selects, by their number from 1, with `fault`; counts them in `broken`."""

    def __init__(self, upstream: int, fault: Fault, breaks: Callable[[int, Request], bool]) -> None:
        super().__init__(upstream)
        self.fault = fault
        self.breaks = breaks
        self.broken: list[Request] = []
        self._number = 0
        self._counting = threading.Lock()
        self.looks: dict[str, threading.Semaphore] = {}
        self.late: list[threading.Thread] = []
        self.silence = threading.Event()

    def answer(self, request: Request) -> Answer:
        with self._counting:
            self._number += 1
            picked = self.breaks(self._number, request)
            if picked:
                self.broken.append(request)
        answer = self.fault(self, request) if picked else self.forward(request)
        if not picked and request.reference in self.looks:
            self.looks[request.reference].release()
        return answer

    def forward(self, request: Request) -> Answer:
        """The server's answer; without one, the connection is reset."""
        try:
            return self._forward(request)
        except (OSError, http.client.HTTPException):
            return LOST

    def heal(self) -> None:
        """No more faults; delayed requests have been forwarded."""
        self.breaks = lambda _, __: False
        self.silence.set()
        for thread in self.late:
            thread.join(20)

    def stop(self) -> None:
        self.heal()
        super().stop()


def _altered(proxy: FaultyProxy, request: Request) -> Answer:
    """The body has different bytes; the headers are the right ones."""
    found = proxy.forward(request)
    return replace(found, body=found.body.replace(b"sha256:", b"sha256:0", 1)[:-1] if found.body else b"")


def _other_digest(proxy: FaultyProxy, request: Request) -> Answer:
    """The header has another digest than that of the server."""
    found = proxy.forward(request)
    named = {name: value for name, value in found.headers.items() if name.lower() != "docker-content-digest"}
    return replace(found, headers={**named, "Docker-Content-Digest": f"sha256:{'7' * 64}"})


def _too_short(proxy: FaultyProxy, request: Request) -> Answer:
    """The announced length is less than the body: the rest is not an answer to anything."""
    found = proxy.forward(request)
    return replace(found, headers={**found.headers, "Content-Length": str(len(found.body) // 2)})


def _too_long(proxy: FaultyProxy, request: Request) -> Answer:
    """The announced length is more than the body, and then nothing comes."""
    found = proxy.forward(request)
    return replace(found, headers={**found.headers, "Content-Length": str(len(found.body) + 10)})


def _after(proxy: FaultyProxy, request: Request) -> Answer:
    proxy.forward(request)
    return LOST


def _stalled(proxy: FaultyProxy, request: Request) -> Answer:
    """No answer ever; a write was not forwarded."""
    proxy.silence.wait(60)
    return LOST


def _late(proxy: FaultyProxy, request: Request) -> Answer:
    """The connection is reset, and the server continues after the client has checked twice."""
    looks = proxy.looks.setdefault(request.reference, threading.Semaphore(0))

    def go_on() -> None:
        for _ in range(2):
            looks.acquire(timeout=5)
        proxy.forward(request)

    proxy.late.append(threading.Thread(target=go_on, daemon=True))
    proxy.late[-1].start()
    return LOST


FAULTS: dict[str, Fault] = {
    "reset before": lambda _, __: LOST,
    "reset after": _after,
    "half a body": lambda proxy, request: replace(proxy.forward(request), cut=True),
    "altered bytes": _altered,
    "another digest": _other_digest,
    "too short a length": _too_short,
    "too long a length": _too_long,
    "stalled": _stalled,
    "late": _late,
    "500": lambda _, __: Answer(500, b"oops"),
    "500 after": lambda proxy, request: replace(proxy.forward(request), status=500, body=b"oops"),
    "502": lambda _, __: Answer(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}),
    "503": lambda _, __: Answer(503, b"", {"Retry-After": "0"}),
    "429": lambda _, __: Answer(429, b"", {"Retry-After": "0"}),
    "a web page": lambda _, __: Answer(200, b"<html>log in</html>", {"Content-Type": "text/html"}),
}
