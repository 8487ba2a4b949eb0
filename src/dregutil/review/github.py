"""GitHub: pull requests, their comments, and the artifacts of the workflow's runs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dregutil.errors import RefusedError, UsageError
from dregutil.review.api import Api
from dregutil.review.service import Change, Comment, needed

__all__ = ["GitHub"]

_PLAN = "plan.jsonl"
_LARGEST_PLAN = 1 << 28  # bytes
_AUTHOR = "github-actions[bot]"


class GitHub:
    """By the variables that a runner sets. Raises UsageError if one is not there."""

    what = "pull request"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._repository = needed(environment, "GITHUB_REPOSITORY")
        self._event_name = needed(environment, "GITHUB_EVENT_NAME")
        self._ref = environment.get("GITHUB_REF", "")
        self._author = environment.get("DREGUTIL_REVIEW_AUTHOR") or _AUTHOR
        self.commit = needed(environment, "GITHUB_SHA")
        self.job = needed(environment, "GITHUB_RUN_ID")
        try:
            self._event: Any = json.loads(Path(needed(environment, "GITHUB_EVENT_PATH")).read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError("the event of the workflow cannot be read") from error
        token = needed(environment, "GITHUB_TOKEN")
        headers = {"Authorization": f"Bearer {token}", "X-GitHub-Api-Version": "2022-11-28"}
        self._api = Api(environment.get("GITHUB_API_URL") or "https://api.github.com", headers)

    def under_review(self) -> Change | None:
        if self._event_name == "pull_request":
            found = self._event["pull_request"]
            if (found["head"]["repo"] or {}).get("full_name") != self._repository:
                raise RefusedError(
                    "the pull request comes from a fork: no plan is made for it",
                    advice="its policy could name what it likes; push the branch to this repository",
                )
            return Change(found["number"], found["head"]["sha"])
        main = self._event.get("repository", {}).get("default_branch")
        if self._event_name in ("push", "workflow_dispatch") and main and self._ref == f"refs/heads/{main}":
            return None
        raise RefusedError(
            f"{self._event_name} on {self._ref or 'no branch'} is neither a pull request nor the main branch",
            advice="run it on pull_request, and on push to the default branch",
        )

    def merged(self) -> Change | None:
        for one in self._api.pages(f"/repos/{self._repository}/commits/{self.commit}/pulls"):
            if one.get("merged_at") and one.get("merge_commit_sha") == self.commit:
                return Change(one["number"], one["head"]["sha"])
        return None

    def comments(self, change: Change) -> Iterator[Comment]:
        for one in self._api.pages(f"/repos/{self._repository}/issues/{change.number}/comments"):
            if (one.get("user") or {}).get("login") == self._author:
                yield Comment(one["id"], one.get("body") or "")

    def write(self, change: Change, body: str, earlier: Comment | None) -> None:
        path = f"/repos/{self._repository}/issues"
        if earlier is None:
            self._api.send("POST", f"{path}/{change.number}/comments", {"body": body})
        else:
            self._api.send("PATCH", f"{path}/comments/{earlier.id}", {"body": body})

    def saved_plan(self, change: Change, key: str, job: str) -> bytes:
        path = f"/repos/{self._repository}/actions/runs/{int(job)}"
        run = self._api.get(path)
        if run.get("event") != "pull_request" or run.get("head_sha") != change.head:
            raise RefusedError(f"run {job} is none of the last commit of pull request {change.number}")
        name = f"dregutil-plan-{key}"
        found = self._api.get(f"{path}/artifacts?per_page=100")["artifacts"]
        for one in sorted(found, key=lambda one: -int(one["id"])):
            if one["name"] == name and not one.get("expired"):
                raw = self._api.send("GET", f"/repos/{self._repository}/actions/artifacts/{int(one['id'])}/zip")
                return _unpacked(raw)
        raise RefusedError(
            f"run {job} has no artifact {name} any more", advice="plan again: re-run it, and merge again"
        )


def _unpacked(raw: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            if archive.getinfo(_PLAN).file_size > _LARGEST_PLAN:
                raise RefusedError("the saved plan is too large")
            return archive.read(_PLAN)
    except (KeyError, zipfile.BadZipFile) as error:
        raise RefusedError("the artifact has no plan") from error
