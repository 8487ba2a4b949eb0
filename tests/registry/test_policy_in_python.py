"""A cleanup by a policy written in Python plans what the policy file with the same keys does."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dregutil
from images import Pusher, created
from servers import DistributionServer

TEXT = """version: 1
policies:
  - name: nightly
    repositories: ["team/*"]
    select: {tags: "nightly-*"}
    keep: {last: 1, within: 20d}
    max_remove: 100%
"""
NIGHTLY = dregutil.Policy(
    name="nightly",
    repositories=["team/*"],
    select=dregutil.Select(tags=["nightly-*"]),
    keep=dregutil.Keep(last=1, within=timedelta(days=20)),
    max_remove="100%",
)


def taken(plan: dregutil.Plan) -> set[tuple[str, str, str]]:
    return {(str(step.digest), " ".join(step.tags), step.because) for step in plan.steps}


def test_a_policy_in_python_plans_what_its_file_does(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for tag, days in {"nightly-1": 50, "nightly-2": 40, "nightly-3": 30, "nightly-4": 10, "1.0": 60}.items():
        pusher.push_image("team/app", tag, seed=tag, config=created(days))
    file = tmp_path / "policy.yml"
    file.write_text(TEXT)
    with dregutil.open(registry_server.url) as registry:
        by_file = registry.plan_cleanup(file).plan
        by_python = registry.plan_cleanup(dregutil.policy_set([NIGHTLY])).plan
    assert sorted(tag for step in by_python.steps for tag in step.tags) == ["nightly-1", "nightly-2", "nightly-3"]
    assert taken(by_python) == taken(by_file)
