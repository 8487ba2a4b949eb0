"""The library as its users write it: as careful as the command, and recorded like it."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import dregutil
from dregutil.files import state_folder
from dregutil.journal.store import RunStore
from images import Pusher, created
from program import PROGRAM
from servers import DistributionServer
from servers.faults import FAULTS, FaultyProxy
from servers.memory import MemoryServer

SHOP = "shop/web"


async def removed(url: str, *tags: str) -> dregutil.RunResult:
    """The README's recipe, in an event loop."""
    async with dregutil.connect(url) as registry:
        plan = await registry.plan_removal(SHOP, tags=tags)
        return await registry.apply(plan)


def dregutil_command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "-reg", url, "-c", "None", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def test_an_index_in_the_content_database_holds_a_digest(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    """An index that lost its tag, seen when it had one, still needs its child: the library leaves it as the command."""
    child = pusher.push_image(SHOP, "1.0", seed="child")
    index = pusher.push_index(SHOP, "nightly", children=[child])
    async with dregutil.connect(registry_server.url) as registry:
        await registry.contents(SHOP)
    pusher.push_image(SHOP, "nightly", seed="another")
    result = await removed(registry_server.url, "1.0")
    assert pusher.is_whole(SHOP, index["digest"])
    assert [outcome.result for outcome in result.outcomes] == []


async def test_an_index_in_the_records_holds_its_child(registry_server: DistributionServer, pusher: Pusher) -> None:
    """An index of an earlier run, put back by digest since: no tag names it, and its child stays."""
    child = pusher.push_image(SHOP, seed="child")
    index = pusher.push_index(SHOP, "0.9", children=[child])
    raw = pusher.raw(SHOP, "0.9")
    pusher.push_image(SHOP, "keeper", seed="child")
    first = await removed(registry_server.url, "0.9")
    assert first.id
    pusher.push_manifest(SHOP, None, raw, index["mediaType"])
    await removed(registry_server.url, "keeper")
    assert pusher.is_whole(SHOP, index["digest"])


def test_a_run_is_recorded_and_undone(registry_server: DistributionServer, pusher: Pusher) -> None:
    for tag in ("1.0", "2.0"):
        pusher.push_image(SHOP, tag, seed=tag)
    before = pusher.tags(SHOP)
    with dregutil.open(registry_server.url) as registry:
        run = registry.apply(registry.plan_removal(SHOP, tags=["1.0"]))
        assert [outcome.step.tags for outcome in run.removed] == [("1.0",)]
        assert [record.run for record in registry.runs()] == [run.id]
        assert run.is_finished
        undone = registry.undo()
        assert [entry.tags for entry in undone.of(dregutil.UndoResult.RESTORED)] == [("1.0",)]
        assert pusher.tags(SHOP) == before
        with pytest.raises(dregutil.NotFoundError, match="left to undo"):
            registry.undo()
    assert {path.name for path in (state_folder() / "runs").iterdir()} == {run.id, undone.id}


async def test_a_run_whose_outcome_is_unknown_is_unfinished(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    """The registry is lost at the DELETE: `resume` goes on with it."""
    for tag in ("1.0", "2.0"):
        pusher.push_image(SHOP, tag, seed=tag)
    gone = pusher.tags(SHOP)["1.0"]
    with FaultyProxy(registry_server.port, FAULTS["reset before"], lambda _, __: False) as proxy:

        def breaks(_: int, request: object) -> bool:
            is_lost = getattr(request, "method", "") == "DELETE" and getattr(request, "reference", "") == gone
            lost.append(is_lost)
            return any(lost)

        lost: list[bool] = []
        proxy.breaks = breaks
        result = await removed(proxy.url, "1.0")
        assert any(lost)
        assert not result.is_finished
        proxy.heal()
        async with dregutil.connect(proxy.url) as registry:
            resumed = await registry.resume(result.id)
            assert resumed.is_finished
            assert (await registry.resume(result.id)).outcomes == ()  # nothing is left to do
    assert set(pusher.tags(SHOP)) == {"2.0"}


async def test_apply_does_not_trust_a_list_that_omits_a_tag() -> None:
    """`stable` came onto the doomed digest after the plan, and the list does not have it."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        pusher.push_image(SHOP, "1.0", seed="one")
        pusher.push_image(SHOP, "stable", seed="two")
        async with dregutil.connect(server.url) as registry:
            plan = await registry.plan_removal(SHOP, tags=["1.0"])
            pusher.push_image(SHOP, "stable", seed="one")
            server.switches.hidden.add("stable")
            result = await registry.apply(plan)
        assert [outcome.result for outcome in result.outcomes] == [dregutil.Result.LEFT]
        assert pusher.is_whole(SHOP, "stable")


async def test_one_run_at_a_time(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    identity = dregutil.RegistryAddress.parse(registry_server.url).identity
    with RunStore(state_folder()).lock(identity), pytest.raises(dregutil.RefusedError, match="another run"):
        await removed(registry_server.url, "1.0")
    assert set(pusher.tags(SHOP)) == {"1.0"}


async def test_one_run_at_a_time_in_one_session() -> None:
    """Two tasks of one program are two runs: the second is refused, not mixed with the first."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        for tag in ("1.0", "1.1", "2.0"):
            pusher.push_image(SHOP, tag, seed=tag)
        async with dregutil.connect(server.url) as registry:
            plans = [await registry.plan_removal(SHOP, tags=[tag]) for tag in ("1.0", "1.1")]
            both = await asyncio.gather(*map(registry.apply, plans), return_exceptions=True)
            assert isinstance(both[1], dregutil.RefusedError)
            assert isinstance(both[0], dregutil.RunResult)
            assert both[0].is_finished
            with registry.lock():
                assert (await registry.apply(plans[1])).is_finished
        assert set(pusher.tags(SHOP)) == {"2.0"}


async def test_a_run_does_not_slip_into_the_lock_of_an_undo() -> None:
    """While one task looks at what an undo can put back, a run of another is refused: else the lock would be released
    in the middle of it."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        for tag in ("1.0", "1.1", "2.0"):
            pusher.push_image(SHOP, tag, seed=tag)
        async with dregutil.connect(server.url) as registry:
            await registry.apply(await registry.plan_removal(SHOP, tags=["1.0"]))
            plan = await registry.plan_removal(SHOP, tags=["1.1"])
            undone, ran = await asyncio.gather(registry.undo(), registry.apply(plan), return_exceptions=True)
            assert isinstance(undone, dregutil.UndoRun)
            assert isinstance(ran, dregutil.RefusedError)
        assert set(pusher.tags(SHOP)) == {"1.0", "1.1", "2.0"}


def test_without_a_record_where_that_is_asked_for(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    with dregutil.open(registry_server.url) as registry:
        result = registry.apply(registry.plan_removal(SHOP, tags=["1.0"]), record=False)
    assert result.id == ""
    assert pusher.tags(SHOP) == {}
    assert not (state_folder() / "runs").exists()


def test_a_folder_that_takes_no_record_ends_a_run_before_it_removes_anything(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    with dregutil.open(registry_server.url) as registry:
        plan = registry.plan_removal(SHOP, tags=["1.0"])
        state_folder().mkdir(parents=True, exist_ok=True)
        (state_folder() / "runs").write_text("no folder")
        with pytest.raises(dregutil.JournalError):
            registry.apply(plan)
    assert pusher.tags(SHOP).keys() == {"1.0"}


def test_a_plan_that_takes_most_is_braked(registry_server: DistributionServer, pusher: Pusher) -> None:
    for number in range(60):
        pusher.push_image(SHOP, f"1.{number}", seed=str(number))
    with dregutil.open(registry_server.url) as registry:
        plan = registry.plan_removal(SHOP, tags=["<2"])
        with pytest.raises(dregutil.BrakeError, match="removes 60 tags") as braked:
            registry.apply(plan)
        assert "confirm_tags=60" in braked.value.advice
        with pytest.raises(dregutil.BrakeError):
            registry.apply(plan, confirm_tags=59)
        assert len(pusher.tags(SHOP)) == 60
        assert len(registry.apply(plan, confirm_tags=60).removed) == 60


def test_a_plan_of_another_registry_is_refused(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    with dregutil.open(registry_server.url) as registry:
        plan = registry.plan_removal(SHOP, tags=["1.0"])
    with MemoryServer() as server, dregutil.open(server.url) as other, pytest.raises(dregutil.PlanRefusedError):
        other.apply(plan)
    assert set(pusher.tags(SHOP)) == {"1.0"}


def test_a_saved_plan_is_carried_out_later(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    pusher.push_image(SHOP, "2.0", seed="two")
    with dregutil.open(registry_server.url) as registry:
        dregutil.save_plan(registry.plan_removal(SHOP, tags=["<2"]), tmp_path / "plan")
    with dregutil.open(registry_server.url) as registry:
        registry.apply(dregutil.load_plan(tmp_path / "plan"))
    assert set(pusher.tags(SHOP)) == {"2.0"}


def test_a_stop_ends_a_run_from_another_thread(registry_server: DistributionServer, pusher: Pusher) -> None:
    """What is under way ends; the rest is left, and the run can be resumed."""
    for number in range(30):
        pusher.push_image(SHOP, f"1.{number}", seed=str(number))
    pusher.push_image(SHOP, "2.0", seed="stays")
    stop = dregutil.Stop()

    def told(progress: object) -> None:
        if isinstance(progress, dregutil.RunProgress) and progress.done:
            stopping = threading.Thread(target=stop.set)
            stopping.start()
            stopping.join()

    with dregutil.open(registry_server.url, on_progress=told) as registry:
        run = registry.apply(registry.plan_removal(SHOP, tags=["<2"]), stop=stop)
        assert run.interrupted
        assert not run.is_finished
        assert registry.resume(run.id).is_finished
    assert set(pusher.tags(SHOP)) == {"2.0"}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda registry: registry.plan_removal(SHOP, tags="<1.4"),
        lambda registry: registry.tags(SHOP, exclude="latest"),
        lambda registry: registry.tags(SHOP, platforms="linux/arm64"),
        lambda registry: registry.contents(SHOP, based_on="base:1"),
        lambda registry: registry.tags(SHOP, tag=["1.0"]),
    ],
)
def test_a_text_where_a_list_is_meant_is_refused(wrong: Callable[[dregutil.Session], object]) -> None:
    with dregutil.open("127.0.0.1:1") as registry, pytest.raises(TypeError):
        wrong(registry)
    with pytest.raises(TypeError):
        dregutil.open("127.0.0.1:1", repositories="shop/web")
    with pytest.raises(TypeError):
        dregutil.open("127.0.0.1:1", pasword="wrong")  # type: ignore[call-arg]


def test_a_removal_without_selectors_is_refused() -> None:
    with dregutil.open("127.0.0.1:1") as registry:
        with pytest.raises(dregutil.UsageError, match="no tags"):
            registry.plan_removal(SHOP)
        with pytest.raises(dregutil.UsageError, match="no repository"):
            registry.plan_removal(tags=["<1"])
        with pytest.raises(dregutil.UsageError, match="no repository"):
            registry.plan_repository_removal()


async def test_the_synchronous_face_names_the_other_in_an_event_loop() -> None:
    with pytest.raises(RuntimeError, match=r"async with dregutil\.connect"), dregutil.open("127.0.0.1:1"):
        pass


def test_both_faces_have_the_same_verbs() -> None:
    """With the same parameters, and the same results: those of the one are awaited."""
    inner = {"connected", "close_databases", "known"}

    def verbs(face: type) -> dict[str, Callable[..., object]]:
        found = inspect.getmembers(face, inspect.isfunction)
        return {name: verb for name, verb in found if not name.startswith("_") and name not in inner}

    asynchronous, synchronous = verbs(dregutil.AsyncSession), verbs(dregutil.Session)
    assert asynchronous.keys() == synchronous.keys()
    for name, verb in synchronous.items():
        here, there = inspect.signature(verb), inspect.signature(asynchronous[name])
        assert list(here.parameters.values()) == list(there.parameters.values()), name
        if name != "lock":
            assert here.return_annotation == there.return_annotation, name
        assert asynchronous[name].__doc__, name


def test_the_names_are_shown_and_can_be_used() -> None:
    assert {"open", "connect", "Session", "AsyncSession", "Policy", "BrakeError"} <= set(dir(dregutil))
    for name in dregutil.__all__:
        assert getattr(dregutil, name) is not None
    shown = subprocess.run(
        [sys.executable, "-c", "import dregutil; help(dregutil)"], capture_output=True, text=True, check=True
    ).stdout
    assert "plan_removal" in shown
    assert "class Session" in shown


def test_every_error_is_public() -> None:
    from dregutil import errors

    defined = {
        name for name, found in vars(errors).items() if isinstance(found, type) and found.__module__ == errors.__name__
    }
    assert {name for name in defined if not name.startswith("_")} <= set(dregutil.__all__)


def test_no_module_shadows_a_name_of_the_library() -> None:
    """Whatever is imported first, every public name is what it says."""
    code = (
        "import pkgutil, importlib, types, dregutil\n"
        "for found in pkgutil.walk_packages(dregutil.__path__, 'dregutil.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        "assert not [n for n in dregutil.__all__ if isinstance(getattr(dregutil, n), types.ModuleType)]\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_what_was_removed_is_in_the_order_of_the_plan() -> None:
    step = dregutil.Step(
        0,
        dregutil.Action.DELETE,
        dregutil.Repository(SHOP),
        dregutil.Digest.of(b""),
        (),
        dregutil.StepKind.IMAGE,
        "selected",
    )
    outcomes = [
        dregutil.Outcome(replace(step, number=number), result)
        for number, result in ((2, dregutil.Result.REMOVED), (0, dregutil.Result.REMOVED), (1, dregutil.Result.LEFT))
    ]
    assert [outcome.step.number for outcome in dregutil.RunResult(tuple(outcomes)).removed] == [0, 2]


async def test_what_could_not_be_read_is_a_warning(
    registry_server: DistributionServer, pusher: Pusher, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a callback it is logged: a selector by content matches nothing that could not be read."""
    pusher.push_image(SHOP, "1.0", seed="one", config=created(200))
    broken = pusher.push_image(SHOP, "2.0", seed="two", config=created(200))
    config = json.loads(pusher.raw(SHOP, "2.0"))["config"]["digest"].partition(":")[2]
    blob = registry_server.storage / "docker/registry/v2/blobs/sha256" / config[:2] / config / "data"
    blob.unlink()
    async with dregutil.connect(registry_server.url) as registry:
        assert [str(image) for image in await registry.tags(SHOP, older_than="90d")] == [f"{SHOP}:1.0"]
        (image,) = await registry.contents(SHOP, tags=["2.0"])
    assert (image.size, image.created) == (None, None)
    assert image.unread
    (logged,) = {record.getMessage() for record in caplog.records}
    assert logged.startswith(f"sha256:{broken['digest'].partition(':')[2][:12]} could not be read: ")


def test_a_session_closes_without_with(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    registry = dregutil.open(registry_server.url, state_dir="state", contents=None)
    assert [str(image) for image in registry.tags()] == [f"{SHOP}:1.0"]
    registry.close()
    registry.close()


async def test_each_method_of_the_synchronous_face_refuses_an_event_loop() -> None:
    registry = dregutil.open("127.0.0.1:1")
    with pytest.raises(RuntimeError, match=r"async with dregutil\.connect"):
        registry.tags()


def test_paths_may_be_text(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    places = {name: str(tmp_path / "own" / name) for name in ("state_dir", "contents", "cache")}
    with dregutil.open(registry_server.url, **places) as registry:  # type: ignore[arg-type]
        registry.contents(SHOP)
        registry.apply(registry.plan_removal(SHOP, tags=["1.0"]))
    for place in places.values():
        assert Path(place).exists()


def test_every_kind_of_progress_counts_alike(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image(SHOP, "1.0", seed="one")
    seen: list[dregutil.Progress] = []
    with dregutil.open(
        registry_server.url, on_progress=lambda found: seen.append(found) if found else None
    ) as registry:
        registry.contents(SHOP)
        registry.apply(registry.plan_removal(SHOP, tags=["1.0"]))
    assert {(progress.noun, type(progress).__name__) for progress in seen} == {
        ("tags", "CrawlProgress"),
        ("images", "ContentsProgress"),
        ("steps", "RunProgress"),
    }
    assert all(0 <= progress.done <= progress.total for progress in seen)


def test_a_run_is_recorded_with_the_call_that_planned_it(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    policies = dregutil.policy_set(
        [dregutil.Policy(name="old", repositories=["**"], keep=dregutil.Keep(last=2), max_remove="50%")]
    )
    for days, tag in ((400, "1.0"), (300, "2.0"), (200, "3.0"), (100, "4.0")):
        pusher.push_image(SHOP, tag, seed=tag, config=created(days))
    with dregutil.open(registry_server.url) as registry:
        second = registry.apply(registry.plan_cleanup(policies))
        first = registry.apply(registry.plan_removal(SHOP, tags=["3.0"]))
        undone = registry.undo()
        commands = {record.run: record.plan.command for record in registry.runs()}
    with dregutil.open(registry_server.url, command="nightly") as registry:
        third = registry.apply(registry.plan_removal(SHOP, tags=["4.0"]))
        assert registry.run(third.id).plan.command == "nightly"
    assert commands == {
        first.id: f"plan_removal('{SHOP}', tags=['3.0'])",
        undone.id: f"undo('{first.id}')",
        second.id: "plan_cleanup('old')",
    }


def test_usage_by_something_else_is_refused() -> None:
    with dregutil.open("127.0.0.1:1") as registry, pytest.raises(dregutil.UsageError, match="repo, tag, layer"):
        registry.disk_usage(by="repos")


def test_a_session_shows_its_registry() -> None:
    assert repr(dregutil.open("registry.example.com")) == "Session('registry.example.com')"
    assert repr(dregutil.connect("https://registry.example.com")) == "AsyncSession('registry.example.com')"


def test_what_the_result_may_lack_is_a_warning(
    registry_server: DistributionServer, pusher: Pusher, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a callback it is logged: records of tags that are lost, and a repository that could not be read."""
    for tag in ("1.0", "2.0"):
        pusher.push_image(SHOP, tag, seed=tag, config=created(200))
    policies = dregutil.policy_set([dregutil.Policy(name="old", repositories=["**"], keep=dregutil.Keep(last=1))])
    with (
        FaultyProxy(registry_server.port, FAULTS["500"], lambda _, __: False) as proxy,
        dregutil.open(proxy.url) as registry,
    ):
        registry.apply(registry.plan_removal(SHOP, tags=["1.0"]))
        assert not caplog.records
        (records,) = Path(os.environ["XDG_STATE_HOME"]).rglob("sightings/*.sqlite")
        records.unlink()
        assert registry.plan_cleanup(policies).plan.steps == ()
        assert "the records of when tags came are not here" in caplog.messages[-1]
        proxy.breaks = lambda _, request: request.path.startswith("/v2/shop/web/tags/list")
        registry.plan_cleanup(policies)
    assert any(message.startswith(f"{SHOP} could not be read: ") for message in caplog.messages)
