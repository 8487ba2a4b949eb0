"""A tag is moved just before a DELETE, and the run is killed before the next look: a resume and an undo report the tag.

It is not put back: somebody may have removed it in the meantime.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dregutil.apply import repository
from dregutil.apply.undo.plan import UndoPlan, plan_undo
from dregutil.plan.outcome import LostTag
from dregutil.registry import connect
from images import IMAGE, Pusher
from program import Program
from removing import Removing
from servers import DistributionServer
from servers.http import Answer, Proxy, Request


@dataclass
class Cut:
    """A run killed right after a DELETE; `stable` was moved to the deleted digest just before."""

    removing: Removing
    pusher: Pusher
    before: dict[str, str]
    proxy: Proxy

    async def plan_undo(self) -> UndoPlan:
        async with connect(self.proxy.url) as registry:
            return await plan_undo(registry, self.removing.record())

    @property
    def named(self) -> list[tuple[str, tuple[str, ...]]]:
        return [("stable", (self.before["1.0"],))]

    @staticmethod
    def told(lost: tuple[LostTag, ...]) -> list[tuple[str, tuple[str, ...]]]:
        assert all("cut off" in one.why and one.mended is None for one in lost)
        return [(str(one.tag), tuple(map(str, one.candidates))) for one in lost]


@pytest.fixture
async def cut(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cut]:
    monkeypatch.setattr(repository, "_STEPS_AT_ONCE", 1)
    for tag in ("1.0", "1.1", "stable", "2.0"):
        pusher.push_image("r", tag, seed=tag)
    before = pusher.tags("r")
    raw = pusher.raw("r", "1.0")

    def move(request: Request) -> Answer | None:
        if request.method == "DELETE" and request.reference == before["1.0"]:
            pusher.push_manifest("r", "stable", raw, IMAGE)
        return None

    with Proxy(registry_server.port, before=move) as proxy:
        removing = Removing(proxy.url, tmp_path / "state")
        plan = await removing.plan("1.0", "1.1")
        for effects in range(12):
            # Killed after more and more effects, until the first DELETE was one of them.
            assert await removing.apply(plan, kill_after=effects) is None
            if before["1.0"] not in pusher.tags("r").values():
                break
        proxy.before = lambda _: None
        assert "stable" not in pusher.tags("r")
        yield Cut(removing, pusher, before, proxy)


async def test_a_resume_reports_it(cut: Cut) -> None:
    result = await cut.removing.resume()
    assert result is not None
    assert cut.told(result.unmended) == cut.named
    assert cut.pusher.tags("r") == {"2.0": cut.before["2.0"]}
    again = cut.removing.record()
    assert cut.told(again.lost) == cut.named
    assert not again.unanswered


async def test_an_undo_reports_it(cut: Cut) -> None:
    plan = await cut.plan_undo()
    assert cut.told(plan.lost) == cut.named
    await cut.removing.undo()
    assert cut.pusher.tags("r") == {tag: on for tag, on in cut.before.items() if tag != "stable"}
    assert not (await cut.plan_undo()).lost, "what went is back"


async def test_the_program_reports_it(cut: Cut, tmp_path: Path) -> None:
    program = Program(cut.proxy.url, tmp_path)
    found = program.run("--state-dir", str(cut.removing.folder), "undo", "--dry-run")
    assert found.returncode == 3
    (told,) = (line for line in found.stderr.splitlines() if line.startswith("lost: "))
    assert told == (
        f"lost: r:stable was to stay, and is gone: another client may have moved it to {cut.before['1.0'][:19]} just "
        "before that was deleted, and the run was interrupted then: decide which digest it belongs to, and tag that"
    )
    run = cut.removing.store.names()[-1]
    resumed = program.run("--state-dir", str(cut.removing.folder), "apply", "--resume", run, "-y")
    assert resumed.returncode == 3, resumed.stderr
    assert f"lost: r:stable was moved to {cut.before['1.0'][:19]}" in resumed.stderr


async def test_a_tag_pushed_again_before_is_not_reported(cut: Cut) -> None:
    cut.pusher.push_image("r", "stable", seed="new")
    result = await cut.removing.resume()
    assert result is not None
    assert not result.lost


async def test_a_failing_request_does_not_prevent_an_undo(cut: Cut) -> None:
    cut.proxy.before = lambda request: Answer(500) if request.reference == "stable" else None
    assert not (await cut.plan_undo()).lost
    await cut.removing.undo()
    assert cut.pusher.tags("r")["1.0"] == cut.before["1.0"]


async def test_a_tag_removed_by_another_client_is_not_reported_if_nothing_was_deleted(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="goes")
    stays = pusher.push_image("r", "2.0", seed="stays")
    removing = Removing(registry_server.url, tmp_path)
    plan = await removing.plan("1.0")
    assert await removing.apply(plan, kill_after=2) is None  # the plan and the intent are written, and nothing is sent
    assert pusher.request("DELETE", f"/v2/r/manifests/{stays['digest']}")[0] == 202
    result = await removing.resume()
    assert result is not None
    assert not result.lost
