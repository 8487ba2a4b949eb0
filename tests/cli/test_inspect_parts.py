"""`inspect`: attestations, versions of Windows, referrers of referrers; `--raw`: bytes as the registry has them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dregutil.inventory.referrer_tree import DEEPEST_REFERRER
from images import INDEX, Pusher
from program import Program, on_terminal
from servers.memory import MemoryServer, Switches
from servers.real import KINDS

PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"


@pytest.fixture
def olareg(tmp_path: Path) -> Iterator[tuple[Pusher, Program]]:
    with KINDS["olareg"].start(tmp_path / "olareg") as server, Pusher(server.url) as pusher:
        yield pusher, Program(server.url, tmp_path)


@pytest.fixture
def stored(pusher: Pusher, tmp_path: Path) -> tuple[Pusher, Program]:
    return pusher, Program(pusher.url, tmp_path)


def shown(program: Program, image: str, code: int = 0) -> tuple[str, dict[str, Any]]:
    """The text of an image, and its object."""
    text, data = program.run("inspect", image), program.run("inspect", image, "--format", "json")
    assert (text.returncode, data.returncode) == (code, code), text.stderr
    return text.stdout, json.loads(data.stdout)[0]


def push_attestation(pusher: Pusher, repository: str, image: dict[str, Any], *predicates: str) -> dict[str, Any]:
    """As BuildKit does: a manifest with a statement in each layer, whose platform is unknown."""
    layers = []
    for predicate in predicates:
        raw = json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate}).encode()
        about = {"in-toto.io/predicate-type": predicate} if predicate else {}
        digest = pusher.push_blob(repository, raw)
        media_type = "application/vnd.in-toto+json"
        layers.append({"mediaType": media_type, "digest": digest, "size": len(raw), "annotations": about})
    config = json.dumps({"architecture": "unknown", "os": "unknown", "config": {}}).encode()
    body = {
        "schemaVersion": 2,
        "mediaType": image["mediaType"],
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": pusher.push_blob(repository, config),
            "size": len(config),
        },
        "layers": layers,
    }
    raw = json.dumps(body).encode()
    digest = pusher.push_manifest(repository, None, raw, image["mediaType"])
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}
    unknown = {"architecture": "unknown", "os": "unknown"}
    found = {"mediaType": image["mediaType"], "digest": digest, "size": len(raw)}
    return {**found, "annotations": about, "platform": unknown}


def test_attestations_are_part_of_the_index_and_no_platforms(stored: tuple[Pusher, Program]) -> None:
    pusher, program = stored
    amd = {**pusher.push_image("r", seed="amd"), "platform": {"os": "linux", "architecture": "amd64"}}
    arm = {**pusher.push_image("r", seed="arm"), "platform": {"os": "linux", "architecture": "arm64"}}
    attested = push_attestation(pusher, "r", amd, PROVENANCE, SPDX)
    other = push_attestation(pusher, "r", arm, "https://example.com/own", "")
    pusher.push_index("r", "1.0", children=[amd, arm, attested, other])
    text, found = shown(program, "r:1.0")
    assert found["platforms"] == ["linux/amd64", "linux/arm64"]
    assert [child["digest"] for child in found["children"]] == [amd["digest"], arm["digest"]]
    first, second = found["attestations"]
    assert (first["digest"], first["subject"], first["platform"]) == (attested["digest"], amd["digest"], "linux/amd64")
    assert [(one["name"], one["predicate_type"]) for one in first["statements"]] == [
        ("provenance", PROVENANCE),
        ("SBOM", SPDX),
    ]
    assert [one["predicate_type"] for one in second["statements"]] == ["https://example.com/own", None]
    statements = json.loads(pusher.raw("r", attested["digest"]))
    assert first["size"] == attested["size"] + statements["config"]["size"] + sum(
        layer["size"] for layer in statements["layers"]
    )
    section = text.partition("attestations:\n")[2].splitlines()
    assert section[0].split() == ["linux/amd64", attested["digest"], *section[0].split()[2:4], "provenance,", "SBOM"]
    assert section[1].endswith("https://example.com/own, unknown")
    assert "unknown/unknown" not in text


def test_an_attestation_without_its_subject_or_manifest_is_shown(stored: tuple[Pusher, Program]) -> None:
    pusher, program = stored
    image = pusher.push_image("r", seed="amd")
    attested = push_attestation(pusher, "r", {**image, "digest": f"sha256:{'0' * 64}"}, SPDX)
    attested["annotations"].pop("vnd.docker.reference.digest")
    pusher.push_index("r", "1.0", children=[image, attested])
    _, found = shown(program, "r:1.0")
    assert (found["attestations"][0]["subject"], found["attestations"][0]["platform"]) == (None, None)
    assert pusher.request("DELETE", f"/v2/r/manifests/{attested['digest']}")[0] == 202
    _, found = shown(program, "r:1.0", 3)
    assert found["missing"] == [{"digest": attested["digest"], "platform": None}]
    assert found["platforms"] == ["linux/amd64"]


def test_windows_shows_its_version(stored: tuple[Pusher, Program]) -> None:
    pusher, program = stored
    versions = ("10.0.17763.6893", "10.0.20348.3207")
    children = [
        {
            **pusher.push_image("r", seed=version, config={"os": "windows", "os.version": version}),
            "platform": {"os": "windows", "architecture": "amd64", "os.version": version},
        }
        for version in versions
    ]
    children[1]["platform"].pop("os.version")  # the config has it, too
    pusher.push_index("r", "1.0", children=children)
    text, found = shown(program, "r:1.0")
    assert found["platforms"] == ["windows/amd64"]
    assert [child["os_version"] for child in found["children"]] == list(versions)
    assert found["os_version"] is None
    assert [version for version in versions if f"windows/amd64 {version}  sha256:" in text] == list(versions)
    text, found = shown(program, f"r@{children[0]['digest']}")
    assert found["os_version"] == versions[0]
    assert f"platform  windows/amd64 {versions[0]}\n" in text


def test_an_odd_version_of_a_system_hides_nothing(tmp_path: Path) -> None:
    """distribution refuses such an index; others may not."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        image = {**pusher.push_image("r", seed="one", config={"os.version": 7}), "platform": {"os": "linux"}}
        image["platform"]["os.version"] = 7
        pusher.push_index("r", "1.0", children=[image])
        _, found = shown(Program(server.url, tmp_path), "r:1.0")
    assert (found["platforms"], found["children"][0]["os_version"]) == (["linux"], None)


