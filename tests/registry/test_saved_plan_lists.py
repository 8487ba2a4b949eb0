"""A saved plan of a policy: its run reads the lists of names, and of images to remove, again."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request

BRANCHES = """version: 1
defaults: {max_remove: 100%, min_age: 1d, allow_empty: true}
policies:
  - name: branches
    repositories: ["**"]
    select: {regex: '(?P<branch>.+)-[0-9a-f]{7}'}
    keep: KEEP
"""
NAMED = "{named_in: {file: alive.txt, max_age: 1d}, by: branch}"
DOOMED = """version: 1
defaults: {max_remove: 100%, min_age: 1d, allow_empty: true}
policies:
  - {name: bad, repositories: ["**"], doomed: [{file: bad.txt, max_age: 1d}]MORE}
"""
ALIVE = ("main", "one", "two", "three", "four")
GONE = ("old", "older", "oldest")


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def branches(program: Program, pusher: Pusher) -> Program:
    """A saved plan that removes the images of `GONE`."""
    for age, branch in enumerate((*ALIVE, *GONE)):
        pusher.push_image("app", tag(branch), seed=branch, config=created(10 + age))
    write(program, "policy.yml", BRANCHES.replace("KEEP", NAMED))
    alive(program, *ALIVE)
    return planned(program)


@pytest.fixture
def bad(program: Program, pusher: Pusher) -> Program:
    """A saved plan that removes `a` by its digest, and `b` and `c` by tag and digest."""
    for age, name in enumerate(("a", "b", "c", "good")):
        pusher.push_image("app", name, seed=name, config=created(10 + age))
    write(program, "policy.yml", DOOMED.replace("MORE", ""))
    doomed(program, pusher, "a", "b", "c")
    return planned(program)


def tag(branch: str) -> str:
    return f"{branch}-0000001"


def write(program: Program, name: str, text: str) -> None:
    (program.folder / name).write_text(text)


def alive(program: Program, *branches: str) -> None:
    write(program, "alive.txt", "".join(f"{branch}\n" for branch in branches))


def doomed(program: Program, pusher: Pusher, *names: str) -> None:
    digests = pusher.tags("app")
    lines = [f"app@{digests[name]}" if name == "a" else f"app:{name}@{digests[name]}" for name in names]
    write(program, "bad.txt", "".join(f"{line}\n" for line in lines))


def planned(program: Program) -> Program:
    done = program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    assert done.returncode == 0, done.stderr
    return program


def apply(program: Program, *more: str) -> subprocess.CompletedProcess[str]:
    return program.run("apply", "plan.jsonl", *(more or ("-y", "--yes-remove", "3")))


def test_without_news_both_plans_are_carried_out(branches: Program, pusher: Pusher) -> None:
    done = apply(branches, "-y")
    assert (done.returncode, set(pusher.tags("app"))) == (0, set(map(tag, ALIVE))), done.stderr


def test_a_branch_that_came_back_stays_with_the_reason(branches: Program, pusher: Pusher) -> None:
    alive(branches, *ALIVE, "older")
    shown = apply(branches, "--dry-run").stdout
    (kept,) = (line for line in shown.splitlines() if line.startswith("KEEP"))
    assert tag("older") in kept
    done = apply(branches, "-y")
    assert done.returncode == 0, done.stderr
    assert "named by now: alive.txt" in done.stderr
    assert set(pusher.tags("app")) == {*map(tag, ALIVE), tag("older")}
    assert pusher.is_whole("app", tag("older"))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("it is gone", "the list alive.txt of names cannot be read"),
        ("it is old", "and max_age is 1d"),
        ("it is empty", "the list alive.txt of names is empty"),
        ("it is shorter", "the list alive.txt of names has 2 names, and had 5 when the plan was made"),
    ],
)
def test_a_list_of_names_that_may_lack_some_refuses(branches: Program, pusher: Pusher, what: str, told: str) -> None:
    before, file = pusher.tags("app"), branches.folder / "alive.txt"
    if what == "it is gone":
        file.unlink()
    elif what == "it is old":
        os.utime(file, (1_700_000_000, 1_700_000_000))
    else:
        alive(branches, *(("main", "one") if what == "it is shorter" else ()))
    for more in (("-y",), ("--dry-run",)):
        done = apply(branches, *more)
        assert (done.returncode, told in done.stderr) == (5, True), done.stderr
    assert pusher.tags("app") == before


def test_the_last_cleanup_counts_if_it_was_after_the_plan(branches: Program) -> None:
    alive(branches, *ALIVE, *GONE, "new", "newer", "newest", "last")
    assert branches.run("cleanup", "-f", "policy.yml", "-y").returncode == 0
    alive(branches, *ALIVE, "old")
    done = apply(branches, "-y")
    assert (done.returncode, "has 6 names, and had 12 at the last cleanup" in done.stderr) == (5, True), done.stderr


def test_a_rule_that_asks_for_more_keeps_only_what_is_named_since(program: Program, pusher: Pusher) -> None:
    """What was named already, and went because of the other rule, still goes."""
    for age, branch in enumerate(("alive", "back", "gone")):
        pusher.push_image("app", tag(branch), seed=branch, config=created(40 + age))
    write(program, "policy.yml", BRANCHES.replace("KEEP", f"{{all: [{NAMED}, {{within: 30d}}]}}"))
    alive(program, "alive")
    planned(program)
    alive(program, "alive", "back")
    done = apply(program)
    assert (done.returncode, set(pusher.tags("app"))) == (0, {tag("back")}), done.stderr


def test_what_is_no_longer_to_go_stays_with_the_reason(bad: Program, pusher: Pusher) -> None:
    doomed(bad, pusher, "b")
    shown = apply(bad, "--dry-run").stdout
    assert [line.split()[2] for line in shown.splitlines() if line.startswith("KEEP")] == ["a", "c"]
    done = apply(bad)
    assert done.returncode == 0, done.stderr
    assert "no longer in bad.txt" in done.stderr
    assert set(pusher.tags("app")) == {"a", "c", "good"}
    assert pusher.is_whole("app", "a")


def test_an_empty_list_of_what_is_to_go_leaves_all(bad: Program, pusher: Pusher) -> None:
    write(bad, "bad.txt", "")
    done = apply(bad)
    assert (done.returncode, "no longer in bad.txt" in done.stderr) == (5, True), done.stderr
    assert len(pusher.tags("app")) == 4


def test_a_list_that_the_policy_no_longer_has_names_nothing(bad: Program, pusher: Pusher) -> None:
    write(bad, "policy.yml", DOOMED.replace("bad.txt", "other.txt").replace("MORE", ""))
    write(bad, "other.txt", "")
    assert "no longer in bad.txt" in apply(bad).stderr
    assert len(pusher.tags("app")) == 4


def test_what_has_expired_as_well_goes_whatever_the_list_says(program: Program, pusher: Pusher) -> None:
    for age, name in enumerate(("a", "b", "c")):
        label = {"config": {"Labels": {"quay.expires-after": "1d"}}} if name == "b" else {}
        pusher.push_image("app", name, seed=name, config={**created(10 + age), **label})
    write(program, "policy.yml", DOOMED.replace("MORE", ", expires: {label: quay.expires-after}"))
    doomed(program, pusher, "a", "b", "c")
    planned(program)
    write(program, "bad.txt", "")
    apply(program)
    assert set(pusher.tags("app")) == {"a", "c"}


@pytest.mark.parametrize("what", ["it is gone", "it is old", "it has another line"])
def test_a_list_of_what_is_to_go_that_cannot_be_read_refuses(bad: Program, pusher: Pusher, what: str) -> None:
    file = bad.folder / "bad.txt"
    if what == "it is gone":
        file.unlink()
    elif what == "it is old":
        os.utime(file, (1_700_000_000, 1_700_000_000))
    else:
        file.write_text("app:good\n")
    for more in ((), ("--dry-run",)):
        done = apply(bad, *more)
        assert (done.returncode, "the list bad.txt" in done.stderr) == (5, True), done.stderr
    assert len(pusher.tags("app")) == 4


@pytest.mark.parametrize("policy", ["branches", "bad"])
def test_a_resumed_run_reads_them_too(
    request: pytest.FixtureRequest, registry_server: DistributionServer, pusher: Pusher, policy: str, tmp_path: Path
) -> None:
    program: Program = request.getfixturevalue(policy)
    with Proxy(registry_server.port) as proxy:
        through = Program(proxy.url, tmp_path / "through")
        through.folder.mkdir()
        for name in ("policy.yml", "alive.txt", "bad.txt"):
            if (program.folder / name).exists():
                write(through, name, (program.folder / name).read_text())
        started: list[subprocess.Popen[str]] = []
        written = iter(range(9))

        def killed(sent: Request) -> Answer | None:
            if sent.method == "DELETE" and next(written) == 1:  # after the probe
                started[0].kill()
                return LOST
            return None

        proxy.before = killed
        started.append(through.start("cleanup", "-f", "policy.yml", "-y", "--yes-remove", "3"))
        started[0].communicate()
        proxy.before = lambda _: None
        before = pusher.tags("app")
        if policy == "bad":
            write(through, "bad.txt", "")
        else:
            alive(through, *ALIVE, *GONE)
        (run,) = through.runs
        resumed = through.run("apply", "--resume", run.name, "-y")
        assert ("no longer in bad.txt" if policy == "bad" else "named by now: alive.txt") in resumed.stderr
        assert pusher.tags("app") == before


def test_plan_show_says_how_old_the_lists_are(branches: Program, bad: Program) -> None:
    today = f"as of {datetime.now(UTC):%Y-%m-%d}"
    shown = bad.run("plan", "show", "plan.jsonl").stdout
    assert f"to remove, by bad.txt: {today}" in shown
    write(branches, "policy.yml", BRANCHES.replace("KEEP", NAMED))
    planned(branches)
    shown = branches.run("plan", "show", "plan.jsonl").stdout
    assert f"names, by alive.txt: {today}" in shown
