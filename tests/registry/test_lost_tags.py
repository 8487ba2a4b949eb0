"""Attempts to make a removal lose a tag, a child or a signature that was not selected: each must fail.

A proxy in front of the real registry, or the one in memory, does what another client might do between two requests: no
attempt depends on timing.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dregutil.apply import last_look, live_graph, repository, sweep
from dregutil.apply.intents import Intents
from dregutil.apply.looks import Looks
from dregutil.apply.untag.by_name import ByName
from dregutil.errors import JournalError
from dregutil.journal.writer import Journal
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Repository
from dregutil.plan.model import RemovalOptions
from dregutil.plan.outcome import Result
from dregutil.select.selection import MatchRules
from images import IMAGE, INDEX, Pusher
from removing import Removing, results
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request
from servers.memory import MemoryServer

pytestmark = pytest.mark.every_server


@pytest.fixture(autouse=True)
def one_step_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the effect before a request is always the same."""
    monkeypatch.setattr(repository, "_STEPS_AT_ONCE", 1)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large repository: the tags are removed first."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)


@pytest.fixture
def proxy(registry_server: DistributionServer) -> Iterator[Proxy]:
    with Proxy(registry_server.port) as found:
        yield found


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as found:
        yield found


@pytest.fixture
def aside(memory: MemoryServer) -> Iterator[Pusher]:
    with Pusher(memory.url) as found:
        yield found


def signature_tag(subject: dict[str, Any], suffix: str = ".sig") -> str:
    return f"sha256-{subject['digest'][7:]}{suffix}"


def once(matches: Callable[[Request], bool], act: Callable[[], object]) -> Callable[[Request], None]:
    """Do something before the first request that matches."""
    left = [act]

    def look(request: Request) -> None:
        if left and matches(request):
            left.pop()()

    return look


def deletes(reference: str) -> Callable[[Request], bool]:
    return lambda request: request.method == "DELETE" and request.reference == reference


# Pushes between requests


