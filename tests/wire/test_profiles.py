"""Each kind of registry, as a fake with its known behaviour: it is read completely, and a removal works or fails
safely. The distribution profile stands for the real one, which `test_contract.py` and the other tests use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_servers import dregutil

from dregutil.errors import RegistryError
from dregutil.oci.names import Digest, Repository
from dregutil.registry import connect_writable
from dregutil.registry.server_kind import KINDS, Evidence, name_server
from images import Pusher
from servers.profiles import DISTRIBUTION_3_ON_S3, PROFILES, Profile, ProfileServer

REGISTRIES = Path(__file__).parents[2] / "docs" / "registries.md"
MANY = 250
DELETES_NOTHING = {"Docker Hub", "GHCR", "immutable tags (Harbor, Quay)"}
# What is deleted along with an index, or by tag name, stays listed there: this is reported, and not a success.
LEAVES_TAGS = {"distribution 3, untagging fails", "Nexus"}


@pytest.fixture(params=PROFILES, ids=lambda profile: profile.name)
def profile(request: pytest.FixtureRequest) -> Profile:
    found: Profile = request.param
    return found


@pytest.fixture
def server(profile: Profile) -> Iterator[ProfileServer]:
    with ProfileServer(profile) as found:
        yield found


@pytest.fixture
def pusher(server: ProfileServer) -> Iterator[Pusher]:
    with Pusher(server.url) as found:
        yield found


def arguments(server: ProfileServer, folder: Path) -> list[str]:
    (folder / "names").write_text("shop/web\nshop/many\n")
    return ["-reg", server.url, "-c", "None", "--state-dir", str(folder / "state"), "--repositories-from", "names"]


def truth(server: ProfileServer, repository: str) -> dict[str, str]:
    return dict(server.repositories[repository].tags or {})


def is_whole(server: ProfileServer, repository: str, tag: str) -> bool:
    """Whether a tag, its manifest, its children and their blobs exist, in the server's own data."""
    found = server.repositories[repository]

    def whole(digest: str) -> bool:
        manifest = found.manifests.get(digest)
        return (
            manifest is not None
            and all(whole(child) for child in manifest.children)
            and all(blob["digest"] in server.blobs for blob in manifest.blobs)
        )

    return whole((found.tags or {}).get(tag, ""))


def fill(pusher: Pusher) -> None:
    one, shared = pusher.push_image("shop/web", seed="one"), pusher.push_image("shop/web", seed="shared")
    pusher.push_index("shop/web", "1.0", children=[one, shared])
    pusher.push_index("shop/web", "2.0", children=[shared])
    pusher.push_image("shop/web", "1.1", "1.1.0", seed="two")
    pusher.push_image("shop/web", "1.2", "stable", seed="three")


def test_all_tags_are_listed(server: ProfileServer, pusher: Pusher, tmp_path: Path) -> None:
    image = pusher.push_image("shop/many", seed="many")
    tags = [f"1.{number}" for number in range(MANY)]
    server.repositories["shop/many"].tags = dict.fromkeys(tags, image["digest"])
    pusher.push_image("shop/web", "1.0", seed="one")

    found = dregutil(tmp_path, *arguments(server, tmp_path), "list-tag-names")

    assert found.returncode == 0, found.stderr
    assert set(found.stdout.split()) == {"shop/many", "shop/web", *tags}


