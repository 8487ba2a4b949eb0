"""The known behaviour of other registries, each as a registry in memory.

`docs/registries.md` has a row for each profile. They are fakes: they show that dregutil handles such answers, not that
the server of that name gives them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from servers.http import Answer, Request
from servers.memory import MemoryServer, Switches

__all__ = ["DISTRIBUTION", "DISTRIBUTION_3_ON_S3", "PROFILES", "Profile", "ProfileServer"]


@dataclass(frozen=True)
class Profile:
    """`catalog`: the status of its answer. `cap`: the longest page; `strict`: more is an error, not cut.

    `links`: "relative", "absolute", "opaque" cursors, "elsewhere" (a path that does not exist), or "none".
    `heads`: the status of a HEAD, 200 if it works. `names_digests`: Docker-Content-Digest is sent.
    `by_tag`, `by_digest`: the status of a DELETE of something that exists. `needs_no_tag`, `keeps_children`,
    `keeps_untagged`, `keeps_held`: refuses to delete a digest with tags (GCR), a child of an index (zot), an untagged
    manifest (Quay), what a tag or an index refers to (Docker Hub). `omits_longer`: a list of tags omits
    `0.1.20` if it has `0.1.2`.
    """

    name: str
    catalog: int = 200
    pages_tags: bool = True
    cap: int = 1000
    strict: bool = False
    links: str = "relative"
    heads: int = 200
    names_digests: bool = True
    by_digest: int = 202
    by_tag: int = 400
    by_tag_code: str = "UNSUPPORTED"
    last_tag_takes: bool = False
    cascades: bool = False
    keeps_tags: bool = False
    needs_no_tag: bool = False
    keeps_children: bool = False
    keeps_untagged: bool = False
    keeps_held: bool = False
    error_after: bool = False
    omits_longer: bool = False
    has_referrers: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


DISTRIBUTION = Profile(
    "distribution 2.8",
    pages_tags=False,
    strict=True,
    by_tag_code="DIGEST_INVALID",
    headers={"Docker-Distribution-Api-Version": "registry/2.0"},
)
DISTRIBUTION_3 = replace(
    DISTRIBUTION, name="distribution 3", pages_tags=True, strict=True, by_tag=202, has_referrers=True
)
DISTRIBUTION_3_ON_S3 = replace(DISTRIBUTION_3, name="distribution 3.1.1 on S3", omits_longer=True)  # distribution#4891
PROFILES = (
    DISTRIBUTION,
    DISTRIBUTION_3,
    replace(DISTRIBUTION, name="distribution 3, untagging fails", by_tag=202, error_after=True, keeps_tags=True),
    Profile("Docker Hub", catalog=401, cap=100, by_tag=405, keeps_held=True),  # without its own API
    Profile("GHCR", catalog=404, cap=100, by_digest=405, by_tag=405),  # without its own API
    Profile("ECR", strict=True, by_tag=202, last_tag_takes=True, names_digests=False),
    Profile("GCR, Artifact Registry", pages_tags=False, by_tag=202, needs_no_tag=True),
    Profile("ACR", cap=1000, by_tag=405, headers={"Server": "AzureContainerRegistry"}),
    Profile("Quay", catalog=401, cap=100, links="absolute", by_tag=202, keeps_untagged=True),
    Profile("Harbor", catalog=401, cap=100, cascades=True, has_referrers=True),
    Profile("GitLab", catalog=403, cap=100, links="opaque", by_tag=202),
    Profile("Nexus, old", cap=100, links="none", heads=404, by_tag=404, headers={"Server": "Nexus/3.20.1-01 (OSS)"}),
    Profile("Nexus", cap=100, links="elsewhere", keeps_tags=True, headers={"Server": "Nexus/3.64.0-04 (OSS)"}),
    Profile("Artifactory", cap=100, links="opaque", by_tag=405, headers={"X-JFrog-Version": "Artifactory/7.77.5"}),
    Profile("zot", cap=100, by_tag=202, keeps_children=True, has_referrers=True),
    Profile("immutable tags (Harbor, Quay)", by_digest=412, by_tag=409),
)


class ProfileServer(MemoryServer):
    """A registry in memory that behaves as its profile defines."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(
            Switches(
                untags=profile.by_tag == 202,
                last_tag_takes=profile.last_tag_takes,
                cascades=profile.cascades,
                keeps_tags=profile.keeps_tags,
                has_referrers=profile.has_referrers,
                pages_tags=profile.pages_tags,
            )
        )
        self.profile = profile

    def answer(self, request: Request) -> Answer:
        found = self._answer(request)
        headers = {**self.profile.headers, **found.headers}
        if not self.profile.names_digests and request.method in ("GET", "HEAD"):
            headers.pop("Docker-Content-Digest", None)
        return replace(found, headers=headers)

    def _answer(self, request: Request) -> Answer:
        profile = self.profile
        if request.path.startswith("/elsewhere/"):
            return Answer(400, b"<html>no such repository</html>", {"Content-Type": "text/html"})
        if request.path == "/v2/_catalog" and profile.catalog != 200:
            return _refused(profile.catalog, "UNAUTHORIZED" if profile.catalog == 401 else "DENIED")
        if profile.omits_longer and request.path.endswith("/tags/list"):
            tags = self.repositories[request.path.removeprefix("/v2/").removesuffix("/tags/list")].tags or {}
            self.switches.hidden = {tag for tag in tags if any(tag != one and tag.startswith(one) for one in tags)}
        if request.path == "/v2/_catalog" or (request.path.endswith("/tags/list") and profile.pages_tags):
            return self._page(request)
        if request.method == "HEAD" and "/manifests/" in request.path and profile.heads != 200:
            return Answer(profile.heads)
        if request.method == "DELETE" and "/manifests/" in request.path:
            return self._refusal_of(request) or self._deleted(request)
        return super().answer(request)

    def _page(self, request: Request) -> Answer:
        profile = self.profile
        asked = request.query.get("n", "100")
        number = int(asked) if asked.isdigit() else -1
        if not 0 <= number <= profile.cap and profile.strict:
            return _refused(400, "PAGINATION_NUMBER_INVALID")
        if number < 0:
            return _refused(400, "BAD_REQUEST")  # as go-containerregistry's registry and zot, which give no reason
        query = {**request.query, "n": str(min(number, profile.cap))}
        if "cursor" in query:
            query["last"] = base64.urlsafe_b64decode(query["cursor"]).decode()
        found = super().answer(replace(request, query=query))
        body = json.loads(found.body)
        names = body.get("repositories") or body.get("tags") or []
        if "Link" not in found.headers or not names:
            return found
        cursor = base64.urlsafe_b64encode(names[-1].encode()).decode().replace("=", "%3D")
        link = {
            "relative": found.headers["Link"],
            "absolute": f'<{self.url}{request.path}?n={query["n"]}&last={names[-1]}>; rel="next"',
            "opaque": f'<{request.path}?cursor={cursor}>; rel="next"',
            "elsewhere": f'<{self.url}/elsewhere{request.path}?n={query["n"]}&last={names[-1]}>; rel="next"',
        }.get(profile.links)
        kept = {name: value for name, value in found.headers.items() if name != "Link"}
        return replace(found, headers={**kept, "Link": link} if link else kept)

    def _refusal_of(self, request: Request) -> Answer | None:
        """Why a DELETE of something that exists is refused; None if it is processed."""
        profile = self.profile
        name, reference = request.path.removeprefix("/v2/").split("/manifests/")
        if ":" not in reference:
            code = {404: "MANIFEST_UNKNOWN", 409: "TAG_IMMUTABLE"}.get(profile.by_tag, profile.by_tag_code)
            return _refused(profile.by_tag, code) if profile.by_tag != 202 else None
        if profile.by_digest == 405:
            return _refused(405, "UNSUPPORTED")
        repository = self.repositories.get(name)
        if repository is None or reference not in repository.manifests:
            return None
        tagged = reference in (repository.tags or {}).values()
        if profile.by_digest != 202:
            return _refused(profile.by_digest, "PRECONDITION")
        if profile.needs_no_tag and tagged:
            return _refused(400, "GOOGLE_MANIFEST_DANGLING_TAG")
        if profile.keeps_untagged and not tagged:
            return _refused(404, "MANIFEST_UNKNOWN")
        is_child = any(reference in found.children for found in repository.manifests.values())
        if profile.keeps_held and (tagged or is_child):
            return _refused(403, "DENIED")
        if profile.keeps_children and is_child:
            return _refused(405, "DENIED")
        return None

    def _deleted(self, request: Request) -> Answer:
        found = super().answer(request)
        if found.status == 202 and self.profile.error_after and ":" in request.reference:
            return replace(_refused(202, "UNKNOWN"))
        return found


def _refused(status: int, code: str) -> Answer:
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
