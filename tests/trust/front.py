"""A proxy in front of a registry: it logs the requests, and gives wrong answers on demand, for a while.

`omits`: one list omits a tag. `absent`: one read of a tag answers 404. `lags`: for some requests, lists and tags are as
they were when the run began. `cached`: until the run ends, the answer to a URL is repeated, even if it has changed.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from servers.http import Answer, Proxy, Request

__all__ = ["Event", "Front", "Lie"]

READING = ("GET", "HEAD")
_LONGEST_REST = 30.0
_OF_THE_CONNECTION = frozenset(("content-length", "transfer-encoding", "connection", "date"))


@dataclass(frozen=True)
class Lie:
    """From the request with this number on, for `length` of the requests concerned."""

    kind: str
    number: int
    length: int = 1
    place: int = 0
    with_age: bool = False


@dataclass
class Event:
    """A request, with its times on `time.monotonic`. `lie`: the kind of wrong answer, or empty."""

    method: str
    path: str
    began: float
    ended: float = float("inf")
    lie: str = ""
    hidden: str = ""  # the tag that this list omits
    status: int = 0

    def __str__(self) -> str:
        lied = f" ({self.lie} {self.hidden})" if self.lie else ""
        where = self.path.removeprefix("/v2/").replace("manifests/", "").replace("sha256:", "")[:48]
        return f"{self.began:.4f} +{1000 * (self.ended - self.began):.0f} {self.method} {where} {self.status}{lied}"

    @property
    def repository(self) -> str:
        return self.path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]

    @property
    def reference(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def is_list(self) -> bool:
        return self.path.endswith("/tags/list")

    @property
    def is_manifest(self) -> bool:
        return "/manifests/" in self.path


@dataclass
class _State:
    lies: list[Lie] = field(default_factory=list)
    then: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # tags when the run began, by repository
    cache: dict[tuple[str, str], Answer] = field(default_factory=dict)
    number: int = -1


class Front(Proxy):
    """`before_each` is called in the thread of a request, one at a time, before the answer."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.events: list[Event] = []
        self.before_each: Callable[[int, Request], None] = lambda _, __: None
        self._state = _State()
        self._acting = threading.Lock()
        self._busy = 0
        self._idle = threading.Condition()
        self._local = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def begin(self, lies: Sequence[Lie], then: Mapping[str, Mapping[str, str]]) -> None:
        """A new run, with `lies`; `then` are the tags before it."""
        self.events = []
        self._state = _State(list(lies), then)

    def rest(self) -> None:
        """Wait until no request is in flight, and give right answers from now on."""
        with self._idle:
            assert self._idle.wait_for(lambda: self._busy == 0, _LONGEST_REST)
        self.before_each = lambda _, __: None
        self._state = _State()
        self.requests.clear()
        if self.failures:
            raise self.failures[0]

    def stop(self) -> None:
        super().stop()
        for connection in self._connections:
            connection.close()

    def answer(self, request: Request) -> Answer:
        with self._idle:
            self._busy += 1
        try:
            with self._acting:
                self._state.number += 1
                self.before_each(self._state.number, request)
                lie = self._lie_for(request)
                event = Event(request.method, request.path, time.monotonic(), lie="" if lie is None else lie.kind)
                self.events.append(event)
            found = self._forward(request) if lie is None else self._lied(lie, request, event)
            event.ended, event.status = time.monotonic(), found.status
            return found
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _lie_for(self, request: Request) -> Lie | None:
        is_list = request.path.endswith("/tags/list")
        is_tag = "/manifests/" in request.path and ":" not in request.reference
        if request.method not in READING or not (is_list or is_tag):
            return None
        for lie in self._state.lies:
            about = {"omits": is_list, "absent": is_tag}.get(lie.kind, True)
            if lie.number <= self._state.number and about:
                if lie.kind != "cached":
                    self._state.lies.remove(lie)
                    if lie.length > 1:
                        self._state.lies.append(replace(lie, length=lie.length - 1))
                return lie
        return None

    def _lied(self, lie: Lie, request: Request, event: Event) -> Answer:
        if lie.kind == "absent":
            return _NOT_THERE
        if lie.kind == "omits":
            return self._omitting(lie, self._forward(request), event)
        if lie.kind == "cached":
            return self._cached(lie, request, event)
        name = request.path.removeprefix("/v2/").rpartition("/")[0].rpartition("/")[0]
        then = self._state.then.get(name, {})
        if request.path.endswith("/tags/list"):
            return _json({"name": name, "tags": sorted(then)})
        if request.reference not in then:
            return _NOT_THERE
        path = f"/v2/{name}/manifests/{then[request.reference]}"
        return self._forward(replace(request, path=path, target=path))

    def _omitting(self, lie: Lie, answer: Answer, event: Event) -> Answer:
        if answer.status != http.client.OK:
            return answer
        body = json.loads(answer.body)
        tags = body.get("tags") or []
        if tags:
            event.hidden = tags.pop(lie.place % len(tags))
        return replace(answer, body=json.dumps({**body, "tags": tags}).encode())

    def _cached(self, lie: Lie, request: Request, event: Event) -> Answer:
        key = (request.method, request.target)
        if key not in self._state.cache:
            found = self._forward(request)
            event.lie = ""
            if found.status == http.client.OK:
                self._state.cache[key] = found
            return found
        found = self._state.cache[key]
        return replace(found, headers={**found.headers, "Age": "7"}) if lie.with_age else found

    def _forward(self, request: Request) -> Answer:
        """A read whose connection the server has closed is sent once more, as by any proxy."""
        try:
            return self._forward_once(request)
        except http.client.RemoteDisconnected:
            if request.method not in READING:
                raise
            return self._forward_once(request)

    def _forward_once(self, request: Request) -> Answer:
        """With a persistent connection for each thread."""
        connection: Any = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
            self._connections.append(connection)
        try:
            connection.request(request.method, request.target, request.body or None, dict(request.headers))
            answer = connection.getresponse()
            body = answer.read()
        except (http.client.HTTPException, OSError):
            connection.close()
            raise
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_THE_CONNECTION}
        if request.method == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        return Answer(answer.status, body, kept)


def _json(body: Any) -> Answer:
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


_NOT_THERE = Answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', {"Content-Type": "application/json"})