def test_referrers_are_shown_to_their_leaves(olareg: tuple[Pusher, Program]) -> None:
    """On olareg: an SBOM and its signature, listed by the referrers API; the SBOM's other signature has a tag."""
    pusher, program = olareg
    image = pusher.push_image("r", "1.0", seed="one")
    sbom = pusher.push_image("r", seed="sbom", subject=image)
    signature = pusher.push_image("r", seed="signature", subject=sbom)
    tag = f"sha256-{sbom['digest'][7:]}.sig"
    tagged = pusher.push_image("r", tag, seed="by tag")
    text, found = shown(program, "r:1.0")
    (first,) = found["referrers"]
    assert (first["digest"], first["tag"]) == (sbom["digest"], None)
    assert [(one["digest"], one["tag"], one["referrers"]) for one in first["referrers"]] == [
        (tagged["digest"], tag, []),
        (signature["digest"], None, []),
    ]
    lines = [line.partition("  application")[0] for line in text.partition("referrers:\n")[2].splitlines()]
    assert [line.rstrip() for line in lines] == [
        f"  {sbom['digest']}",
        f"    {tagged['digest']}",
        f"    {signature['digest']}",
    ]
    _, text = on_terminal(program, "", "inspect", "r:1.0")
    rows = [line.partition("  application")[0] for line in text.partition("referrers:\n")[2].splitlines()]
    digests = [one["digest"][7:19] for one in (sbom, tagged, signature)]
    assert [row.rstrip() for row in rows] == [f"  {digests[0]}", f"    {digests[1]}", f"    {digests[2]}"]


def test_referrers_in_a_circle_are_shown_once(stored: tuple[Pusher, Program]) -> None:
    """Tags can name anything: each of two manifests is the signature of the other."""
    pusher, program = stored
    one, two = (pusher.push_image("r", seed=seed) for seed in ("one", "two"))
    for signed, signature in ((one, "two"), (two, "one")):
        pusher.push_image("r", f"sha256-{signed['digest'][7:]}.sig", seed=signature)
    _, found = shown(program, f"r@{one['digest']}")
    (first,) = found["referrers"]
    assert (first["digest"], first["referrers"]) == (two["digest"], [])


