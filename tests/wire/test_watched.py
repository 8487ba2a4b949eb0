"""What a run shows while it works and when it ends early; which runs can be resumed; what a dry run can do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dregutil.errors import ProtocolError
from dregutil.inventory.crawl import crawl
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository
from dregutil.registry import connect
from dregutil.report.progress import Meter
from images import Pusher
from program import Program, on_terminal
from servers import DistributionServer, find_program
from servers.http import Answer, Proxy, Request


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def fill(pusher: Pusher, number: int) -> dict[str, str]:
    for tag in range(number):
        pusher.push_image("shop/web", f"1.{tag}", seed=f"image {tag}")
    return pusher.tags("shop/web")


def interrupted(program: Program, proxy: Proxy, method: str, *arguments: str) -> tuple[int, str]:
    """Send Ctrl-C at the fifth request of a method."""
    started: list[subprocess.Popen[str]] = []
    left = [5]

    def press(request: Request) -> Answer | None:
        if request.method == method:
            left[0] -= 1
            if left[0] == 0:
                started[0].send_signal(signal.SIGINT)
        return None

    proxy.before = press
    through = Program(program.url, program.folder)
    started.append(through.start(*arguments))
    _, errors = started[0].communicate(timeout=60)
    return started[0].returncode, errors


# Progress


def test_the_meter_shows_the_time_left() -> None:
    now = [100.0]
    meter = Meter(show=False, clock=lambda: now[0])
    meter.begin("steps", 2000, 60.0)
    assert meter.text(110.0) == "0 of 2,000 steps, about 50 s left"
    assert meter.text(200.0) == "0 of 2,000 steps"
    meter.sweep()
    for _ in range(101):
        meter.count()
        now[0] += 0.1
    assert meter.text(now[0] - 0.1) == "101 of 2,000 steps, 1 tag swept, about 3 min left"


def test_progress_is_shown_on_a_terminal_only(pusher: Pusher, program: Program) -> None:
    fill(pusher, 30)
    code, shown = on_terminal(program, "y", "remove-tags", "-r", "shop/web", "-t", "<2")
    assert code == 0
    assert "0 of 30 steps, about" in shown
    assert shown.rpartition("\r\x1b[K")[2].startswith("removed 30 tags")
    code, shown = on_terminal(program, "y", "undo")
    assert code == 0
    assert "of 30 manifests checked" in shown
    assert "0 of 30 manifests put back" in shown
    assert shown.rpartition("\r\x1b[K")[2].startswith("put back 30 tags")
    assert "\r" not in program.run("remove-tags", "-r", "shop/web", "-t", "<2").stderr


# Ctrl-C


def test_ctrl_c_during_undo_says_how_to_continue(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    before = fill(pusher, 60)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        assert program.run("remove-tags", "-r", "shop/web", "-t", "<2", "--yes-remove", "60").returncode == 0
        run = program.runs[0].name
        code, errors = interrupted(program, proxy, "PUT", "undo", "-y")
        assert code == 130, errors
        assert f"unfinished: `dregutil undo {run}{program.named}` continues it" in errors
        assert 0 < len(pusher.tags("shop/web")) < 60
        told = program.run("remove-tags", "-r", "shop/web", "-t", "absent")
        assert f"`dregutil undo {run}{program.named}` continues it" in told.stderr
        assert program.run("undo", "-y").returncode == 0
        assert pusher.tags("shop/web") == before
        told = program.run("remove-tags", "-r", "shop/web", "-t", "absent")
        assert "continues it" not in told.stderr


def test_ctrl_c_says_what_is_done_and_what_remains(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    fill(pusher, 60)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        arguments = ("remove-tags", "-r", "shop/web", "-t", "<2", "--yes-remove", "60")
        code, errors = interrupted(program, proxy, "DELETE", *arguments)
        assert code == 130, errors
        run = program.runs[0].name
        removed = 60 - len(pusher.tags("shop/web"))
        assert f"removed {removed} tags ({removed} manifests), left {60 - removed}" in errors
        assert f"unfinished: `dregutil apply --resume {run}{program.named}`" in errors
        assert f"`dregutil undo {run}{program.named}` puts it back" in errors


def test_what_is_left_of_a_run_is_shown_before_it_is_resumed(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    fill(pusher, 60)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        arguments = ("remove-tags", "-r", "shop/web", "-t", "<2", "--yes-remove", "60")
        assert interrupted(program, proxy, "DELETE", *arguments)[0] == 130
        proxy.before = lambda _: None
        left = len(pusher.tags("shop/web"))
        code, shown = on_terminal(program, "n", "apply", "--resume", program.runs[0].name)
        assert (code, "nothing was removed" in shown, len(pusher.tags("shop/web"))) == (0, True, left)
        code, shown = on_terminal(program, "y", "apply", "--resume", program.runs[0].name)
    assert code == 0, shown
    assert f"{60 - left} of 60 steps are done; the others:" in shown
    assert (shown.count("REMOVE"), f"{left} tags to go" in shown) == (left, True)
    assert pusher.tags("shop/web") == {}


# Runs that cannot be resumed


def test_a_run_that_was_undone_is_not_resumed(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    before = fill(pusher, 60)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        arguments = ("remove-tags", "-r", "shop/web", "-t", "<2", "--yes-remove", "60")
        assert interrupted(program, proxy, "DELETE", *arguments)[0] == 130
        run = program.runs[0].name
        assert program.run("undo", run, "-y").returncode == 0
        found = program.run("apply", "--resume", run, "-y")
        assert (found.returncode, "was undone" in found.stderr) == (5, True), found.stderr
        assert pusher.tags("shop/web") == before


def test_a_plan_without_a_valid_step_is_refused(pusher: Pusher, program: Program) -> None:
    image = pusher.push_image("shop/web", "1.0", seed="one")
    assert program.run("remove-tags", "-r", "shop/web", "-t", "1.0", "--plan-out", "plan").returncode == 0
    pusher.push_image("shop/web", "stable", seed="one")
    found = program.run("apply", "plan", "-y")
    assert (found.returncode, "none of the plan's steps applies any more" in found.stderr) == (5, True), found.stderr
    assert program.runs == []
    assert pusher.tags("shop/web") == {"1.0": image["digest"], "stable": image["digest"]}


def test_a_damaged_record_can_still_be_undone(pusher: Pusher, program: Program) -> None:
    before = fill(pusher, 3)
    assert program.run("remove-tags", "-r", "shop/web", "-t", "<2").returncode == 0
    run = program.runs[0]
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lines = [b"torn" + line if b'"type":"step"' in line else line for line in lines if b'"type":"end"' not in line]
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    found = program.run("apply", "--resume", run.name, "-y")
    assert (found.returncode, "is damaged" in found.stderr) == (3, True), found.stderr
    assert program.run("undo", run.name, "-y").returncode == 3, "damage is always told"
    assert pusher.tags("shop/web") == before


# The state folder


def test_the_names_of_a_new_record_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent folder is synced after the folder of a run was created in it."""
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    journal = RunStore(tmp_path / "state").new(datetime(2026, 3, 1, tzinfo=UTC))
    journal.close(None)
    wanted = [tmp_path / "state" / "runs", tmp_path / "state", tmp_path, journal.folder]
    assert synced == [str(path) for path in wanted]