async def test_the_same_index_pushed_again_before_its_children_went(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    """Tag and digest are the same as before: the last look must not treat them as unchanged."""
    children = [pusher.push_image("r", seed=seed) for seed in ("amd", "arm")]
    index = pusher.push_index("r", "1.0", children=children)
    raw = pusher.raw("r", "1.0")
    proxy.before = once(deletes(children[0]["digest"]), lambda: pusher.push_manifest("r", "1.0", raw, INDEX))
    await Removing(proxy.url, tmp_path).remove("1.0")
    assert pusher.tags("r") == {"1.0": index["digest"]}
    assert pusher.is_whole("r", "1.0")


@pytest.mark.parametrize("tag", ["1.0", "new"])
async def test_an_image_pushed_again_before_its_signature_went(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, tag: str
) -> None:
    image = pusher.push_image("r", "1.0", seed="one")
    raw = pusher.raw("r", "1.0")
    signature = pusher.push_image("r", signature_tag(image), seed="signature")
    of_it = pusher.push_image("r", signature_tag(signature), seed="signature of the signature")
    proxy.before = once(deletes(signature["digest"]), lambda: pusher.push_manifest("r", tag, raw, IMAGE))
    await Removing(proxy.url, tmp_path).remove("1.0")
    expected = {
        tag: image["digest"],
        signature_tag(image): signature["digest"],
        signature_tag(signature): of_it["digest"],
    }
    assert pusher.tags("r") == expected
    assert all(pusher.is_whole("r", name) for name in expected)


async def test_an_index_pushed_over_a_child_that_just_went(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    child = pusher.push_image("r", seed="child")
    pusher.push_index("r", "1.0", children=[child])
    inner: list[dict[str, Any]] = []

    def push() -> None:
        inner.append(pusher.push_index("r", children=[child]))
        pusher.push_index("r", "new", children=inner)

    proxy.before = once(deletes(child["digest"]), push)
    await Removing(proxy.url, tmp_path).remove("1.0")
    assert set(pusher.tags("r")) == {"new"}
    assert pusher.is_whole("r", "new")


@pytest.mark.usefixtures("large")
async def test_a_tag_that_moves_during_a_sweep_by_tag(memory: MemoryServer, aside: Pusher, tmp_path: Path) -> None:
    memory.switches.untags = True
    for number in range(4):
        aside.push_image("r", f"1.{number}", seed=str(number))
    moved: list[str] = []
    with Proxy(memory.port) as proxy:
        proxy.before = once(deletes("1.0"), lambda: moved.append(aside.push_image("r", "1.2", seed="new")["digest"]))
        await Removing(proxy.url, tmp_path).remove("<2")
    assert aside.tags("r") == {"1.2": moved[0]}
    assert aside.is_whole("r", "1.2")


@pytest.mark.only_on("distribution-2.8", why="the others delete tags by name: what is missing may have gone so")
async def test_a_tag_that_moves_to_a_doomed_digest_is_put_back(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """It is deleted with the digest, and only one digest was deleted since it was last seen."""
    old = pusher.push_image("r", "1.0", seed="old")
    pusher.push_image("r", "stable", seed="new")
    raw = pusher.raw("r", "1.0")
    proxy.before = once(deletes(old["digest"]), lambda: pusher.push_manifest("r", "stable", raw, IMAGE))
    result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert result is not None
    assert result.vanished == {}
    assert [(lost.tag, lost.mended) for lost in result.lost] == [("stable", old["digest"])]
    assert pusher.tags("r") == {"stable": old["digest"]}
    assert pusher.is_whole("r", "stable")


@pytest.mark.only_on("distribution-2.8", why="the others delete tags by name")
@pytest.mark.parametrize("how", ["untagged again", "no room for the intent"])
async def test_a_tag_left_without_its_placeholder_is_untagged_again(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """2.8 deletes a manifest first and then its tags; if it cannot read them all at that moment (status 500), they
    stay."""
    image = pusher.push_image("r", "1.0", "stable", seed="one")
    revisions = registry_server.storage / "docker/registry/v2/repositories/r/_manifests/revisions/sha256"

    def fail_once(request: Request) -> Answer | None:
        reference = request.reference.removeprefix("sha256:")
        if failed or request.method != "DELETE" or not (revisions / reference).is_dir():
            return None
        failed.append(reference)
        shutil.rmtree(revisions / reference)
        return Answer(500)

    async def full(self: Journal, *intents: Any) -> None:
        if failed and how == "no room for the intent":
            raise JournalError("no room")
        await intend(self, *intents)

    failed: list[str] = []
    intend = Journal.intend
    monkeypatch.setattr(Journal, "intend", full)
    with Proxy(registry_server.port, before=fail_once) as proxy:
        removing = Removing(proxy.url, tmp_path)
        result = await removing.remove("1.0", options=RemovalOptions(untag=True))
        assert failed
        if how == "untagged again":
            assert results(result) == [Result.REMOVED]
            assert pusher.tags("r") == {"stable": image["digest"]}
        else:  # it is on its image, and is not reported as removed
            assert results(result) == [Result.FAILED]
            assert pusher.is_whole("r", "1.0")
        assert pusher.is_whole("r", "stable")
        await removing.undo()
    assert pusher.tags("r") == {"1.0": image["digest"], "stable": image["digest"]}


async def test_what_was_read_long_ago_is_read_again(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag that moved to a doomed digest, after the reading and before its step."""
    monkeypatch.setattr(live_graph, "look_lives", lambda _: 0.0)
    first, old = (pusher.push_image("r", tag, seed=tag) for tag in ("1.0", "1.1"))
    pusher.push_image("r", "stable", seed="new")
    raw = pusher.raw("r", "1.1")
    proxy.before = once(deletes(first["digest"]), lambda: pusher.push_manifest("r", "stable", raw, IMAGE))
    monkeypatch.setattr(repository, "_STEPS_AT_ONCE", 1)
    await Removing(proxy.url, tmp_path).remove("<2")
    assert pusher.tags("r") == {"1.1": old["digest"], "stable": old["digest"]}
    assert pusher.is_whole("r", "stable")


@pytest.mark.parametrize("how", ["tagged", "unjudgeable"])
async def test_another_step_reads_while_an_intent_is_written(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A step was found valid. While its intent is being written, the repository is read again, and the step is no
    longer valid."""
    old = pusher.push_image("r", "1.0", seed="old")
    pusher.push_image("r", "2.0", seed="other")
    raw = pusher.raw("r", "1.0")
    runs: list[Any] = []
    begin, record = repository.RepositoryRun.__init__, Intents.record

    def noted(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        runs.append(self)

    async def read_meanwhile(self: Any, *arguments: Any) -> None:
        if how == "tagged":
            pusher.push_manifest("r", "stable", raw, IMAGE)
        else:
            monkeypatch.setattr(live_graph, "survey_repository", unjudgeable)
        await runs[0].work.live.read_again()
        await record(self, *arguments)

    async def unjudgeable(*_: Any, **__: Any) -> RepositoryGraph:
        return RepositoryGraph(Repository("r"), unjudgeable="it could not be read whole")

    monkeypatch.setattr(repository.RepositoryRun, "__init__", noted)
    monkeypatch.setattr(Intents, "record", read_meanwhile)
    result = await Removing(registry_server.url, tmp_path).remove("1.0")
    assert results(result) == [Result.LEFT]
    here = pusher.tags("r")
    assert here["1.0"] == here.get("stable", old["digest"]) == old["digest"]


async def test_what_another_step_reads_while_its_tags_go_first(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that deletes no digest with tags: while they go, an index that needs the digest is seen."""
    memory.switches.untags = True
    image = aside.push_image("r", "1.0", seed="old")
    runs: list[Any] = []
    begin, untag = repository.RepositoryRun.__init__, ByName.untag_recorded

    def noted(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        runs.append(self)

    async def push_meanwhile(self: ByName, intent: Any) -> bool:
        found = await untag(self, intent)
        aside.push_index("r", "stable", children=[image])
        await runs[0].work.live.read_again()
        return found

    def tagged(request: Request) -> Answer | None:
        deletes = request.method == "DELETE" and request.reference == image["digest"]
        if not deletes or image["digest"] not in aside.tags("r").values():
            return None
        return Answer(400, b'{"errors": [{"code": "GOOGLE_MANIFEST_DANGLING_TAG"}]}')

    monkeypatch.setattr(repository.RepositoryRun, "__init__", noted)
    monkeypatch.setattr(ByName, "untag_recorded", push_meanwhile)
    with Proxy(memory.port, before=tagged) as proxy:
        result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert results(result) == [Result.LEFT]
    assert aside.tags("r")["1.0"] == image["digest"]
    assert aside.is_whole("r", "stable")


@pytest.mark.usefixtures("large")
async def test_what_a_server_took_with_its_last_tag_comes_back_whatever_is_learnt_since(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep by name took a digest that is needed after all. That the server deletes more than tags is learnt only
    afterwards, in another repository of the run."""
    memory.switches.untags = memory.switches.last_tag_takes = True
    image = aside.push_image("r", "1.0", seed="one")
    aside.push_image("r", "2.0", seed="two")
    runs: list[Any] = []
    begin, after = repository.RepositoryRun.__init__, Looks.after_sweep

    def noted(self: Any, *arguments: Any) -> None:
        begin(self, *arguments)
        runs.append(self)

    async def learn(self: Looks, taken: Any) -> None:
        await after(self, taken)
        runs[0].work.run.registry.deletes_tags = False

    pushing = once(deletes("1.0"), lambda: aside.push_index("r", "stable", children=[image]))
    monkeypatch.setattr(repository.RepositoryRun, "__init__", noted)
    monkeypatch.setattr(Looks, "after_sweep", learn)
    with Proxy(memory.port, before=pushing) as proxy:
        result = await Removing(proxy.url, tmp_path).remove("<3")
    assert sorted(results(result), key=str) == [Result.LEFT, Result.REMOVED]
    assert aside.tags("r")["1.0"] == image["digest"]
    assert aside.is_whole("r", "stable")


async def test_a_tag_that_moves_while_its_intent_is_written(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.switches.untags = True
    image = aside.push_image("r", "1.0", "stable", seed="one")
    intend, new = Journal.intend, list[str]()

    async def push_meanwhile(self: Journal, *intents: Any) -> None:
        await intend(self, *intents)
        new.append(aside.push_image("r", "1.0", seed="new")["digest"])

    monkeypatch.setattr(Journal, "intend", push_meanwhile)
    result = await Removing(memory.url, tmp_path).remove("1.0", options=RemovalOptions(untag=True))
    assert results(result) == [Result.LEFT]
    assert aside.tags("r") == {"1.0": new[0], "stable": image["digest"]}


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("untags", [False, True])
async def test_a_run_stopped_after_a_sweep_leaves_what_it_reports_as_left(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, untags: bool
) -> None:
    memory.switches.untags = untags
    for number in range(8):
        aside.push_image("r", f"1.{number}", seed=str(number))
    before = aside.tags("r")
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    with Proxy(memory.port) as proxy:
        proxy.before = once(deletes(before["1.2"]), lambda: loop.call_soon_threadsafe(stop.set))
        removing = Removing(proxy.url, tmp_path)
        result = await removing.apply(await removing.plan("<2"), stop=stop)
    assert result is not None
    left = {tag for outcome in result.outcomes if not outcome.result.is_done for tag in outcome.step.tags}
    assert left
    assert aside.tags("r") == {tag: digest for tag, digest in before.items() if tag in left}


# Lost, refused and wrong answers


async def test_a_lost_answer_does_not_affect_other_steps(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """One SBOM with the tags of two subjects: the answer about one is lost, the other is refused."""
    one, two = (pusher.push_image("r", tag, seed=tag) for tag in ("1.0", "1.1"))
    sbom = [signature_tag(image, ".sbom") for image in (one, two)]
    pusher.push_image("r", *sbom, seed="sbom")
    lost = [True]

    def answer(request: Request) -> Answer | None:
        if deletes(one["digest"])(request) and lost:
            lost.clear()
            return LOST
        return Answer(409) if deletes(two["digest"])(request) else None

    proxy.before = answer
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert set(pusher.tags("r")) == {"1.1", *sbom}
    assert all(pusher.is_whole("r", tag) for tag in pusher.tags("r"))
    assert results(result) == [Result.REMOVED, Result.FAILED, Result.LEFT]


async def test_a_tag_that_reappears_while_an_answer_is_lost_is_recorded(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    image = aside.push_image("r", "1.0", "1.1", seed="one")
    removing = Removing(memory.url, tmp_path)
    plan = await removing.plan("<2")
    tags = memory.repositories["r"].tags
    assert tags is not None
    del tags["1.1"]
    lost = [LOST]

    def push_and_lose(request: Request) -> Answer | None:
        if lost and deletes(image["digest"])(request):
            tags["1.1"] = image["digest"]
            return lost.pop()
        return None

    with Proxy(memory.port, before=push_and_lose) as proxy:
        result = await Removing(proxy.url, tmp_path).apply(plan)
    assert results(result) == [Result.REMOVED]
    assert aside.tags("r") == {}
    await removing.undo()
    assert aside.tags("r") == {"1.0": image["digest"], "1.1": image["digest"]}


async def test_a_step_ended_by_the_login_is_resumed(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """It has no outcome, although the last look found no problem."""
    image = pusher.push_image("r", "1.0", seed="one")
    refused = Answer(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
    proxy.before = lambda request: refused if deletes(image["digest"])(request) else None
    removing = Removing(proxy.url, tmp_path)
    assert results(await removing.remove("1.0")) == [Result.FAILED]
    assert removing.record().is_unfinished
    proxy.before = lambda _: None
    assert results(await removing.resume()) == [Result.REMOVED]
    assert pusher.tags("r") == {}
    assert not removing.record().is_unfinished


async def test_accepted_and_then_an_error(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """As 3.x answers if the manifest was deleted and its tags were not: whether it is gone must be checked."""
    children = [pusher.push_image("r", seed=seed) for seed in ("amd", "arm")]
    index = pusher.push_index("r", "1.0", children=children)
    error = Answer(202, json.dumps({"errors": [{"code": "UNKNOWN", "message": "tags"}]}).encode())
    proxy.after = lambda request, answer: error if deletes(index["digest"])(request) else answer
    result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert results(result) == [Result.REMOVED] * 3
    assert not any(pusher.has("r", found["digest"]) for found in (index, *children))


async def test_tags_left_dangling_by_a_delete_are_removed(memory: MemoryServer, aside: Pusher, tmp_path: Path) -> None:
    aside.push_image("r", "1.0", seed="one")
    stays = aside.push_image("r", "2.0", seed="two")
    memory.switches.keeps_tags = True

    def normal_again(request: Request, answer: Answer) -> Answer:
        if request.method == "DELETE" and answer.status == 202:
            memory.switches.keeps_tags = False
        return answer

    with Proxy(memory.port, after=normal_again) as proxy:
        await Removing(proxy.url, tmp_path).remove("1.0")
    assert memory.repositories["r"].tags == {"2.0": stays["digest"]}


@pytest.mark.parametrize("mine", [True, False])
async def test_an_image_pushed_again_while_dangling_tags_are_cleared(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, mine: bool
) -> None:
    """Between the last list of tags and the repair: a tag that exists again belongs to another client, and is not
    removed."""
    image = aside.push_image("r", "1.0", seed="one")
    aside.push_image("r", "2.0", seed="two")
    raw = aside.raw("r", "1.0")
    memory.switches.keeps_tags = mine
    lists: list[str] = []

    def push_after_the_last_list(request: Request, answer: Answer) -> Answer:
        if request.method == "DELETE" and answer.status == 202:
            memory.switches.keeps_tags = False
            if not mine:  # a push of another image, overtaken by the delete
                memory.repositories["r"].tags = {**aside.tags("r"), "odd": "sha256:" + "0" * 64}
            lists.append("deleted")
        elif lists == ["deleted"] and request.path.endswith("/tags/list"):
            lists.append("listed")
        elif lists == ["deleted", "listed"] and request.reference in ("1.0", "odd") and answer.status == 404:
            lists.append("pushed")
            aside.push_manifest("r", "new", raw, IMAGE)
        return answer

    with Proxy(memory.port, after=push_after_the_last_list) as proxy:
        await Removing(proxy.url, tmp_path).remove("1.0")
    assert lists[2] == "pushed"
    assert aside.tags("r")["new"] == image["digest"]
    assert aside.is_whole("r", "new")


async def test_a_tag_pushed_before_it_is_untagged_again_stays(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its placeholder was deleted and the tag was not; before it is repaired, another client pushes it."""
    monkeypatch.setattr(last_look, "_LAGS", ())
    old = aside.push_image("r", "1.0", "stable", seed="old")
    memory.switches.keeps_tags = True
    lists: list[str] = []

    def push_after_the_last_list(request: Request, answer: Answer) -> Answer:
        if request.method == "DELETE" and answer.status == 202:
            memory.switches.keeps_tags = False
            lists.append("deleted")
        elif lists and request.path.endswith("/tags/list"):
            lists.append("listed")
            if lists == ["deleted", "listed", "listed"]:
                lists.append(aside.push_image("r", "1.0", seed="new")["digest"])
        return answer

    with Proxy(memory.port, after=push_after_the_last_list) as proxy:
        await Removing(proxy.url, tmp_path).remove("1.0", options=RemovalOptions(untag=True))
    assert aside.tags("r") == {"1.0": lists[3], "stable": old["digest"]}
    assert aside.is_whole("r", "1.0")


async def test_a_wrong_list_in_the_middle_of_a_run(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list omits a tag once something was deleted (3.1.1 on S3 does this); the tag had moved to a doomed digest."""
    monkeypatch.setattr(live_graph, "look_lives", lambda _: 0.0)
    first, old = (aside.push_image("r", tag, seed=tag) for tag in ("1.0", "1.1"))
    aside.push_image("r", "stable", seed="new")
    raw = aside.raw("r", "1.1")

    def lie() -> None:
        aside.push_manifest("r", "stable", raw, IMAGE)
        memory.switches.hidden = {"stable"}

    with Proxy(memory.port) as proxy:
        proxy.before = once(deletes(first["digest"]), lie)
        await Removing(proxy.url, tmp_path).remove("<2")
    memory.switches.hidden = set()
    assert aside.tags("r")["stable"] == old["digest"]
    assert aside.is_whole("r", "stable")


@pytest.mark.usefixtures("large")
async def test_a_tag_seen_in_a_sweep_and_omitted_by_the_next_list_holds_its_digest(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    """A lagging replica: the list after the sweep is older than the one in it, which showed the new tag."""
    old = aside.push_image("r", "1.0", seed="old")
    aside.push_image("r", "stable", seed="new")
    raw = aside.raw("r", "1.0")
    deleting: list[str] = []

    def push(request: Request) -> None:
        if request.method == "PUT" and request.reference == "1.0":  # onto the placeholder
            aside.push_manifest("r", "late", raw, IMAGE)
        if request.method == "DELETE" and request.reference not in ("1.0", old["digest"]):
            deleting.append(request.reference)
            if len(deleting) == 2:  # the placeholder, after the check whether any was deletable
                memory.switches.hidden = {"late"}

    with Proxy(memory.port) as proxy:
        proxy.before = push
        await Removing(proxy.url, tmp_path).remove("1.0")
    memory.switches.hidden = set()
    assert aside.tags("r")["late"] == old["digest"]
    assert aside.is_whole("r", "late")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("status", [403, 409, 500])
async def test_a_refused_sweep_by_tag_reverts_itself(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, status: int
) -> None:
    memory.switches.untags = True
    for number in range(6):
        aside.push_image("r", f"1.{number}", seed=str(number))
    before = aside.tags("r")
    memory.switches.refused = {"1.3": status, before["1.3"]: status, before["1.4"]: 412}
    result = await Removing(memory.url, tmp_path).remove("<2")
    after = aside.tags("r")
    assert {"1.3", "1.4"} <= after.keys()
    assert after.items() <= before.items()
    assert all(aside.is_whole("r", tag) for tag in after)
    assert result is not None
    for outcome in result.outcomes:
        assert outcome.result.is_done != (outcome.step.tags[0] in after), outcome


@pytest.mark.usefixtures("large")
async def test_a_sweep_without_permission_to_push_is_recorded(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    """With permission to delete but not to push, digests are deleted one by one, and each intent is durable before its
    DELETE."""
    for number in range(6):
        aside.push_image("r", f"1.{number}", seed=str(number))
    before = aside.tags("r")
    denied = Answer(403, b'{"errors":[{"code":"DENIED"}]}', {"Content-Type": "application/json"})
    with Proxy(memory.port, before=lambda request: denied if request.method in ("POST", "PUT") else None) as proxy:
        result = await Removing(proxy.url, tmp_path).remove("<2")
    assert set(results(result)) == {Result.REMOVED}
    removing = Removing(memory.url, tmp_path)
    assert {intent.manifest.digest for intent in removing.record().intents} == set(before.values())
    await removing.undo()
    assert aside.tags("r") == before


async def test_two_tags_of_a_digest_that_stays_are_deleted_by_tag(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    memory.switches.untags = True
    image = aside.push_image("r", "1.0", "1.1", "stable", seed="one")
    result = await Removing(memory.url, tmp_path).remove("<2", options=RemovalOptions(untag=True))
    assert results(result) == [Result.REMOVED] * 2
    assert aside.tags("r") == {"stable": image["digest"]}


async def test_a_tag_deleted_by_another_user_beside_an_untagged_one_is_not_put_back(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    """The first step has shown that a tag goes alone: a later missing tag did not go with it, and is not put on an
    image that it may no longer name."""
    memory.switches.untags = True
    images = [aside.push_image("r", f"1.{number}", f"stays-{number}", seed=str(number)) for number in range(3)]

    def act(request: Request) -> None:
        if deletes("1.1")(request):
            assert aside.request("DELETE", "/v2/r/manifests/stays-1")[0] == 202

    with Proxy(memory.port) as proxy:
        proxy.before = act
        result = await Removing(proxy.url, tmp_path).remove("<2", options=RemovalOptions(untag=True))
    assert results(result) == [Result.REMOVED] * 3
    assert aside.tags("r") == {f"stays-{number}": images[number]["digest"] for number in (0, 2)}


async def test_a_signature_that_got_a_second_subject_after_the_plan(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    """Its new subject was doomed too, and is refused: the new tag holds the signature anyway."""
    one, two = (aside.push_image("r", tag, seed=tag) for tag in ("1.0", "1.1"))
    signature = aside.push_image("r", signature_tag(one), seed="signature")
    removing = Removing(memory.url, tmp_path)
    plan = await removing.plan("<2")
    aside.push_image("r", signature_tag(two), seed="signature")
    memory.switches.refused = {two["digest"]: 412}
    await removing.apply(plan)
    assert aside.tags("r")[signature_tag(two)] == signature["digest"]
    assert aside.is_whole("r", "1.1")


# Servers that delete more than was requested


async def test_what_a_cascade_deleted_can_be_restored(memory: MemoryServer, aside: Pusher, tmp_path: Path) -> None:
    memory.switches.cascades = memory.switches.has_referrers = True
    inner = aside.push_index("r", children=[aside.push_image("r", seed="deep")])
    index = aside.push_index("r", "1.0", children=[inner, aside.push_image("r", seed="child")])
    aside.push_image("r", seed="referrer", subject=index)
    manifests = dict(memory.repositories["r"].manifests)
    for number in range(140):
        aside.push_image("r", f"1.{number + 1}", seed=str(number))
    removing = Removing(memory.url, tmp_path)
    result = await removing.remove("1.0", "<1.141")
    assert set(results(result)) == {Result.REMOVED}
    assert memory.repositories["r"].manifests == {}
    undone = await removing.undo()
    assert undone is not None
    assert undone.error is None
    assert memory.repositories["r"].manifests.items() >= manifests.items()
    assert aside.is_whole("r", "1.0")


@pytest.mark.parametrize("keeps", [False, True])
async def test_a_cascade_that_deletes_what_was_to_stay(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, keeps: bool
) -> None:
    """A server deletes the children with an index, even if they belong to another index or were to be kept."""
    shared, own = (aside.push_image("r", seed=seed) for seed in ("shared", "own"))
    index = aside.push_index("r", "1.0", children=[shared, own])
    aside.push_index("r", "2.0", children=[shared])

    def take_all(request: Request, answer: Answer) -> Answer:
        if deletes(index["digest"])(request):
            for child in (shared, own):
                memory.repositories["r"].manifests.pop(child["digest"])
        return answer

    with Proxy(memory.port, after=take_all) as proxy:
        await Removing(proxy.url, tmp_path).remove("1.0", options=RemovalOptions(keep_children=keeps))
    assert aside.tags("r").keys() == {"2.0"}
    assert aside.is_whole("r", "2.0")
    assert aside.has("r", own["digest"]) == keeps


async def test_a_cascade_that_deletes_a_signature_that_was_to_stay(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    image = aside.push_image("r", "1.0", seed="one")
    signature = aside.push_image("r", signature_tag(image), seed="signature")

    def take_all(request: Request, answer: Answer) -> Answer:
        if deletes(image["digest"])(request):
            memory.repositories["r"].manifests.clear()
            memory.repositories["r"].tags = {}
        return answer

    with Proxy(memory.port, after=take_all) as proxy:
        await Removing(proxy.url, tmp_path).remove("1.0", options=RemovalOptions(keep_referrers=True))
    assert aside.tags("r") == {signature_tag(image): signature["digest"]}
    assert aside.is_whole("r", signature_tag(image))


@pytest.mark.usefixtures("large")
async def test_a_manifest_deleted_with_its_last_tag_can_be_restored(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    memory.switches.untags = memory.switches.last_tag_takes = True
    for number in range(3):
        aside.push_image("r", f"1.{number}", seed=str(number))
    before = aside.tags("r")
    removing = Removing(memory.url, tmp_path)
    assert set(results(await removing.remove("<2"))) == {Result.REMOVED}
    await removing.undo()
    assert aside.tags("r") == before


async def test_an_untag_that_deletes_the_manifest_of_an_index_that_stays(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    memory.switches.untags = memory.switches.last_tag_takes = True
    child = aside.push_image("r", "1.0", seed="child")
    aside.push_index("r", "stable", children=[child])
    await Removing(memory.url, tmp_path).remove("1.0", options=RemovalOptions(untag=True))
    assert aside.is_whole("r", "stable")


@pytest.mark.usefixtures("large")
async def test_two_names_of_one_store_and_a_sweep(memory: MemoryServer, aside: Pusher, tmp_path: Path) -> None:
    for number in range(40):
        aside.push_image("a", f"1.{number}", seed=str(number))
    memory.repositories["b"] = memory.repositories["a"]
    before = aside.tags("b")
    rules = MatchRules(ignore_other_repositories=True)
    result = await Removing(memory.url, tmp_path, ("a",)).remove("<2", rules=rules)
    assert result is not None
    assert "one store" in str(result.error and result.error.advice)
    assert aside.tags("b") == before
    assert all(aside.is_whole("b", tag) for tag in before)


async def test_two_names_of_one_store_and_a_tag_that_is_pushed_before_it_is_put_back(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    image = aside.push_image("a", "1.0", seed="one")
    memory.repositories["b"] = memory.repositories["a"]
    pushed: list[str] = []

    def push(request: Request) -> None:
        if request.method == "PUT" and request.reference == image["digest"] and not pushed:
            pushed.append(aside.push_image("a", "1.0", seed="new")["digest"])

    rules = MatchRules(ignore_other_repositories=True)
    with Proxy(memory.port, before=push) as proxy:
        result = await Removing(proxy.url, tmp_path, ("a",)).remove("<2", rules=rules)
    assert result is not None
    assert "one store" in str(result.error and result.error.advice)
    assert [aside.tags("b")["1.0"]] == pushed


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("status", [409, 412])
async def test_two_names_of_one_store_and_a_first_step_that_shows_nothing(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, status: int
) -> None:
    """The step before the sweep is refused: then another one must show whether the names refer to one store."""
    for number in range(40):
        aside.push_image("a", f"1.{number}", seed=str(number))
    memory.repositories["b"] = memory.repositories["a"]
    before = aside.tags("b")
    removing = Removing(memory.url, tmp_path, ("a",))
    plan = await removing.plan("<2", rules=MatchRules(ignore_other_repositories=True))
    memory.switches.refused = {plan.steps[0].digest: status}
    result = await removing.apply(plan)
    assert result is not None
    assert "one store" in str(result.error and result.error.advice)
    assert aside.tags("b") == before
    assert all(aside.is_whole("b", tag) for tag in before)


@pytest.mark.parametrize("said", [Answer(500), Answer(200, b"?", {"Content-Encoding": "br"})])
async def test_two_names_of_one_store_and_an_unanswered_check(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, said: Answer
) -> None:
    """The registry cannot say whether the digest is gone: whether it is gone under the other name is checked anyway."""
    image = aside.push_image("a", "1.0", seed="one")
    memory.repositories["b"] = memory.repositories["a"]
    deleted = threading.Event()

    def fail(request: Request) -> Answer | None:
        if request.method == "DELETE" and request.reference == image["digest"]:
            deleted.set()
        is_look = request.method != "DELETE" and request.path == f"/v2/a/manifests/{image['digest']}"
        return said if is_look and deleted.is_set() and request.method != "PUT" else None

    rules = MatchRules(ignore_other_repositories=True)
    with Proxy(memory.port, before=fail) as proxy:
        result = await Removing(proxy.url, tmp_path, ("a",)).remove("<2", rules=rules)
    assert result is not None
    assert "one store" in str(result.error and result.error.advice)
    assert aside.tags("b") == {"1.0": image["digest"]}
    assert aside.is_whole("b", "1.0")


async def test_each_pair_of_names_may_be_one_store(memory: MemoryServer, aside: Pusher, tmp_path: Path) -> None:
    """That one repository has a separate store does not show anything about the next one."""
    aside.push_image("apart", "1.0", seed="zero")
    aside.push_image("a", "1.0", seed="zero")
    for number in range(1, 4):
        aside.push_image("b", f"1.{number}", seed=str(number))
    memory.repositories["alias"] = memory.repositories["b"]
    before = aside.tags("alias")
    begun, looked = threading.Event(), threading.Event()

    def first_a_then_b(request: Request) -> None:
        """Once the run has begun, `b` waits before it takes its turn to delete."""
        is_preflight = request.method == "DELETE" and request.reference not in before.values()
        if is_preflight:
            begun.set()
        elif begun.is_set() and request.path.startswith("/v2/b/"):
            assert looked.wait(60)

    def note(request: Request, answer: Answer) -> Answer:
        if request.method == "HEAD" and request.path.startswith("/v2/apart/manifests/sha256:"):
            looked.set()
        return answer

    rules = MatchRules(ignore_other_repositories=True)
    with Proxy(memory.port, before=first_a_then_b, after=note) as proxy:
        result = await Removing(proxy.url, tmp_path, ("a", "b")).remove("<2", rules=rules)
    assert result is not None
    assert "one store" in str(result.error and result.error.advice)
    assert aside.tags("alias") == before
    assert all(aside.is_whole("alias", tag) for tag in before)


@pytest.mark.parametrize("untags", [False, True])
async def test_a_tag_pushed_again_after_the_look_is_not_one_that_outlives_its_digest(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, *, untags: bool
) -> None:
    """Its digest was gone, and the tag answers: a push looks like a server that keeps the tags of deleted digests."""
    memory.switches.untags = untags
    image = aside.push_image("r", "1.0", seed="one")
    aside.push_image("r", "2.0", seed="two")
    looks: list[int] = []

    def push(request: Request, answer: Answer) -> Answer:
        if request.path == f"/v2/r/manifests/{image['digest']}" and answer.status in (202, 404):
            looks.append(answer.status)
            if looks == [202, 404]:
                aside.push_image("r", "1.0", seed="one")
        return answer

    with Proxy(memory.port, after=push) as proxy:
        await Removing(proxy.url, tmp_path).remove("<2")
    assert looks[:2] == [202, 404]
    assert aside.tags("r")["1.0"] == image["digest"]
    assert aside.is_whole("r", "1.0")


# Unusual content


@pytest.mark.only_on("distribution-2.8", "olareg", "crane", why="the others refuse such an index")
async def test_an_index_whose_entries_are_layers(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """A BuildKit cache: 2.8 answers 500 if such an entry is requested as a manifest."""
    kinds = ("application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.buildkit.cacheconfig.v0")
    entries = [{"mediaType": kind, "digest": pusher.push_blob("r", kind.encode()), "size": len(kind)} for kind in kinds]
    for tag in ("cache", "other"):
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": {"tag": tag}}
        pusher.push_manifest("r", tag, json.dumps(body).encode(), INDEX)
    pusher.push_image("r", "1.0", seed="one")
    before = pusher.tags("r")
    removing = Removing(registry_server.url, tmp_path)
    assert set(results(await removing.remove("1.0", "cache"))) == {Result.REMOVED}
    assert set(pusher.tags("r")) == {"other"}
    for entry in entries:
        assert pusher.request("HEAD", f"/v2/r/blobs/{entry['digest']}")[0] == 200
    await removing.undo()
    assert pusher.tags("r") == before


async def test_an_unknown_media_type_keeps_its_repository(memory: MemoryServer, aside: Pusher, tmp_path: Path) -> None:
    aside.push_image("r", "1.0", seed="one")
    raw = json.dumps({"schemaVersion": 2, "mediaType": "application/x-new", "parts": []}).encode()
    aside.push_manifest("r", "new", raw, "application/x-new")
    plan = await Removing(memory.url, tmp_path).plan("1.0")
    assert (plan.steps, "may hold anything" in plan.left_out[Repository("r")]) == ((), True)
