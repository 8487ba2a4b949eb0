"""`collect` with the real collectors of distribution 2.8 and 3: what it frees is what was predicted, or it says so."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dregutil
from collecting import Stage, made
from dregutil.errors import RefusedError
from images import Pusher
from program import Program, on_terminal
from servers import DistributionServer

GENERATIONS = ("distribution-2.8", "distribution-3")


@pytest.fixture(params=GENERATIONS)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with made(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Stage]:
    """With the collector of 2.8."""
    with made("distribution-2.8", tmp_path) as found:
        yield found


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Stage]:
    """With the collector of 3."""
    with made("distribution-3", tmp_path) as found:
        yield found


def test_what_is_freed_is_as_predicted(stage: Stage) -> None:
    before = stage.blobs()
    shown = stage.object("--dry-run", "--keep-undo", "0d")
    assert stage.blobs() == before
    found = stage.object("-y", "--keep-undo", "0d")
    gone = {digest: size for digest, size in before.items() if digest not in stage.blobs()}
    assert found["as_predicted"]
    assert found["freed"] == {"blobs": len(gone), "bytes": sum(gone.values())}
    (prediction,) = found["predicted"]
    assert (prediction["blobs"], prediction["bytes"]) == (len(gone), sum(gone.values()))
    assert len(gone) == 4  # the manifest, the config and two layers of 1.0; those of 1.2 are in use
    assert shown["predicted"] == found["predicted"]
    assert shown["runs"] == found["runs"] == [stage.removal]
    for image in ("shop/web:1.1", "shop/web:multi", "shop/api:1.0"):
        stage.pull(image)
    again = stage.object("-y", "--keep-undo", "0d")
    assert (again["freed"], again["runs"], again["as_predicted"]) == ({"blobs": 0, "bytes": 0}, [], True)


def test_with_m_what_no_tag_names_goes(newer: Stage) -> None:
    with newer.running() as pusher:
        pusher.push_image("shop/web", seed="untagged")
    plain = newer.object("--dry-run", "--keep-undo", "0d")["predicted"][0]["blobs"]
    found = newer.object("-y", "--keep-undo", "0d", command=[*newer.command, "-m=true"])
    assert found["as_predicted"]
    assert found["freed"]["blobs"] == plain + 3
    assert found["predicted"][0]["untagged"]
    newer.pull("shop/web:multi")


def test_on_2_8_m_is_refused_where_it_destroys_an_index(older: Stage) -> None:
    with older.running() as pusher:
        for number in range(6):
            child = pusher.push_image("shop/multi", seed=f"more {number}")
            pusher.push_index("shop/multi", f"{number}.0", children=[child])
    before = older.blobs()
    for flag in ("-m", "--delete-untagged", "-m=true", "--delete-untagged=true"):
        done = older.collect("-y", "--keep-undo", "0d", command=[*older.command, flag])
        assert done.returncode == 5
        assert done.stderr.count("\n") == 2
        named = "shop/multi:0.0, shop/multi:1.0, shop/multi:2.0, shop/multi:3.0, shop/multi:4.0 and 2 more"
        assert f"the collector of 2.8 with -m would sweep what tags need: {named}" in done.stderr
        assert "run it without -m" in done.stderr
    assert older.blobs() == before
    assert older.object("-y", "--keep-undo", "0d", command=[*older.command, "-m=false"])["as_predicted"]


def test_it_is_refused_where_a_repository_loses_its_live_data(older: Stage) -> None:
    (older.server.storage / "docker/registry/v2/repositories/shop/web/_layers").rename(older.folder / "aside")
    before = older.blobs()
    done = older.collect("-y", "--keep-undo", "0d")
    assert done.returncode == 5
    assert "would sweep what tags need: shop/web:1.1" in done.stderr
    assert older.blobs() == before


def test_it_is_refused_where_the_collector_stops(stage: Stage) -> None:
    stray = stage.server.storage / "docker/registry/v2/blobs/sha256/data"
    stray.write_text("stray")
    done = stage.collect("-y", "--keep-undo", "0d")
    assert done.returncode == 5
    assert "stops with an error at blobs/sha256/data" in done.stderr
    assert "and frees nothing; nothing was collected" in done.stderr


def test_it_is_refused_while_the_registry_takes_pushes(stage: Stage) -> None:
    before = stage.blobs()
    with stage.running():
        done = stage.collect("-y", "--keep-undo", "0d")
    assert done.returncode == 5
    assert "is not read-only" in done.stderr
    assert "storage.maintenance.readonly.enabled" in done.stderr
    assert stage.blobs() == before
    assert not [*stage.server.storage.glob("docker/registry/v2/repositories/*/*/_uploads/*/data")]


def test_it_runs_beside_a_read_only_registry(stage: Stage) -> None:
    text = stage.server.configuration.read_text()
    stage.server.configuration.write_text(text.replace("readonly: {enabled: false}", "readonly: {enabled: true}"))
    with stage.running():
        done = stage.collect("-y", "--keep-undo", "0d")
        assert done.returncode == 0, done.stderr
        assert "restart the registry before it takes pushes" in done.stderr


def test_the_storage_of_another_registry_is_refused(older: Stage) -> None:
    other = DistributionServer(older.folder / "other", readonly=False)
    with other, Pusher(other.url) as pusher:
        pusher.push_image("shop/api", "2.0", seed="other")
    text = other.configuration.read_text()
    other.configuration.write_text(text.replace("readonly: {enabled: false}", "readonly: {enabled: true}"))
    with other:
        program = Program(other.url, older.folder)
        words = ("--storage", str(older.server.storage), "-y", "--", *older.command)
        done = program.run("collect", *words)
    assert done.returncode == 5
    assert f"{older.server.storage} differs from {other.host} in shop/api:1.0" in done.stderr


def test_where_pushes_are_denied_it_is_not_known(older: Stage, tmp_path: Path) -> None:
    from servers.http import Answer, Proxy, Request

    def answer(request: Request) -> Answer | None:
        denied = b'{"errors": [{"code": "DENIED", "message": "no"}]}'
        is_upload = request.method in ("POST", "PUT")
        return Answer(403, denied, {"Content-Type": "application/json"}) if is_upload else None

    with older.running(), Proxy(older.server.port, before=answer) as proxy:
        program = Program(proxy.url, tmp_path)
        words = ("collect", "--storage", str(older.server.storage), "-y", "--keep-undo", "0d")
        done = program.run(*words, "--", *older.command)
        assert done.returncode == 5
        assert "it is not known whether" in done.stderr
        assert "--assume-read-only" in done.stderr
        assert program.run(*words, "--assume-read-only", "--", *older.command).returncode == 0


def test_young_runs_stay_undoable(older: Stage) -> None:
    before = older.blobs()
    done = older.collect("-y")
    assert done.returncode == 5
    assert f"runs of the last 7d could not be undone any more: {older.removal}" in done.stderr
    assert older.blobs() == before
    with older.running():
        undone = older.program.run("undo", "-y")
        assert undone.returncode == 0, undone.stderr
    assert older.object("-y")["as_predicted"]
    older.pull("shop/web:1.0")


def test_a_run_that_is_not_finished_refuses(older: Stage) -> None:
    journal = older.program.runs[0] / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-3]))
    done = older.collect("-y", "--keep-undo", "0d")
    assert done.returncode == 5
    assert f"a run is not finished: {older.removal}" in done.stderr
    assert f"`dregutil apply --resume {older.removal}{older.program.named}` continues it" in done.stderr


def test_the_collectors_own_dry_run_is_refused(older: Stage) -> None:
    for flag in ("-d", "--dry-run", "--dry-run=true", "-md"):
        done = older.collect("-y", command=[*older.command, flag])
        assert done.returncode == 2
        assert "use `dregutil collect --dry-run`" in done.stderr
    assert older.collect("-y", command=["true", "CONFIG"]).returncode == 2


def test_a_dry_run_shows_and_runs_nothing(older: Stage) -> None:
    before = older.blobs()
    done = older.collect("--dry-run")
    assert done.returncode == 5  # as without --dry-run
    assert done.stdout.startswith("4 blobs, ")
    assert "would be freed" in done.stdout
    assert f"no longer to be undone after it: {older.removal}" in done.stderr
    assert older.collect("--dry-run", "--keep-undo", "0d").returncode == 0
    assert older.blobs() == before
    assert not (older.program.state / "collections").exists()


def test_it_asks(older: Stage) -> None:
    assert older.collect("--keep-undo", "0d").returncode == 2
    words = ("collect", "--keep-undo", "0d", "--storage", str(older.server.storage), "--", *older.command)
    before = older.blobs()
    code, shown = on_terminal(older.program, "n", *words)
    assert code == 0
    assert "nothing was collected" in shown
    assert older.blobs() == before
    code, shown = on_terminal(older.program, "y", *words)
    assert code == 0
    assert "as predicted" in shown


def test_a_collector_that_fails_is_reported(older: Stage) -> None:
    done = older.collect("-y", "--keep-undo", "0d", command=older.script("echo one; echo 'no space left' >&2; exit 7"))
    assert done.returncode == 1
    assert "the collector failed (exit code 7): no space left" in done.stderr
    assert "predicted to go, and there" in done.stderr
    (log,) = (older.program.state / "collections").glob("*.log")
    assert log.read_text() == "one\nno space left\n"
    assert log.stat().st_mode & 0o077 == 0
    (run,) = older.program.history()
    assert run["collected"] is None


def test_a_command_that_is_not_there_is_refused(older: Stage) -> None:
    done = older.collect("-y", "--keep-undo", "0d", command=["/nowhere/registry", *older.command[1:]])
    assert done.returncode == 5
    assert "/nowhere/registry cannot be run" in done.stderr
    assert not [*(older.program.state / "collections").glob("*")]


def test_a_collector_that_takes_one_blob_more(stage: Stage) -> None:
    with stage.running() as pusher:
        first = json.loads(pusher.raw("shop/web", "1.1"))["layers"][0]
        layer, size = first["digest"], first["size"]
        name = layer.removeprefix("sha256:")
    place = f"{stage.server.storage}/docker/registry/v2/blobs/sha256/{name[:2]}/{name}"
    command = stage.script(f'"$@"; rm -r {shlex.quote(place)}')
    done = stage.collect("-y", "--keep-undo", "0d", command=command)
    assert done.returncode == 1
    assert f"1 blob, {size} B gone, and not predicted: {layer}" in done.stderr
    assert "DAMAGED: 1 tag lacks what it needs since this collection: shop/web:1.1\n" in done.stderr


def test_a_collector_that_collects_nothing(older: Stage) -> None:
    found = older.object("-y", "--keep-undo", "0d", command=older.script("true"), code=1)
    assert found["freed"] == {"blobs": 0, "bytes": 0}
    assert len(found["not_freed"]) == 4
    assert found["runs"] == []  # the run can still be undone
    assert not found["as_predicted"]


def push_meanwhile(stage: Stage) -> str:
    """A program that starts the registry, pushes an image with layers that are garbage now, and stops it."""
    path = stage.folder / "push.py"
    path.write_text(
        f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from images import Pusher
from pathlib import Path
from servers.real import Distribution3Server, DistributionServer

server = {type(stage.server).__name__}(Path({str(stage.folder / "second")!r}))
server.configuration.write_text(
    server.configuration.read_text().replace(str(server.storage), {str(stage.server.storage)!r})
)
with server, Pusher(server.url) as pusher:
    pusher.push_image("shop/late", "1.0", seed=sys.argv[1], layers=2)
"""
    )
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))}"


