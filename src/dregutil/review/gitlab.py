"""GitLab: merge requests, their notes, and the artifacts of the pipeline's jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from dregutil.errors import RefusedError
from dregutil.review.api import Api
from dregutil.review.service import Change, Comment, needed

__all__ = ["GitLab"]


class GitLab:
    """By the variables that a runner sets. Raises UsageError if one is not there."""

    what = "merge request"

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._source = needed(environment, "CI_PIPELINE_SOURCE")
        self._environment = environment
        self.commit = needed(environment, "CI_COMMIT_SHA")
        self.job = needed(environment, "CI_JOB_ID")
        self._out = environment.get("DREGUTIL_REVIEW_OUT") or "dregutil-review"
        token = needed(environment, "DREGUTIL_GITLAB_TOKEN")
        self._api = Api(needed(environment, "CI_API_V4_URL"), {"PRIVATE-TOKEN": token})
        self._project = f"/projects/{int(needed(environment, 'CI_PROJECT_ID'))}"

    def under_review(self) -> Change | None:
        get = self._environment.get
        if self._source == "merge_request_event":
            if get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID") != get("CI_PROJECT_ID"):
                raise RefusedError(
                    "the merge request comes from a fork: no plan is made for it",
                    advice="its policy could name what it likes; push the branch to this project",
                )
            number = int(needed(self._environment, "CI_MERGE_REQUEST_IID"))
            return Change(number, get("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA") or self.commit)
        main = get("CI_DEFAULT_BRANCH")
        if main and get("CI_COMMIT_BRANCH") == main:
            return None
        raise RefusedError(
            f"a pipeline of {self._source} is neither one of a merge request nor of the main branch",
            advice="docs/ci.md has the rules of the job",
        )

    def merged(self) -> Change | None:
        for one in self._api.pages(f"{self._project}/repository/commits/{self.commit}/merge_requests"):
            if one.get("state") == "merged" and one.get("target_branch") == self._environment["CI_DEFAULT_BRANCH"]:
                brought = (one.get("merge_commit_sha"), one.get("squash_commit_sha"), one.get("sha"))
                if self.commit in brought:
                    return Change(one["iid"], one["sha"])
        return None

    def comments(self, change: Change) -> Iterator[Comment]:
        me = self._api.get("/user")["id"]
        for one in self._api.pages(f"{self._project}/merge_requests/{change.number}/notes"):
            if (one.get("author") or {}).get("id") == me and not one.get("system"):
                yield Comment(one["id"], one.get("body") or "")

    def write(self, change: Change, body: str, earlier: Comment | None) -> None:
        path = f"{self._project}/merge_requests/{change.number}/notes"
        if earlier is None:
            self._api.send("POST", path, {"body": body})
        else:
            self._api.send("PUT", f"{path}/{earlier.id}", {"body": body})

    def saved_plan(self, change: Change, key: str, job: str) -> bytes:
        path = f"{self._project}/jobs/{int(job)}"
        ref = self._api.get(path).get("ref")
        if ref not in (f"refs/merge-requests/{change.number}/{kind}" for kind in ("head", "merge")):
            raise RefusedError(f"job {job} is none of merge request {change.number}")
        return self._api.send("GET", f"{path}/artifacts/{quote(self._out)}/{quote(key)}/plan.jsonl")
