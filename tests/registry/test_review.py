"""The GitHub action and the GitLab component, run as their runners do, on a real registry.

The plan is a comment on the change that edits the policy; its merge removes precisely that, and else nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil import __version__
from dregutil.review.text import read_marker
from images import Pusher, created
from program import Program
from reviewing import GitHubRunner, GitLabRunner, Runner
from servers import DistributionServer

HEAD, MERGE = "a" * 40, "c" * 40
OLD = {"1.0", "1.1", "1.2"}  # what `last: 3` does not keep
NEW = {"1.3", "1.4", "1.5"}


one_service = pytest.mark.parametrize("runner", [GitLabRunner], indirect=True)  # where both do the same


@pytest.fixture(params=[GitHubRunner, GitLabRunner], ids=["github", "gitlab"])
def runner(
    request: pytest.FixtureRequest, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> Iterator[Runner]:
    for number in range(6):
        pusher.push_image("shop/web", f"1.{number}", seed=str(number), config=created(60 - number))
    found: Runner = request.param(tmp_path, registry_server.url)
    found.write_policy(last=3)
    with found.forge:
        yield found


def _approved(runner: Runner) -> None:
    """A change with the policy `last: 3` is planned and merged."""
    done = runner.plan()
    assert done.returncode == 0, done.stderr
    runner.forge.merged[MERGE] = (3, HEAD)


def _comment(runner: Runner) -> str:
    (body,) = runner.forge.bodies(3)
    return body


def test_the_plan_is_a_comment_that_each_plan_replaces(runner: Runner, pusher: Pusher) -> None:
    runner.write_policy(last=5)
    assert runner.plan().returncode == 0
    before = _comment(runner)
    assert "1 tag to go" in before
    copied = runner.forge.add(3, before, runner.forge.other)
    runner.write_policy(last=3)
    assert runner.plan(head="b" * 40).returncode == 0
    ours, others = runner.forge.bodies(3)
    assert others == copied["body"] == before, "what others wrote stays, whatever it says"
    assert "| shop/web | all | REMOVE | 3 | 1.6 kB | beyond last: 3 | 1.0, 1.1, 1.2 |" in ours
    assert "| shop/web | all | KEEP | 3 |  | last: 3 | 1.3, 1.4, 1.5 |" in ours
    assert "approves this plan, and no other" in ours
    marker = read_marker(ours)
    assert marker is not None
    assert (marker.head, marker.sum[:7]) == ("b" * 40, "sha256:")
    assert marker.sum in ours.partition("\n")[2]
    assert {*pusher.tags("shop/web")} == OLD | NEW
    (source,) = {line.split()[-1] for line in runner.installed.splitlines() if "pip install" in line}
    pinned = f"docker-registry-util=={__version__}"
    assert source == (str(Path(__file__).parents[2]) if isinstance(runner, GitHubRunner) else pinned)


def test_the_merge_removes_precisely_what_was_approved(runner: Runner, pusher: Pusher) -> None:
    _approved(runner)
    pusher.push_image("shop/web", "1.6", seed="6", config=created(1))
    before = pusher.tags("shop/web")  # now `last: 3` would take 1.3, too
    done = runner.apply()
    assert done.returncode == 0, done.stderr
    assert {*pusher.tags("shop/web")} == NEW | {"1.6"}
    body = _comment(runner)
    assert "| shop/web | all | REMOVE | 3 |" in body, "what was approved is still shown"
    assert f"Applied with {MERGE[:12]}" in body
    undone = Program(runner.registry, runner.folder).run("undo", "-y", state=runner.records)
    assert undone.returncode == 0, undone.stderr
    assert pusher.tags("shop/web") == before
    again = runner.apply()
    assert again.returncode == 0
    assert f"the plan was applied with {MERGE}" in again.stderr
    assert _comment(runner).count("Applied with") == 1


@one_service
def test_a_policy_that_keeps_more_by_then_removes_nothing(runner: Runner, pusher: Pusher) -> None:
    _approved(runner)
    runner.write_policy(last=5)
    done = runner.apply()
    assert done.returncode == 5
    assert "the merged policy keeps shop/web:1.1, shop/web:1.2 by now" in done.stderr
    assert {*pusher.tags("shop/web")} == OLD | NEW
    assert "Nothing was removed: the merged policy keeps" in _comment(runner)


@one_service
def test_a_policy_that_keeps_less_by_then_removes_what_was_approved(runner: Runner, pusher: Pusher) -> None:
    _approved(runner)
    runner.write_policy(last=1)
    assert runner.apply().returncode == 0
    assert {*pusher.tags("shop/web")} == NEW


@one_service
def test_an_image_that_is_gone_or_has_moved_is_no_obstacle(runner: Runner, pusher: Pusher) -> None:
    _approved(runner)
    pusher.push_image("shop/web", "1.0", seed="pushed again", config=created(0.1))
    assert runner.apply().returncode == 0
    assert {*pusher.tags("shop/web")} == NEW | {"1.0"}


@one_service
def test_another_commit_than_the_planned_one_is_refused(runner: Runner, pusher: Pusher) -> None:
    _approved(runner)
    runner.forge.merged[MERGE] = (3, "d" * 40)
    done = runner.apply()
    assert done.returncode == 5
    assert f"the plan is of {HEAD[:12]}, and {'d' * 12} was merged" in done.stderr
    assert {*pusher.tags("shop/web")} == OLD | NEW


@one_service
def test_another_plan_than_the_approved_one_is_refused(runner: Runner, pusher: Pusher) -> None:
    _approved(runner)
    (job,) = runner.forge.files
    ((name, _),) = runner.forge.files[job].items()
    runner.write_policy(last=1)
    assert runner.plan(change=4, head="e" * 40).returncode == 0
    runner.forge.files[job][name] = next(iter(runner.forge.files[job + 1].values()))
    done = runner.apply()
    assert done.returncode == 5
    assert "not the expected one" in done.stderr
    assert {*pusher.tags("shop/web")} == OLD | NEW
    del runner.forge.files[job]
    assert runner.apply().returncode == 5
    assert {*pusher.tags("shop/web")} == OLD | NEW


def test_a_plan_of_another_change_is_refused(runner: Runner, pusher: Pusher) -> None:
    _approved(runner)
    runner.forge.jobs[1] = "f" * 40
    done = runner.apply()
    assert done.returncode == 5
    assert "is none of" in done.stderr
    assert {*pusher.tags("shop/web")} == OLD | NEW


def test_a_commit_without_a_change_removes_nothing(runner: Runner, pusher: Pusher) -> None:
    done = runner.apply("f" * 40)
    assert done.returncode == 5
    assert "nothing was approved" in done.stderr
    assert {*pusher.tags("shop/web")} == OLD | NEW


@one_service
def test_a_policy_with_a_mistake_has_no_plan_to_approve(runner: Runner, pusher: Pusher) -> None:
    (runner.checkout / "policy.yml").write_text("version: 1\npolicies: [{name: all, keeep: {last: 3}}]\n")
    assert runner.plan().returncode != 0
    assert "There is no plan to approve" in _comment(runner)
    assert "keeep" in _comment(runner)
    runner.forge.merged[MERGE] = (3, HEAD)
    runner.write_policy(last=3)
    assert runner.apply().returncode == 5
    assert {*pusher.tags("shop/web")} == OLD | NEW


def test_no_plan_is_made_for_a_fork(runner: Runner) -> None:
    done = runner.plan(fork=True)
    assert done.returncode == 5
    assert "comes from a fork" in done.stderr
    assert not runner.forge.comments


def test_a_plan_that_cannot_be_commented_is_an_error(runner: Runner) -> None:
    runner.forge.denied = {"/repos/team/images/issues/3/comments", "/projects/7/merge_requests/3/notes"}
    done = runner.plan()
    assert done.returncode == 5
    assert "answered with 403" in done.stderr
    assert runner.forge.token not in done.stderr
