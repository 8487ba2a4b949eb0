"""Pulls on real registries become known through their notifications."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dregutil.pulls.pull import SourceKind
from images import ACCEPT, Pusher
from listening import Listening, until
from program import Program
from servers import DistributionServer, find_program
from servers.real import KINDS


@pytest.fixture(params=["distribution-2.8", "distribution-3"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    kind = KINDS[request.param]
    kind.require()
    assert issubclass(kind.server, DistributionServer)
    with Listening(tmp_path, kind.server) as found:
        yield found


def pull(listening: Listening, repository: str, reference: str, agent: str, method: str = "GET") -> None:
    with Pusher(listening.server.url, headers={"User-Agent": agent, "Accept": ACCEPT}) as client:
        status, _, _ = client.request(method, f"/v2/{repository}/manifests/{reference}")
        assert status == 200


def shown(listening: Listening, *arguments: str) -> dict[str, dict[str, Any]]:
    done = listening.program.run("pulls", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return {f"{one['repository']}:{one['tag']}": one for one in json.loads(done.stdout)}


def test_a_pull_of_a_tag_is_shown_with_its_client(listening: Listening) -> None:
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
        pusher.push_image("shop/web", "2.0", seed="two")
    pull(listening, "shop/web", "1.0", "containerd/2.1.0 (linux)")
    until(lambda: listening.pulled("shop/web", one["digest"], "containerd/2.1.0"))
    found = shown(listening)
    assert found["shop/web:1.0"]["by"] == "containerd/2.1.0"
    assert found["shop/web:1.0"]["source"] == "events"
    assert found["shop/web:1.0"]["pulled"] >= found["shop/web:1.0"]["recorded_since"]
    assert found["shop/web:2.0"]["pulled"] is None
    table = listening.program.run("pulls", "shop/web:1.0")
    assert "shop/web:1.0" in table.stdout
    assert "containerd/2.1.0" in table.stdout
    assert "2.0" not in table.stdout.replace("2.1.0", "")
    assert "recorded since" in table.stderr
    assert listening.end_listener() == 0
    assert "recorded" in listening.shown


def test_skopeo_pulls(listening: Listening, tmp_path: Path) -> None:
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
    source = f"docker://{listening.server.host}/shop/web:1.0"
    subprocess.run(
        [find_program("skopeo"), "--insecure-policy", "copy", "--src-tls-verify=false", source, f"dir:{tmp_path}/out"],
        check=True,
        capture_output=True,
    )
    until(lambda: listening.pulled("shop/web", one["digest"]))
    assert listening.pulls("shop/web").digests[one["digest"]].agent.startswith("skopeo/")


def test_a_client_that_only_sends_head_counts(listening: Listening) -> None:
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
    pull(listening, "shop/web", "1.0", "containerd/2.1.0", method="HEAD")
    until(lambda: listening.pulled("shop/web", one["digest"], "containerd/2.1.0"))


def test_a_platform_that_is_pulled_by_digest_is_a_pull_of_the_tags_of_its_index(listening: Listening) -> None:
    with Pusher(listening.server.url) as pusher:
        children = [pusher.push_image("shop/web", seed=seed) for seed in ("amd64", "arm64")]
        pusher.push_index("shop/web", "1.0", children=children)
        pusher.push_image("shop/web", "2.0", seed="two")
    pull(listening, "shop/web", children[1]["digest"], "docker/28.0")
    until(lambda: listening.pulled("shop/web", children[1]["digest"], "docker/28.0"))
    found = shown(listening, "shop/web")
    assert found["shop/web:1.0"]["by"] == "docker/28.0"
    assert found["shop/web:2.0"]["pulled"] is None


def test_what_reads_for_us_and_what_scans_does_not_count(listening: Listening) -> None:
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
        two = pusher.push_image("shop/web", "2.0", seed="two")
    assert listening.program.run("refresh").returncode == 0
    assert listening.program.run("inspect", "shop/web:1.0").returncode == 0
    pull(listening, "shop/web", "1.0", "trivy/0.60.0")
    pull(listening, "shop/web", "2.0", "containerd/2.1.0")  # comes last: the registry sends them one by one
    until(lambda: listening.pulled("shop/web", two["digest"], "containerd/2.1.0"))
    assert listening.pulled("shop/web", one["digest"]) is None


def test_other_agents_can_be_ignored_instead(listening: Listening) -> None:
    listening.end_listener()
    listening.listen("--ignore-agent", "Nightly")
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
        two = pusher.push_image("shop/web", "2.0", seed="two")
    pull(listening, "shop/web", "1.0", "nightly/3")
    pull(listening, "shop/web", "2.0", "trivy/0.60.0")
    until(lambda: listening.pulled("shop/web", two["digest"], "trivy/0.60.0"))
    assert listening.pulled("shop/web", one["digest"]) is None


def test_a_pull_counts_for_the_digest_that_the_tag_had(listening: Listening) -> None:
    with Pusher(listening.server.url) as pusher:
        before = pusher.push_image("shop/web", "1.0", "old", seed="before")
        pull(listening, "shop/web", "1.0", "containerd/2.1.0")
        pusher.push_image("shop/web", "1.0", seed="after")
    until(lambda: listening.pulled("shop/web", before["digest"], "containerd/2.1.0"))
    found = shown(listening)
    assert found["shop/web:old"]["by"] == "containerd/2.1.0"
    assert found["shop/web:1.0"]["pulled"] is None


def test_pushes_are_kept_as_changes(listening: Listening) -> None:
    with Pusher(listening.server.url) as pusher:
        pusher.push_image("shop/web", "1.0", seed="one")
    assert "shop/web" in until(lambda: listening.store.changed_since(0))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_events_wait_in_the_registry_while_nothing_listens(listening: Listening, how: signal.Signals) -> None:
    """The registry keeps what got no answer, so that an endpoint that was down loses nothing, and there is no gap."""
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
        two = pusher.push_image("shop/web", "2.0", seed="two")
    pull(listening, "shop/web", "1.0", "containerd/2.1.0")
    until(lambda: listening.pulled("shop/web", one["digest"], "containerd/2.1.0"))
    assert listening.end_listener(how) == (0 if how is signal.SIGTERM else -how)
    assert listening.pulled("shop/web", one["digest"], "containerd/2.1.0"), "what was answered is kept"
    pull(listening, "shop/web", "2.0", "containerd/2.1.0")
    listening.listen()
    until(lambda: listening.pulled("shop/web", two["digest"], "containerd/2.1.0"))
    (source,) = listening.store.sources()
    assert source.kind is SourceKind.EVENTS
    assert len(source.spans) == 1
    assert source.gaps == ()


def test_a_registry_that_was_restarted_leaves_a_gap(listening: Listening) -> None:
    """Its queue is in its memory: what it had not yet sent is lost."""
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
    pull(listening, "shop/web", "1.0", "containerd/2.1.0")
    until(lambda: listening.pulled("shop/web", one["digest"], "containerd/2.1.0"))
    first = listening.pulled("shop/web", one["digest"])
    listening.end_listener()
    pull(listening, "shop/web", "1.0", "lost/1")  # and nothing listens
    listening.server.stop()
    listening.server.start()
    listening.listen()

    def is_recorded() -> bool:
        pull(listening, "shop/web", "1.0", "containerd/2.2.0")
        return bool(listening.store.sources()[0].gaps)

    until(is_recorded)
    (gap,) = listening.store.sources()[0].gaps
    assert first is not None
    assert first <= gap.since < gap.until
    assert gap.why == "the registry was started again"
    assert listening.pulled("shop/web", one["digest"], "containerd/2.2.0") or gap.until > first


def test_a_recording_that_has_stopped_is_seen(listening: Listening, tmp_path: Path) -> None:
    """By `doctor` and by a cleanup whose policy asks for pulls: a HEAD of theirs is not notified."""
    (tmp_path / "policy.yml").write_text(
        "version: 1\nprotect: {pulls: [{events: true}]}\n"
        "policies: [{name: p, repositories: ['**'], keep: {last: 1, pulled_within: 90d}}]\n"
    )
    cleanup = ("cleanup", "-f", "policy.yml", "--dry-run")
    with Pusher(listening.server.url) as pusher:
        pusher.push_image("shop/web", "1.0", seed="one")
    pull(listening, "shop/web", "1.0", "containerd/2.1.0")
    until(lambda: listening.store.sources() and listening.store.sources()[0].spans)
    found = listening.program.run("doctor")
    assert (found.returncode, "notifications arrive" in found.stdout) == (0, True), found.stdout
    assert "do not arrive" not in listening.program.run(*cleanup).stderr
    listening.end_listener()
    found = listening.program.run("doctor")
    assert (found.returncode, "NOT RECORDED" in found.stdout) == (3, True), found.stdout
    done = listening.program.run(*cleanup)
    assert "the registry's notifications do not arrive, the last one is of " in done.stderr
    assert "see that dregutil listen runs" in done.stderr
    listening.listen()
    until(lambda: "notifications arrive" in listening.program.run("doctor").stdout)


def test_ls_and_why_show_the_last_pull(listening: Listening, tmp_path: Path) -> None:
    with Pusher(listening.server.url) as pusher:
        one = pusher.push_image("shop/web", "1.0", seed="one")
        pusher.push_image("shop/web", "2.0", seed="two")
    pull(listening, "shop/web", "1.0", "containerd/2.1.0")
    until(lambda: listening.pulled("shop/web", one["digest"], "containerd/2.1.0"))
    (tmp_path / "policy.yml").write_text('version: 1\npolicies: [{name: p, repositories: ["**"], keep: {last: 1}}]\n')
    listed = listening.program.run("ls", "--columns", "tag,pulled", "--format", "json")
    assert listed.returncode == 0, listed.stderr
    pulled = {found["tag"]: found["pulled"] for found in json.loads(listed.stdout)}
    assert pulled["1.0"] is not None
    assert pulled["2.0"] is None
    explained = listening.program.run("why", "shop/web:1.0", "-f", "policy.yml")
    assert "ago by containerd/2.1.0 (events since" in explained.stdout
    never = listening.program.run("why", "shop/web:2.0", "-f", "policy.yml")
    assert "no pull is recorded (events since" in never.stdout
    assert "\nnote      last pull     no pull" in never.stdout, "it keeps nothing, and removes nothing"


def test_a_warning_where_everyone_may_send(tmp_path: Path) -> None:
    program = Program("http://127.0.0.1:1", tmp_path)
    running = program.start("listen", "--addr", "0.0.0.0:0")
    assert running.stderr is not None
    assert "warning" in running.stderr.readline()
    assert "--token-file" in running.stderr.readline()
    assert "listening on" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=30)[0] == ""
    assert running.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("listen", "--addr", "nowhere"),
        ("listen", "--addr", "127.0.0.1:99999"),
        ("listen", "--token-file", "absent"),
        ("listen", "--token-file", "empty"),
        ("pulls", "read"),
        ("pulls", "--line-format", "x"),
        ("pulls", "read", "empty", "--line-format", "("),
    ],
)
def test_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    done = Program("http://127.0.0.1:1", tmp_path).run(*arguments)
    assert done.returncode == 2
    assert "defect" not in done.stderr