def test_a_chain_of_referrers_that_is_too_long_is_cut_and_reported(tmp_path: Path) -> None:
    with MemoryServer(Switches(has_referrers=True)) as server, Pusher(server.url) as pusher:
        subject = pusher.push_image("r", "1.0", seed="one")
        for number in range(DEEPEST_REFERRER + 2):
            subject = pusher.push_image("r", seed=f"referrer {number}", subject=subject)
        program = Program(server.url, tmp_path)
        done = program.run("inspect", "r:1.0")
    assert done.returncode == 3
    assert done.stdout.partition("referrers:\n")[2].count("sha256:") == DEEPEST_REFERRER
    assert f"referrers deeper than {DEEPEST_REFERRER} levels are not read" in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_raw_prints_the_bytes_of_manifests_and_configs(kind: str, tmp_path: Path) -> None:
    """By tag and by digest, for an image, an index and an artifact, as a shell pipes it."""
    with KINDS[kind].start(tmp_path / "server") as server:
        with Pusher(server.url) as pusher:
            image = pusher.push_image("r", "image", "latest", seed="one")
            pusher.push_index("r", "index", children=[image])
            body = json.loads(pusher.raw("r", "image")) | {"artifactType": "application/vnd.example"}
            raw = json.dumps(body, indent=3).encode() + b"\n\n"
            pusher.push_manifest("r", "artifact", raw, image["mediaType"])
            manifests = {name: pusher.raw("r", name) for name in ("image", "index", "artifact")}
        program = Program(server.url, tmp_path)
        for name, expected in manifests.items():
            digest = Pusher.digest_of(expected)
            for image_name in (f"r:{name}", f"r@{digest}"):
                assert printed(program, "inspect", "--raw", image_name) == expected
        assert printed(program, "inspect", "--raw", "r") == manifests["image"]
        for name in ("image", "artifact"):
            config = printed(program, "inspect", "--raw-config", f"r:{name}")
            assert f"sha256:{hashlib.sha256(config).hexdigest()}" == body["config"]["digest"]
        done = program.run("inspect", "--raw-config", "r:index")
        assert (done.returncode, done.stdout) == (1, "")
        assert "r:index is an index, which has no config" in done.stderr
        assert f"name one of its images: r@{image['digest']}" in done.stderr


def printed(program: Program, *arguments: str) -> bytes:
    """What a command prints; it says nothing else."""
    done = subprocess.run(program.command(arguments), env=program.environment(), capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout


def test_raw_on_a_terminal_is_the_same_unless_it_would_control_it(stored: tuple[Pusher, Program]) -> None:
    pusher, program = stored
    image = pusher.push_image("r", "1.0", seed="long " * 60)
    assert on_terminal(program, "", "inspect", "--raw", "r:1.0") == (0, pusher.raw("r", "1.0").decode())
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image], "annotations": {"a": "\u202e\x9b31m"}}
    raw = json.dumps(body, ensure_ascii=False).encode()
    pusher.push_manifest("r", "odd", raw, INDEX)
    code, text = on_terminal(program, "", "inspect", "--raw", "r:odd")
    assert (code, "\x9b" in text) == (2, False)
    assert "redirect it to a file" in text
    assert printed(program, "inspect", "--raw", "r:odd") == raw


def test_raw_says_what_is_wrong_and_prints_nothing(stored: tuple[Pusher, Program]) -> None:
    pusher, program = stored
    image = pusher.push_image("r", "1.0", seed="one")
    for option in ("--raw", "--raw-config"):
        done = program.run("inspect", option, "r:2.0")
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no r:2.0 (did you mean 1.0?)" in done.stderr
        assert program.run("inspect", option, "r:1.0", "--format", "json").returncode == 2
    config = json.loads(pusher.raw("r", image["digest"]))["config"]["digest"]
    assert pusher.request("DELETE", f"/v2/r/blobs/{config}")[0] == 202
    done = program.run("inspect", "--raw-config", "r:1.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the config of r:1.0 is missing in the registry: {config}" in done.stderr