def test_a_removal_works_or_fails_safely(
    server: ProfileServer, profile: Profile, pusher: Pusher, tmp_path: Path
) -> None:
    fill(pusher)
    before = truth(server, "shop/web")
    stay = ("2.0", "1.2", "stable")
    base = arguments(server, tmp_path)

    found = dregutil(tmp_path, *base, "query-tags", "-r", "shop/web", "-t", "<2")
    assert found.returncode == 0, found.stderr
    assert [line.split()[1] for line in found.stdout.splitlines()] == [before["1.0"], before["1.1"]]
    dry = dregutil(tmp_path, *base, "remove-tags", "-r", "shop/web", "-t", "<2", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert truth(server, "shop/web") == before

    done = dregutil(tmp_path, *base, "remove-tags", "-r", "shop/web", "-t", "<2", "-y")

    assert "Traceback" not in done.stderr
    for tag in stay:
        assert truth(server, "shop/web")[tag] == before[tag]
        assert is_whole(server, "shop/web", tag), (tag, done.stderr)
    if profile.name in DELETES_NOTHING:
        assert done.returncode in (1, 4), done.stderr
        assert "status 4" in done.stderr
        assert truth(server, "shop/web") == before
        assert all(is_whole(server, "shop/web", tag) for tag in before)
    elif profile.name in LEAVES_TAGS:
        assert done.returncode in (1, 3), done.stderr
        assert "gone, still listed" in done.stderr or "accepted, then an error" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert set(truth(server, "shop/web")) == set(stay)


def test_one_of_several_tags_is_removed_alone_or_nothing_is(
    server: ProfileServer, profile: Profile, pusher: Pusher, tmp_path: Path
) -> None:
    image = pusher.push_image("shop/web", "1.0", "stable", seed="one")
    pusher.push_index("shop/web", "2.0", children=[image])
    before = truth(server, "shop/web")
    base = arguments(server, tmp_path)

    done = dregutil(tmp_path, *base, "remove-tags", "-r", "shop/web", "-t", "1.0", "--untag", "-y")

    after = truth(server, "shop/web")
    assert {tag: after.get(tag) for tag in ("stable", "2.0")} == {tag: before[tag] for tag in ("stable", "2.0")}
    assert all(is_whole(server, "shop/web", tag) for tag in ("stable", "2.0")), done.stderr
    if profile.name in DELETES_NOTHING:
        assert done.returncode in (1, 3, 4), done.stderr
        assert after == before
        why = "no right to" if profile.keeps_held else "deletion is disabled"
        assert ("immutable or referred to (status 409)" if profile.by_tag == 409 else why) in done.stderr
    elif profile.keeps_tags and profile.by_tag != 202:
        assert done.returncode == 3, done.stderr
        assert "gone, still listed: shop/web 1.0: " in done.stderr
        assert "removed 1 tag (0 manifests)" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert after.keys() == {"stable", "2.0"}
        assert server.repositories["shop/web"].manifests.keys() == {image["digest"], before["2.0"]}


def test_a_tag_that_a_list_on_s3_omits_is_requested_by_name(tmp_path: Path) -> None:
    """It has moved to a doomed digest since it was seen; a client that trusts the list deletes it."""
    with ProfileServer(DISTRIBUTION_3_ON_S3) as server, Pusher(server.url) as pusher:
        one = pusher.push_image("shop/web", "0.1.2", "0.1.20", seed="one")
        seen = {"0.1.2": one["digest"], "0.1.20": f"sha256:{0:064}"}
        (tmp_path / "c.json").write_text(json.dumps({"shop/web": seen}))
        base = ["-reg", server.url, "-c", "c.json", "--state-dir", "state"]

        done = dregutil(tmp_path, *base, "remove-tags", "-r", "shop/web", "-t", "0.1.2", "-y")

        assert "the registry's list of tags omits '0.1.20', which resolves" in done.stderr
        assert done.returncode == 3
        assert truth(server, "shop/web").keys() == {"0.1.2", "0.1.20"}
        assert is_whole(server, "shop/web", "0.1.20")


def test_every_profile_has_its_row() -> None:
    rows = [line.split("|")[1].strip() for line in REGISTRIES.read_text().splitlines() if line.startswith("| ")]
    assert [profile.name for profile in PROFILES if profile.name not in rows] == []


# --- what a server is called


@pytest.mark.parametrize(
    ("evidence", "name"),
    [
        (Evidence("docker.io"), "Docker Hub"),
        (Evidence("mirror.example", realm="https://auth.docker.io/token"), "Docker Hub"),
        (Evidence("ghcr.io"), "GitHub Container Registry"),
        (Evidence("123456789012.dkr.ecr.eu-west-1.amazonaws.com"), "Amazon ECR"),
        (Evidence("europe-docker.pkg.dev"), "Google Artifact Registry"),
        (Evidence("eu.gcr.io"), "Google Artifact Registry"),
        (Evidence("shop.azurecr.io"), "Azure Container Registry"),
        (Evidence("quay.io"), "Quay"),
        (Evidence("q.example", realm="https://q.example/v2/auth"), "Quay"),
        (Evidence("h.example", realm="https://h.example/service/token", service="harbor-registry"), "Harbor"),
        (Evidence("g.example", realm="https://g.example/jwt/auth"), "GitLab"),
        (Evidence("g.example", {"gitlab-container-registry-version": "4.0-gitlab"}), "GitLab"),
        (Evidence("n.example", {"server": "Nexus/3.64.0-04 (OSS)"}), "Sonatype Nexus"),
        (Evidence("a.example", {"x-jfrog-version": "Artifactory/7"}), "JFrog Artifactory"),
        (Evidence("ghcr.io.evil.example", {"docker-distribution-api-version": "registry/2.0"}), "distribution, or"),
        (Evidence("h.example", realm="https://[bad"), "not known"),
    ],
)
def test_a_server_is_recognised(evidence: Evidence, name: str) -> None:
    assert name_server(evidence).name.startswith(name)


@given(
    st.text(max_size=30),
    st.dictionaries(st.sampled_from(["server", "x-jfrog-version"]), st.text(max_size=20)),
    st.text(max_size=40),
)
def test_any_evidence_gives_a_kind_of_server(host: str, headers: dict[str, str], realm: str) -> None:
    assert name_server(Evidence(host, headers, realm)).name


def test_doctor_names_the_server_and_the_workaround(tmp_path: Path) -> None:
    nexus = Profile("Nexus", by_digest=405, headers={"Server": "Nexus/3.64.0-04 (OSS)"})
    with ProfileServer(nexus) as server:
        found = dregutil(tmp_path, "-reg", server.url, "doctor", "--quick")
    assert found.returncode == 0, found.stderr
    assert "Sonatype Nexus" in found.stdout
    assert "allow redeployment and deletion in the repository's settings" in found.stdout


def test_every_kind_has_its_row() -> None:
    text = REGISTRIES.read_text()
    assert [kind.name for kind in KINDS if kind.name not in text] == []


async def test_a_refused_child_of_an_index_does_not_mean_that_deletion_is_disabled() -> None:
    (zot,) = (profile for profile in PROFILES if profile.name == "zot")
    with ProfileServer(zot) as server, Pusher(server.url) as pusher:
        child = pusher.push_image("shop/web", seed="one")
        pusher.push_index("shop/web", "1.0", children=[child])
        async with connect_writable(server.url) as registry:
            with pytest.raises(RegistryError, match="part of an index"):
                await registry.delete_manifest(Repository("shop/web"), Digest(child["digest"]))
        assert is_whole(server, "shop/web", "1.0")
