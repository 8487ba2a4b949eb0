"""What is held stays, whatever removes: what somebody holds, and for 14 days what an undo put back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import dregutil
from dregutil.errors import NotFoundError, UsageError
from dregutil.journal.holds import RegistryHolds
from dregutil.journal.lines import IntentLine, Line
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.names import Repository, Tag
from dregutil.plan.model import RemovalOptions
from dregutil.plan.outcome import Result
from dregutil.retention.holds import Hold
from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Switches

POLICY = """version: 1
defaults: {max_remove: 100%, allow_empty: true}
policies: [{name: p, repositories: ["**"], keep: {tags: ["nothing-*"]}}]
"""


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


def push(pusher: Pusher) -> dict[str, str]:
    for place in range(3):
        pusher.push_image("app", f"1.{place}", seed=str(place), config=created(100 - place))
    return pusher.tags("app")


def ok(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = program.run(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def held(program: Program) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ok(program, "hold", "--list", "--format", "json").stdout)
    return found


REMOVALS = {
    "remove-tags": ("remove-tags", "-r", "app", "-re", ".*"),
    "untag": ("remove-tags", "-r", "app", "-re", ".*", "--untag"),
    "remove-repos": ("remove-repos", "-r", "app"),
    "cleanup": ("cleanup", "-f", "policy.yml", "-y"),
}


@pytest.mark.parametrize("removal", REMOVALS.values(), ids=REMOVALS)
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_nothing_removes_what_is_held(pusher: Pusher, program: Program, removal: tuple[str, ...], by: str) -> None:
    before = push(pusher)
    image = "app:1.1" if by == "tag" else f"app@{before['1.1']}"
    told = ok(program, "hold", image, "--because", "the audit").stderr
    assert f"held without end: {image}" in told
    done = ok(program, *removal)
    assert set(pusher.tags("app")) == {"1.1"}
    assert pusher.is_whole("app", "1.1")
    if removal[0] != "cleanup":
        assert ": the audit (`hold --end` ends it)" in done.stderr
    why = ok(program, "why", "app:1.1", "-f", "policy.yml").stdout
    assert "on hold" in why
    assert "the audit" in why
    ok(program, "hold", "--end", image)
    assert held(program) == []
    ok(program, *removal)
    assert pusher.tags("app") == {}


def test_what_undo_put_back_is_held_for_every_removal(pusher: Pusher, program: Program) -> None:
    push(pusher)
    ok(program, *REMOVALS["remove-tags"])
    told = ok(program, "undo", "-y", "app:1.1").stderr
    until = datetime.now(UTC) + timedelta(days=14)
    assert f"held until {until:%Y-%m-%d}: " in told
    for removal in REMOVALS.values():
        done = ok(program, *removal)
        assert set(pusher.tags("app")) == {"1.1"}
        if removal[0] != "cleanup":
            assert f"put back on {datetime.now(UTC):%Y-%m-%d}, held until {until:%Y-%m-%d}" in done.stderr
    undo = program.runs[1].name
    assert [(one["image"], one["undo"]) for one in held(program)] == [("app:1.1", undo)]
    ok(program, "hold", "--end", undo)
    ok(program, *REMOVALS["remove-tags"])
    assert pusher.tags("app") == {}
    ok(program, "undo", "-y")
    assert [one["image"] for one in held(program)] == ["app:1.1"], "what is put back again is held again"


def test_an_ended_hold_of_an_index_releases_what_came_back_with_it(pusher: Pusher, program: Program) -> None:
    child = pusher.push_image("app", seed="child")
    index = pusher.push_index("app", "1.0", children=[child])
    signature = f"sha256-{index['digest'][7:]}.sig"
    pusher.push_image("app", signature, seed="signature")
    pusher.push_image("app", "2.0", seed="stays")
    remove = ("remove-tags", "-r", "app", "-t", "1.0")
    ok(program, *remove)
    ok(program, "undo", "-y")
    assert "held until" in ok(program, *remove).stderr
    assert "held until" in ok(program, "remove-tags", "-r", "app", "-t", signature).stderr
    assert set(pusher.tags("app")) == {"1.0", signature, "2.0"}
    ok(program, "hold", "--end", "app:1.0")
    ok(program, *remove)
    assert set(pusher.tags("app")) == {"2.0"}
    assert not pusher.has("app", child["digest"])


def test_why_names_the_hold_of_what_no_policy_judges(pusher: Pusher, program: Program) -> None:
    child = pusher.push_image("app", seed="child")
    pusher.push_index("app", "1.0", children=[child])
    image = f"app@{child['digest']}"
    ok(program, "hold", image, "--because", "the audit")
    assert "the audit (`hold --end` ends it)" in ok(program, "why", image, "-f", "policy.yml").stdout


def test_a_saved_plan_leaves_what_was_held_since(pusher: Pusher, program: Program) -> None:
    push(pusher)
    ok(program, *REMOVALS["remove-tags"], "--plan-out", "plan.jsonl")
    ok(program, "hold", "app:1.1", "--for", "30d")
    done = ok(program, "apply", "plan.jsonl", "-y")
    assert set(pusher.tags("app")) == {"1.1"}
    until = datetime.now(UTC) + timedelta(days=30)
    assert f"until {until:%Y-%m-%d} (`hold --end` ends it)" in done.stderr


def test_a_hold_during_a_run_is_heeded(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> None:
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        for place in range(40):
            pusher.push_image("app", f"1.{place}", seed=str(place), layers=[b"shared"])
        made: list[str] = []

        def hold(request: Request, answer: Answer) -> Answer:
            if request.method == "DELETE" and answer.status == 202 and not made:
                made.append("1.39")
                one = Hold(Repository("app"), datetime.now(UTC), Tag("1.39"), by="somebody")
                RegistryHolds(RunStore(program.state), proxy.url.partition("//")[2]).add(one)
            return answer

        ok(program, *REMOVALS["remove-tags"], "--plan-out", "plan.jsonl")
        proxy.after = hold
        done = program.run("apply", "plan.jsonl", "-y", "--yes-remove", "40")
        assert done.returncode == 0, done.stderr
        assert set(pusher.tags("app")) == {"1.39"}
        assert pusher.is_whole("app", "1.39")
        assert "held by somebody" in done.stderr


@pytest.mark.parametrize("untag", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
def test_a_hold_that_is_made_while_an_intent_is_written_is_heeded(
    *, untag: bool, by_name: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk, or a store that was away, may take long."""
    with MemoryServer(Switches(untags=by_name)) as server, Pusher(server.url) as pusher:
        before = push(pusher)
        if untag:
            pusher.push_image("app", "stays", seed="1", config=created(99))
            before = pusher.tags("app")
        write = Journal._write_durably

        def hold(journal: Journal, lines: Sequence[Line]) -> None:
            write(journal, lines)
            if any(isinstance(line, IntentLine) for line in lines):
                one = Hold(Repository("app"), datetime.now(UTC), Tag("1.1"), by="somebody")
                RegistryHolds(RunStore(tmp_path), server.url.partition("//")[2]).add(one)

        monkeypatch.setattr(Journal, "_write_durably", hold)
        with dregutil.open(server.url, state_dir=tmp_path, contents=None, insecure=True) as registry:
            plan = registry.plan_removal("app", tags=["1.1"], options=RemovalOptions(untag=untag))
            (outcome,) = registry.apply(plan).outcomes
        assert outcome.result is Result.LEFT
        assert "held by somebody" in outcome.why
        assert pusher.tags("app") == before
        assert pusher.is_whole("app", "1.1")


