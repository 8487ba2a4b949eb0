"""Small servers with the parts of GitHub's and GitLab's APIs that a review asks, as their documentation has them.

- https://docs.github.com/en/rest/issues/comments, https://docs.github.com/en/rest/actions/artifacts,
  https://docs.github.com/en/rest/commits/commits#list-pull-requests-associated-with-a-commit
- https://docs.gitlab.com/api/notes/#merge-requests, https://docs.gitlab.com/api/job_artifacts/,
  https://docs.gitlab.com/api/commits/#list-merge-requests-associated-with-a-commit
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any, ClassVar

from servers.http import Answer, Endpoint, Request

__all__ = ["Forge", "GitHubServer", "GitLabServer"]

_JSON = {"Content-Type": "application/json"}


class Forge(Endpoint):
    """`comments` by change, `merged`: the commit of a merge with the number and the last commit of its change. `files`:
    what a job saved, by its number and a path. `denied`: paths that are answered with 403."""

    token = "the-token"
    me: ClassVar[dict[str, Any]]
    other: ClassVar[dict[str, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.merged: dict[str, tuple[int, str]] = {}
        self.files: dict[int, dict[str, bytes]] = {}
        self.jobs: dict[int, Any] = {}
        self.denied: set[str] = set()
        self.asked: list[str] = []
        self._next = 100

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, change: int, body: str, author: Any) -> dict[str, Any]:
        self._next += 1
        made = {"id": self._next, "body": body, **author}
        self.comments.setdefault(change, []).append(made)
        return made

    def bodies(self, change: int) -> list[str]:
        return [one["body"] for one in self.comments.get(change, [])]

    def answer(self, request: Request) -> Answer:
        self.asked.append(f"{request.method} {request.path}")
        if request.path in self.denied:
            return Answer(403, b"{}", _JSON)
        return self.routed(request)

    def routed(self, request: Request) -> Answer:
        raise NotImplementedError

    def edited(self, comment: int, body: str) -> Answer:
        for one in (one for many in self.comments.values() for one in many):
            if one["id"] == comment:
                one["body"] = body
                return _json(one)
        return Answer(404, b"{}", _JSON)

    def page(self, request: Request, found: list[Any]) -> Answer:
        size, number = int(request.query["per_page"]), int(request.query["page"])
        return _json(found[size * (number - 1) : size * number])


class GitHubServer(Forge):
    """A repository `team/images`."""

    me: ClassVar = {"user": {"login": "github-actions[bot]", "type": "Bot"}}
    other: ClassVar = {"user": {"login": "mallory", "type": "User"}}

    def routed(self, request: Request) -> Answer:
        path = request.path
        if found := re.fullmatch(r"/blob/(\d+)/(.+)", path):
            assert "authorization" not in request.headers, "the token goes to the API alone"
            return Answer(200, _zipped(self.files[int(found[1])][found[2]]))
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, b"{}", _JSON)
        path = path.removeprefix("/repos/team/images")
        if found := re.fullmatch(r"/commits/(\w+)/pulls", path):
            return self.page(request, self._pulls(found[1]))
        if found := re.fullmatch(r"/issues/(\d+)/comments", path):
            if request.method == "POST":
                return _json(self.add(int(found[1]), json.loads(request.body)["body"], self.me), 201)
            return self.page(request, self.comments.get(int(found[1]), []))
        if (found := re.fullmatch(r"/issues/comments/(\d+)", path)) and request.method == "PATCH":
            return self.edited(int(found[1]), json.loads(request.body)["body"])
        if found := re.fullmatch(r"/actions/runs/(\d+)", path):
            return _json({"event": "pull_request", "head_sha": self.jobs[int(found[1])]})
        if found := re.fullmatch(r"/actions/runs/(\d+)/artifacts", path):
            saved = self.files.get(int(found[1]), {})
            rows = [{"id": int(found[1]) * 10 + n, "name": name, "expired": False} for n, name in enumerate(saved)]
            return _json({"total_count": len(rows), "artifacts": rows})
        if found := re.fullmatch(r"/actions/artifacts/(\d+)(\d)/zip", path):
            name = [*self.files[int(found[1])]][int(found[2])]
            return Answer(302, b"", {"Location": f"{self.url}/blob/{found[1]}/{name}"})
        return Answer(404, b"{}", _JSON)

    def _pulls(self, commit: str) -> list[dict[str, Any]]:
        open_one = {"number": 99, "merged_at": None, "merge_commit_sha": commit, "head": {"sha": "e" * 40}}
        if commit not in self.merged:
            return [open_one]
        number, head = self.merged[commit]
        merged = {"number": number, "merged_at": "2026-11-26T00:00:00Z", "merge_commit_sha": commit}
        return [open_one, {**merged, "head": {"sha": head}}]


class GitLabServer(Forge):
    """The project 7."""

    me: ClassVar = {"author": {"id": 5}, "system": False}
    other: ClassVar = {"author": {"id": 6}, "system": False}

    def routed(self, request: Request) -> Answer:
        path = request.path
        if request.headers.get("private-token") != self.token:
            return Answer(401, b"{}", _JSON)
        if path == "/user":
            return _json({"id": 5})
        path = path.removeprefix("/projects/7")
        if found := re.fullmatch(r"/repository/commits/(\w+)/merge_requests", path):
            return self.page(request, self._requests(found[1]))
        if found := re.fullmatch(r"/merge_requests/(\d+)/notes", path):
            if request.method == "POST":
                return _json(self.add(int(found[1]), json.loads(request.body)["body"], self.me), 201)
            return self.page(request, self.comments.get(int(found[1]), []))
        if (found := re.fullmatch(r"/merge_requests/\d+/notes/(\d+)", path)) and request.method == "PUT":
            return self.edited(int(found[1]), json.loads(request.body)["body"])
        if found := re.fullmatch(r"/jobs/(\d+)", path):
            return _json({"id": int(found[1]), "ref": self.jobs[int(found[1])]})
        if found := re.fullmatch(r"/jobs/(\d+)/artifacts/(.+)", path):
            saved = self.files.get(int(found[1]), {}).get(found[2])
            return Answer(404, b"{}", _JSON) if saved is None else Answer(200, saved)
        return Answer(404, b"{}", _JSON)

    def _requests(self, commit: str) -> list[dict[str, Any]]:
        if commit not in self.merged:
            return []
        number, head = self.merged[commit]
        return [{"iid": number, "state": "merged", "target_branch": "main", "sha": head, "merge_commit_sha": commit}]


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), _JSON)


def _zipped(raw: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("plan.jsonl", raw)
    return made.getvalue()