def test_a_push_during_the_collection_is_reported(stage: Stage) -> None:
    """The registry became writable after it was checked. The image is whole, as it came before the marks."""
    done = stage.collect("-y", "--keep-undo", "0d", command=stage.script(f'{push_meanwhile(stage)} late; "$@"'))
    assert done.returncode == 1
    assert "tags pushed, moved or deleted meanwhile: shop/late:1.0" in done.stderr
    assert "pushed meanwhile" in done.stderr
    assert "the registry was not read-only during the collection" in done.stderr
    assert "differs from what was predicted: " not in done.stderr  # what was predicted to go went, and nothing else
    assert "DAMAGED" not in done.stderr
    stage.pull("shop/late:1.0")


def test_garbage_that_is_pushed_again_during_the_collection_is_no_difference(stage: Stage) -> None:
    """The new image is of the very blobs that were to go: the collector marks them."""
    command = stage.script(f'{push_meanwhile(stage)} 1.0; "$@"')
    found = stage.object("-y", "--keep-undo", "0d", command=command, code=1)
    assert (found["not_freed"], found["also_freed"], found["damaged_tags"]) == ([], [], [])
    assert found["changed_tags"] == ["shop/late:1.0"]
    assert len(found["added"]) == 4
    stage.pull("shop/late:1.0")