def test_holds_that_cannot_be_read_refuse_every_removal(pusher: Pusher, program: Program) -> None:
    before = push(pusher)
    ok(program, "hold", "app:1.1")
    (path,) = (program.state / "holds").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"1.1", b"1.2"))
    for removal in (*REMOVALS.values(), ("hold", "app:1.0"), ("hold", "--list")):
        done = program.run(*removal)
        assert done.returncode == 3, done.stderr
        assert f"the holds in {path} are damaged, so nothing is removed" in done.stderr
        assert "restore that file" in done.stderr
        assert pusher.tags("app") == before
    path.unlink()
    ok(program, *REMOVALS["remove-tags"])


def test_a_hold_of_what_is_not_there_is_an_error(pusher: Pusher, program: Program) -> None:
    push(pusher)
    for image, code in {"app:9.9": 1, "app": 2, f"app:1.0@sha256:{'a' * 64}": 2, f"app@sha256:{'a' * 64}": 1}.items():
        assert program.run("hold", image).returncode == code
    assert program.run("hold").returncode == 2
    assert program.run("hold", "app:1.0", "--for", "0s").returncode == 2
    assert program.run("hold", "--list", "--end", "app:1.0").returncode == 2
    assert program.run("hold", "--end", "app:1.0").returncode == 1
    assert held(program) == []


