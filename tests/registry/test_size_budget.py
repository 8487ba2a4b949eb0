"""A size budget on the real registry: what a policy may take, and how much a cleanup frees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import dregutil
from images import Pusher, created
from program import Program
from servers import DistributionServer

POLICY = """version: 1
defaults: {max_remove: 100%}
policies: [{name: builds, repositories: ["**"], UNDERkeep: {last: 1}}]
"""
SIZE = 100_000


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    """Five images of 100 kB each, and 10 kB that all have; 5.0 is the newest."""
    for number in range(1, 6):
        layers = [b"shared" * 1700, bytes([number]) * SIZE]
        pusher.push_image("shop/web", f"{number}.0", seed=str(number), layers=layers, config=created(100 - number))
    return Program(registry_server.url, tmp_path)


def cleanup(program: Program, *arguments: str, under: str = "") -> subprocess.CompletedProcess[str]:
    (program.folder / "policy.yml").write_text(POLICY.replace("UNDER", f"keep_under: {under}, " if under else ""))
    done = program.run("cleanup", "-f", "policy.yml", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_keep_under_removes_the_oldest_until_the_rest_fits(program: Program, pusher: Pusher) -> None:
    shown = cleanup(program, "--dry-run", "--details", under="350kB").stdout
    assert "keep_under: 350kB" in shown
    assert "keep_under of builds: 514 kB now, 312 kB then, of 350 kB" in shown
    for night in range(3):
        cleanup(program, "-y", under="350kB")
        assert set(pusher.tags("shop/web")) == {"3.0", "4.0", "5.0"}, night


def test_a_budget_that_cannot_be_reached_is_said(program: Program, pusher: Pusher) -> None:
    said = cleanup(program, "-y", "--yes-remove", "4", under="50kB").stderr
    assert "it does not fit: something else keeps the rest" in said
    assert set(pusher.tags("shop/web")) == {"5.0"}


def test_free_removes_no_more_than_asked_and_counts_what_waits_for_the_collector(
    program: Program, pusher: Pusher
) -> None:
    said = cleanup(program, "-y", "--free", "150kB").stderr
    assert "--free 150kB leaves 2 tags for later runs" in said
    assert set(pusher.tags("shop/web")) == {"3.0", "4.0", "5.0"}
    again = cleanup(program, "-y", "--free", "150kB").stderr
    assert "of it wait for the registry's garbage collection" in again
    assert set(pusher.tags("shop/web")) == {"3.0", "4.0", "5.0"}
    cleanup(program, "-y", "--free", "250kB")
    assert set(pusher.tags("shop/web")) == {"4.0", "5.0"}


def test_after_a_collection_free_begins_anew(
    program: Program, pusher: Pusher, registry_server: DistributionServer
) -> None:
    cleanup(program, "-y", "--free", "150kB")
    registry_server.garbage_collect()
    cleanup(program, "-y", "--free", "50kB")
    assert set(pusher.tags("shop/web")) == {"4.0", "5.0"}


def test_the_storage_says_exactly_what_waits(
    program: Program, pusher: Pusher, registry_server: DistributionServer
) -> None:
    cleanup(program, "-y", "--free", "150kB")
    storage = ("--storage", str(registry_server.storage))
    assert "wait for the registry's" in cleanup(program, "-y", "--free", "150kB", *storage).stderr
    assert set(pusher.tags("shop/web")) == {"3.0", "4.0", "5.0"}


def test_free_that_cannot_be_reached_is_said(program: Program) -> None:
    assert "--free 9GB cannot be reached" in cleanup(program, "--dry-run", "--free", "9GB").stdout


def test_two_limits_are_refused(program: Program) -> None:
    (program.folder / "policy.yml").write_text(POLICY.replace("UNDER", ""))
    done = program.run("cleanup", "-f", "policy.yml", "--free", "1GB", "--limit", "3", "--dry-run")
    assert done.returncode == 2
    assert "--limit and --free are two limits" in done.stderr


async def test_in_python(program: Program, pusher: Pusher) -> None:
    policy = dregutil.Policy(
        name="p", repositories=["**"], keep=dregutil.Keep(last=1), keep_under="350kB", max_remove="100%"
    )
    async with dregutil.connect(program.url, state_dir=program.state) as registry:
        proposal = await registry.plan_cleanup(dregutil.policy_set([policy]), free=50_000)
    assert [tag for step in proposal.plan.steps for tag in step.tags] == ["1.0"]
