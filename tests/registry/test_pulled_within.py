"""`pulled_within` on a real registry, with pulls that were recorded: what was pulled stays, and why says by whom."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import dregutil
from dregutil.oci.names import Digest, RegistryAddress, Repository
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import Batch
from images import Pusher, created
from program import Program
from servers import DistributionServer

POLICY = """version: 1
defaults: {max_remove: 100%, allow_empty: true}
protect: {pulls: [{events: true}]}
policies:
  - {name: builds, repositories: ["**"], keep: {last: 1, pulled_within: 90d}}
"""
DAY = timedelta(days=1)


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for place, tag in enumerate(("1.0", "1.1", "1.2", "2.0")):
        pusher.push_image("shop/web", tag, seed=tag, config=created(400 - place))
    child = pusher.push_image("shop/web", seed="child", config=created(500))
    pusher.push_index("shop/web", "multi", children=[child])
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


def record(program: Program, days_ago: float, *digests: str, since: float = 100) -> None:
    """Record pulls; the recording goes back `since` days."""
    now = datetime.now(UTC)
    batch = Batch()
    for digest in digests:
        batch.add(Repository("shop/web"), Digest(digest), int((now - days_ago * DAY).timestamp()), "containerd/2.1")
    store = PullStore(program.state, RegistryAddress.parse(program.url).identity)
    with store.writer(SourceKind.EVENTS, "notifications") as writer:
        writer.write(batch, (int((now - since * DAY).timestamp()), int(now.timestamp())))


def ok(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = program.run(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_what_was_pulled_lately_stays(program: Program, pusher: Pusher) -> None:
    child = json.loads(pusher.raw("shop/web", "multi"))["manifests"][0]["digest"]
    tags = pusher.tags("shop/web")
    record(program, 10, tags["1.0"], child)
    record(program, 95, tags["1.1"])
    why = ok(program, "why", "shop/web:1.0", "-f", "policy.yml").stdout
    assert "it was pulled 10d ago by containerd/2.1 (events); recorded since" in why
    ok(program, "cleanup", "-f", "policy.yml", "-y", "--yes-remove", "2")
    assert set(pusher.tags("shop/web")) == {"1.0", "2.0", "multi"}
    assert pusher.is_whole("shop/web", "multi")


def test_a_recording_that_is_too_short_keeps_everything_and_says_so(program: Program, pusher: Pusher) -> None:
    before = pusher.tags("shop/web")
    record(program, 1, before["1.0"], since=12)
    shown = ok(program, "cleanup", "-f", "policy.yml", "-y", "--details").stderr
    assert "pulled_within: 90d (recorded for 12 of 90 days)" in shown
    assert (
        "everything counts as pulled: pulled_within: 90d (recorded for 12 of 90 days)"
        in ok(program, "cleanup", "-f", "policy.yml", "--dry-run").stdout.splitlines()
    )
    assert pusher.tags("shop/web") == before


def test_without_a_recording_everything_stays(program: Program, pusher: Pusher) -> None:
    before = pusher.tags("shop/web")
    shown = ok(program, "cleanup", "-f", "policy.yml", "-y", "--details").stderr
    assert "pulled_within: 90d (pulls are not recorded)" in shown
    assert pusher.tags("shop/web") == before


def test_what_was_pulled_since_a_plan_was_made_stays(program: Program, pusher: Pusher) -> None:
    tags = pusher.tags("shop/web")
    record(program, 95, tags["1.1"])
    ok(program, "cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    child = json.loads(pusher.raw("shop/web", "multi"))["manifests"][0]["digest"]
    record(program, 0, tags["1.1"], child)
    done = ok(program, "apply", "plan.jsonl", "-y", "--yes-remove", "4")
    assert set(pusher.tags("shop/web")) == {"1.1", "2.0", "multi"}
    assert "pulled since the plan was made" in done.stderr


async def test_in_python(program: Program, pusher: Pusher) -> None:
    tags = pusher.tags("shop/web")
    record(program, 10, tags["1.2"])
    policies = dregutil.policy_set(
        [
            dregutil.Policy(
                name="p",
                repositories=["**"],
                keep=dregutil.Keep(pulled_within="90d"),
                max_remove="100%",
                allow_empty=True,
            )
        ],
        protect=dregutil.Protect(pulls=[dregutil.PullSource(dregutil.SourceKind.EVENTS)]),
    )
    async with dregutil.connect(program.url, state_dir=program.state) as registry:
        proposal = await registry.plan_cleanup(policies)
    assert {tag for step in proposal.plan.steps for tag in step.tags} == {"1.0", "1.1", "2.0", "multi"}
