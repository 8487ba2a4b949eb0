"""The library with its defaults: as careful as the command, and recorded like it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dregutil
from dregutil.files import contents_file, state_folder
from dregutil.inventory.contents.database import ContentDatabase
from images import Pusher
from program import PROGRAM
from servers import DistributionServer
from servers.faults import FAULTS, FaultyProxy
from servers.memory import MemoryServer

SHOP = dregutil.Repository("shop/web")


async def removed(url: str, *tags: str) -> dregutil.RunResult:
    """The example in the README."""
    async with dregutil.connect_writable(url) as registry:
        found = await dregutil.crawl(registry)
        selection = dregutil.select_tags(found.inventory, [SHOP], dregutil.TagSelector.build(tags))
        plan = await dregutil.plan_removal(registry, selection, found.inventory)
        return await dregutil.apply_plan(registry, plan, inventory=found.inventory)


def dregutil_command(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "-reg", url, "-c", "None", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def test_an_index_in_the_content_database_holds_a_digest(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    """An index that was seen with a tag and has lost it still needs its child: the library keeps the child, as the
    command does."""
    child = pusher.push_image("shop/web", "1.0", seed="child")
    index = pusher.push_index("shop/web", "nightly", children=[child])
    with ContentDatabase.open(contents_file()) as database:
        async with dregutil.connect(registry_server.url) as registry:
            await dregutil.read_contents(registry, [(SHOP, dregutil.Digest(index["digest"]))], database)
    pusher.push_image("shop/web", "nightly", seed="another")
    result = await removed(registry_server.url, "1.0")
    assert pusher.is_whole("shop/web", index["digest"])
    assert [outcome.result for outcome in result.outcomes] == []


async def test_an_index_in_the_records_holds_its_child(registry_server: DistributionServer, pusher: Pusher) -> None:
    """An index of an earlier run was put back by digest: it has no tag, and its child stays."""
    child = pusher.push_image("shop/web", seed="child")
    index = pusher.push_index("shop/web", "0.9", children=[child])
    raw = pusher.raw("shop/web", "0.9")
    pusher.push_image("shop/web", "keeper", seed="child")
    first = await removed(registry_server.url, "0.9")
    assert first.run
    pusher.push_manifest("shop/web", None, raw, index["mediaType"])
    await removed(registry_server.url, "keeper")
    assert pusher.is_whole("shop/web", index["digest"])


async def test_a_run_is_recorded_and_undone(registry_server: DistributionServer, pusher: Pusher) -> None:
    for tag in ("1.0", "2.0"):
        pusher.push_image("shop/web", tag, seed=tag)
    before = pusher.tags("shop/web")
    result = await removed(registry_server.url, "1.0")
    assert [path.name for path in (state_folder() / "runs").iterdir()] == [result.run]
    assert result.is_finished
    undone = dregutil_command(registry_server.url, "undo", result.run, "-y")
    assert undone.returncode == 0, undone.stderr
    assert pusher.tags("shop/web") == before


async def test_a_run_whose_outcome_is_unknown_is_unfinished(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    """The connection is lost at the DELETE: `apply --resume` continues the run."""
    for tag in ("1.0", "2.0"):
        pusher.push_image("shop/web", tag, seed=tag)
    gone = pusher.tags("shop/web")["1.0"]
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
        resumed = dregutil_command(proxy.url, "apply", "--resume", result.run, "-y")
        assert resumed.returncode == 0, resumed.stderr
    assert "nothing left to do" not in resumed.stderr
    assert set(pusher.tags("shop/web")) == {"2.0"}


async def test_apply_does_not_trust_a_list_that_omits_a_tag() -> None:
    """`stable` was moved to the doomed digest after the plan, and the list does not contain it."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        pusher.push_image("shop/web", "1.0", seed="one")
        pusher.push_image("shop/web", "stable", seed="two")
        async with dregutil.connect_writable(server.url) as registry:
            found = await dregutil.crawl(registry)
            selection = dregutil.select_tags(found.inventory, [SHOP], dregutil.TagSelector.build(["1.0"]))
            plan = await dregutil.plan_removal(registry, selection, found.inventory)
            pusher.push_image("shop/web", "stable", seed="one")
            server.switches.hidden.add("stable")
            result = await dregutil.apply_plan(registry, plan, inventory=found.inventory)
        assert [outcome.result for outcome in result.outcomes] == [dregutil.Result.LEFT]
        assert pusher.is_whole("shop/web", "stable")


async def test_one_run_at_a_time(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    async with dregutil.connect(registry_server.url) as registry:
        identity = registry.address.identity
    with dregutil.RunStore(state_folder()).lock(identity), pytest.raises(dregutil.DregutilError, match="another run"):
        await removed(registry_server.url, "1.0")
    assert set(pusher.tags("shop/web")) == {"1.0"}


async def test_without_a_record_on_request(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    async with dregutil.connect_writable(registry_server.url) as registry:
        found = await dregutil.crawl(registry)
        selection = dregutil.select_tags(found.inventory, [SHOP], dregutil.TagSelector.build(["1.0"]))
        plan = await dregutil.plan_removal(registry, selection, found.inventory)
        result = await dregutil.apply_plan(registry, plan, recorder=dregutil.NoRecorder())
    assert result.run == ""
    assert not (state_folder() / "runs").exists()


@pytest.mark.parametrize(
    "line",
    [
        "from dregutil import CrawlProgress",
        "from dregutil import CrawlResult, crawl",
        "import dregutil.inventory.crawl",
        "from dregutil.inventory.crawl import crawl",
        "import dregutil.report.progress",
        "import importlib; importlib.import_module('dregutil.inventory.crawl')",
    ],
)
def test_crawl_is_the_function_whatever_was_imported_before(line: str) -> None:
    code = (
        f"{line}\nimport dregutil\nassert callable(dregutil.crawl)\nfrom dregutil import crawl\nassert callable(crawl)"
    )
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_no_module_shadows_a_name_of_the_library() -> None:
    """The same for every other public name, regardless of what is imported first."""
    code = (
        "import pkgutil, importlib, types, dregutil\n"
        "for found in pkgutil.walk_packages(dregutil.__path__, 'dregutil.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        "assert not [n for n in dregutil.__all__ if isinstance(getattr(dregutil, n), types.ModuleType)]\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