def test_the_list_shows_what_is_held_by_whom_until_when_and_why(pusher: Pusher, program: Program) -> None:
    before = push(pusher)
    assert "nothing is held" in ok(program, "hold", "--list").stderr
    ok(program, "hold", "app:1.0", "--for", "30d", "--because", "until the audit ends")
    ok(program, "hold", f"app@{before['1.1']}")
    one, other = held(program)
    assert (one["image"], one["tag"], one["digest"], one["because"]) == ("app:1.0", "1.0", None, "until the audit ends")
    assert datetime.fromisoformat(one["until"]) - datetime.fromisoformat(one["since"]) == timedelta(days=30)
    assert "@" in one["by"]
    assert (other["tag"], other["digest"], other["until"], other["undo"]) == (None, before["1.1"], None, None)
    shown = ok(program, "hold", "--list").stdout.splitlines()
    assert shown[0].split() == ["IMAGE", "SINCE", "UNTIL", "BY", "BECAUSE"]
    assert shown[1].startswith("app:1.0 ")
    assert "no end" in shown[2]
    assert len(json.loads(ok(program, "hold", "--list", "app:1.0", "--format", "json").stdout)) == 1


async def test_the_library_holds(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> None:
    push(pusher)
    async with dregutil.connect(registry_server.url, state_dir=tmp_path, contents=None) as registry:
        made = await registry.hold("app:1.1", for_=timedelta(days=1), because="a demonstration")
        assert registry.holds() == (made,)
        plan = await registry.plan_removal("app", tags=["<2"])
        assert [step.tags for step in plan.steps] == [("1.0",), ("1.2",)]
        assert [kept.tags for kept in plan.kept] == [("1.1",)]
        assert registry.end_hold("app:1.1") == (made,)
        with pytest.raises(NotFoundError):
            registry.end_hold("app:1.1")
        run = await registry.apply(await registry.plan_removal("app", tags=["<2"]))
        assert len(run.removed) == 3
        with pytest.raises(UsageError):
            await registry.undo(images=[])
        back = await registry.undo(images=["app:1.0", "app:1.2"])
        assert {tag for entry in back.restored for tag in entry.tags} == {"1.0", "1.2"}
        assert {hold.image for hold in registry.holds()} == {"app:1.0", "app:1.2"}
        assert {hold.run for hold in registry.holds()} == {back.id}


def test_the_end_of_a_hold_names_every_tag_that_an_undo_put_back(program: Program, pusher: Pusher) -> None:
    pusher.push_image("app", "2.0", "2.0.0", seed="two names")
    ok(program, "remove-tags", "-r", "app", "-t", "2.0", "2.0.0", "-y")
    ok(program, "undo", "-y")
    ended = program.run("hold", "--end", "app:2.0").stderr.splitlines()
    assert ended == ["no longer held: app:2.0", "no longer held: app:2.0.0"]