def test_an_image_that_is_pushed_during_the_collection_and_damaged_is_named(stage: Stage) -> None:
    """What the collector does if a push comes between its marks and its sweep: the blobs of a new image go."""
    sweep = f"""
before=$(find {stage.server.storage} -name data | sort)
{push_meanwhile(stage)} late
find {stage.server.storage}/docker/registry/v2/blobs -name data | sort > {stage.folder}/after
echo "$before" > {stage.folder}/before
new=$(comm -13 {stage.folder}/before {stage.folder}/after | tail -n 1)
"$@"
rm "$new"
"""
    done = stage.collect("-y", "--keep-undo", "0d", command=stage.script(sweep))
    assert done.returncode == 1
    assert "dregutil: DAMAGED: 1 tag lacks what it needs since this collection: shop/late:1.0\n" in done.stderr


def test_history_and_undo_say_what_was_collected(older: Stage) -> None:
    assert older.program.history()[0]["collected"] is None
    older.object("-y", "--keep-undo", "0d")
    (run,) = older.program.history()
    (record,) = (json.loads(path.read_text()) for path in (older.program.state / "collections").glob("*.json"))
    assert record["version"] == 1
    assert record["runs"] == [older.removal]
    assert record["freed"] == record["predicted"]["2.8"]
    assert run["collected"] is not None
    assert run["collected"][:19] == record["started"][:19]
    assert ", collected" in older.program.run("history").stdout
    with older.running():
        listed = older.program.run("undo", "--list")
        assert f"garbage was collected since these runs, and not all may be left: {older.removal}" in listed.stderr
        undone = older.program.run("undo", "-y")
    assert undone.returncode == 3
    said = undone.stderr.splitlines()
    assert "the registry's garbage was collected since" in said[1]
    assert "put back 1 tag" in undone.stderr  # 1.2, whose blobs shop/api has
    older.pull("shop/web:1.2")


def test_an_interruption_is_passed_on(older: Stage) -> None:
    words = ("collect", "-y", "--keep-undo", "0d", "--storage", str(older.server.storage), "--")
    started = older.folder / "started"
    command = older.script(f"touch {started}; exec sleep 60")
    running = older.program.start(*words, *command)
    for _ in range(200):
        if started.exists():
            break
        time.sleep(0.1)
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "interrupted: the collector was sent SIGINT" in said


def test_the_library_plans_again_where_others_may_have_written(older: Stage) -> None:
    """A plan that was made without the lock is made again under it."""
    with dregutil.open(older.server.url, storage=str(older.server.storage), state_dir=older.program.state) as registry:
        plan = registry.plan_collection(older.command, keep_undo="0d")
        assert not plan.refusals
        with older.running() as pusher:
            pusher.push_image("shop/web", "3.0", seed="1.0", layers=2)  # uses what was to be swept
        with pytest.raises(RefusedError, match="the storage has changed since the plan was made"):
            registry.collect(plan)
        run = registry.collect(registry.plan_collection(older.command, keep_undo="0d"))
        assert run.is_as_predicted
        assert [one.name for one in registry.collections()] == [run.id]
    older.pull("shop/web:3.0")
