"""What a review sends to the API of GitHub or GitLab, and that a token goes nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dregutil.errors import RefusedError, UnreachableError, UsageError
from dregutil.review.api import Api
from dregutil.review.github import GitHub
from dregutil.review.gitlab import GitLab
from dregutil.review.run import Review
from dregutil.review.service import Change, Service
from servers import free_port
from servers.http import Answer, Endpoint, Request

TOKEN = {"Authorization": "Bearer the-token"}


class Answering(Endpoint):
    """Answers each path as `answers` says; `asked` are the requests."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        super().__init__()
        self.answers, self.asked = answers, list[Request]()

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        return self.answers.get(request.path, Answer(404))


@pytest.fixture
def elsewhere() -> Iterator[Answering]:
    with Answering({"/file": Answer(200, b"bytes")}) as found:
        yield found


def test_a_token_is_sent_encrypted_or_not_at_all() -> None:
    for base in ("http://github.example.com/api/v3", "ftp://localhost.example", "github.example.com"):
        with pytest.raises(UsageError, match="https://"):
            Api(base, TOKEN)


def test_a_redirect_is_followed_without_the_token(elsewhere: Answering) -> None:
    there = f"http://127.0.0.1:{elsewhere.port}/file"
    with Answering({"/a": Answer(302, b"", {"Location": there}), "/b": Answer(307, b"", {"Location": there})}) as api:
        found = Api(f"http://127.0.0.1:{api.port}", TOKEN)
        assert found.send("GET", "/a") == b"bytes"
        assert api.asked[0].headers["authorization"] == "Bearer the-token"
        assert all("authorization" not in one.headers for one in elsewhere.asked)
        with pytest.raises(RefusedError, match="307"):
            found.send("POST", "/b", {"body": "text"})
    assert len(elsewhere.asked) == 1


def test_a_redirect_to_plain_http_is_refused() -> None:
    with (
        Answering({"/a": Answer(302, b"", {"Location": "http://blob.example.com/x"})}) as api,
        pytest.raises(RefusedError, match="not https"),
    ):
        Api(f"http://127.0.0.1:{api.port}", TOKEN).send("GET", "/a")


def test_failures_are_errors_without_the_token() -> None:
    with Answering({"/a": Answer(403)}) as api, pytest.raises(RefusedError) as refused:
        Api(f"http://127.0.0.1:{api.port}", TOKEN).get("/a")
    assert "the-token" not in f"{refused.value} {refused.value.advice}"
    with pytest.raises(UnreachableError):
        Api(f"http://127.0.0.1:{free_port()}", TOKEN).get("/a")


def test_a_list_is_read_to_its_end() -> None:
    class Pages(Endpoint):
        def answer(self, request: Request) -> Answer:
            size, page = int(request.query["per_page"]), int(request.query["page"])
            return Answer(200, json.dumps([*range(250)][size * (page - 1) : size * page]).encode())

    with Pages() as api:
        assert [*Api(f"http://127.0.0.1:{api.port}", TOKEN).pages("/list?state=all")] == [*range(250)]


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("pull_request_target", "refs/heads/main"),
        ("push", "refs/heads/other"),
        ("push", "refs/tags/main"),
        ("issue_comment", "refs/heads/main"),
        ("schedule", "refs/heads/main"),
    ],
)
def test_other_events_of_github_do_nothing(tmp_path: Path, name: str, ref: str) -> None:
    (tmp_path / "event.json").write_text('{"repository": {"default_branch": "main"}}')
    service = GitHub(
        {
            "GITHUB_REPOSITORY": "team/images",
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_REF": ref,
            "GITHUB_SHA": "c" * 40,
            "GITHUB_RUN_ID": "1",
            "GITHUB_TOKEN": "the-token",
        }
    )
    with pytest.raises(RefusedError, match="neither"):
        service.under_review()


@pytest.mark.parametrize(("source", "branch"), [("push", "other"), ("schedule", ""), ("web", "other")])
def test_other_pipelines_of_gitlab_do_nothing(source: str, branch: str) -> None:
    service = GitLab(
        {
            "CI_PIPELINE_SOURCE": source,
            "CI_COMMIT_BRANCH": branch,
            "CI_DEFAULT_BRANCH": "main",
            "CI_COMMIT_SHA": "c" * 40,
            "CI_JOB_ID": "1",
            "CI_PROJECT_ID": "7",
            "CI_API_V4_URL": "https://gitlab.example.com/api/v4",
            "DREGUTIL_GITLAB_TOKEN": "the-token",
        }
    )
    with pytest.raises(RefusedError, match="neither"):
        service.under_review()


def test_a_variable_that_is_missing_is_named() -> None:
    for make in (GitHub, GitLab):
        with pytest.raises(UsageError, match="is not set"):
            make({})


def test_the_token_is_not_in_the_environment_of_what_reads_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration file may name a command that prints a password."""
    (tmp_path / "policy.yml").write_text("version: 1\npolicies: [{name: a, repositories: ['**'], keep: {last: 1}}]\n")
    (tmp_path / "config.toml").write_text(
        f"[registries.r]\naddress = '127.0.0.1:{free_port()}'\nuser = 'u'\n"
        f"password_command = 'sh -c \"env >{tmp_path}/seen; echo p\"'\n"
    )
    (tmp_path / "config.toml").chmod(0o600)
    said: list[str] = []

    class Silent:
        what, commit, job = "pull request", "c" * 40, "1"

        def comments(self, change: Change) -> Iterator[object]:
            return iter(())

        def under_review(self) -> Change:
            return Change(1, "a" * 40)

        def write(self, change: Change, body: str, earlier: object) -> None:
            said.append(body)

    monkeypatch.chdir(tmp_path)
    for name, value in {
        "REGISTRY": "r",
        "DREGUTIL_CONFIG": str(tmp_path / "config.toml"),
        "GITHUB_TOKEN": "the-token",
        "DREGUTIL_GITLAB_TOKEN": "the-token",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    service: Service = Silent()  # type: ignore[assignment] # nothing else of it is asked
    assert Review(service, "policy.yml", tmp_path / "out", tmp_path / "state").run() != 0
    assert "There is no plan to approve" in said[0]
    assert "the-token" not in (tmp_path / "seen").read_text()