def test_pruning(pusher: Pusher, program: Program) -> None:
    fill(pusher, 2)
    assert program.run("remove-tags", "-r", "shop/web", "-t", "1.0").returncode == 0
    kept = program.run("history", "--prune", "1d")
    assert (kept.returncode, len(program.runs)) == (0, 1)
    pruned = program.run("history", "--prune", "0s")
    assert (pruned.returncode, program.runs) == (0, [])
    assert "1 run forgotten" in pruned.stderr
    assert program.run("history", "--prune", "soon").returncode == 2
    assert program.run("undo", "-y").returncode == 1


def test_the_layout_of_a_resumed_run_is_readable_by_other_tools(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """A manifest recorded twice is named once: skopeo refuses a name with two entries."""
    before = fill(pusher, 60)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        arguments = ("remove-tags", "-r", "shop/web", "-t", "<2", "--yes-remove", "60")
        assert interrupted(program, proxy, "DELETE", *arguments)[0] == 130
        proxy.before = lambda _: None
        assert program.run("apply", "--resume", program.runs[0].name, "-y").returncode == 0
        layout = program.runs[0] / "layout"
        names = [entry["annotations"] for entry in json.loads((layout / "index.json").read_text())["manifests"]]
        assert len({name["org.opencontainers.image.ref.name"] for name in names}) == len(names) == 60
        for tag in ("1.0", "1.59"):
            command = [find_program("skopeo"), "inspect", "--raw", f"oci:{layout}:shop/web:{tag}"]
            raw = subprocess.run(command, check=True, capture_output=True).stdout
            assert Pusher.digest_of(raw) == before[tag]


# Everything seen before


def test_an_untagged_index_in_the_content_database_holds_its_children(
    pusher: Pusher, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was seen with a tag; then another was pushed with this tag: the API no longer lists it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    child = pusher.push_image("shop/web", "child", seed="child")
    inner = pusher.push_index("shop/web", children=[child])
    index = pusher.push_index("shop/web", "1.0", children=[inner])
    cached = ("-c", str(tmp_path / "cache.json"))
    assert program.run("du", "shop/web", *cached).returncode == 0
    pusher.push_image("shop/web", "1.0", seed="pushed over it")
    assert program.run("remove-tags", "-r", "shop/web", "-t", "child", "--plan-out", "plan").returncode == 0
    for command in (("remove-tags", "-r", "shop/web", "-t", "child"), ("apply", "plan", "-y")):
        found = program.run(*command, *cached)
        assert "part of the index" in found.stderr, found.stderr
        assert pusher.is_whole("shop/web", index["digest"])


# A dry run


async def test_the_client_of_a_dry_run_cannot_delete(registry_server: DistributionServer, pusher: Pusher) -> None:
    image = pusher.push_image("r", "1.0", seed="one")
    async with connect(registry_server.url) as registry:
        await crawl(registry)
        assert not hasattr(registry, "delete_manifest")
        assert not hasattr(registry, "put_manifest")
        transport: Any = registry._transport
        for method in ("DELETE", "PUT", "POST", "PATCH"):
            with pytest.raises(ProtocolError, match=f"sends no {method}"):
                await transport.send(method, transport.url(f"/v2/r/manifests/{image['digest']}"), ())
        found = await registry.manifest(Repository("r"), Digest(image["digest"]))
    assert found is not None
    assert pusher.is_whole("r", "1.0")


@pytest.mark.parametrize("option", ["--dry-run", "--plan-out=plan"])
def test_a_dry_run_only_reads(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, option: str) -> None:
    before = fill(pusher, 3)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        assert program.run("remove-tags", "-r", "shop/web", "-t", "<2", option).returncode == 0
        assert program.run("remove-repos", "-r", "shop/web", option).returncode == 0
        assert {request.method for request in proxy.requests} <= {"GET", "HEAD"}
    assert pusher.tags("shop/web") == before
    assert program.runs == []
