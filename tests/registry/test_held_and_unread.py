"""What is held and no plan has read: a hold made after the plan, or of something that no list of referrers names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import dregutil
from dregutil.plan.model import RemovalOptions
from images import Pusher
from servers.memory import MemoryServer, Switches


@pytest.fixture(params=[False, True], ids=["2.8", "referrers API"])
def pusher(request: pytest.FixtureRequest) -> Iterator[Pusher]:
    with MemoryServer(Switches(has_referrers=request.param)) as server, Pusher(server.url) as found:
        yield found


async def test_a_child_stays_whose_index_is_held_after_the_plan(pusher: Pusher, tmp_path: Path) -> None:
    child = pusher.push_image("app", seed="child")
    index = pusher.push_index("app", children=[child])  # no tag, and no record names it
    async with dregutil.connect(pusher.url, state_dir=tmp_path, contents=None) as registry:
        plan = await registry.plan_removal("app", digests=[child["digest"]])
        assert len(plan.steps) == 1
        await registry.hold(f"app@{index['digest']}")
        still = await registry.still_planned(plan)
        run = await registry.apply(plan)
    assert not run.removed
    assert pusher.is_whole("app", index["digest"])
    assert (len(still.steps), "part of the index" in still.kept[0].reason) == (0, True)


async def test_a_dry_run_of_a_saved_plan_leaves_what_is_held_since(pusher: Pusher, tmp_path: Path) -> None:
    for tag in ("1.0", "1.1"):
        pusher.push_image("app", tag, seed=tag)
    async with dregutil.connect(pusher.url, state_dir=tmp_path, contents=None) as registry:
        plan = await registry.plan_removal("app", tags=["<2"])
        await registry.hold("app:1.1")
        still = await registry.still_planned(plan)
        run = await registry.apply(plan, confirm_tags=2)
    assert [step.tags for step in still.steps] == [outcome.step.tags for outcome in run.removed] == [("1.0",)]
    assert "held by" in still.kept[0].reason
    assert set(pusher.tags("app")) == {"1.1"}


@pytest.mark.parametrize("held_first", [True, False])
async def test_what_a_held_tag_refers_to_stays(pusher: Pusher, tmp_path: Path, held_first: bool) -> None:
    subject = pusher.push_image("app", "1.0", seed="subject")
    pusher.push_image("app", "about", seed="about", subject=subject)  # and no fallback tag
    async with dregutil.connect(pusher.url, state_dir=tmp_path, contents=None) as registry:
        if held_first:
            await registry.hold("app:about")
        plan = await registry.plan_removal("app", tags=["1.0"], options=RemovalOptions(keep_referrers=True))
        await registry.hold("app:about")
        await registry.apply(plan)
    assert set(pusher.tags("app")) == {"1.0", "about"}


async def test_the_signature_tag_that_came_back_with_an_image_is_held_too(pusher: Pusher, tmp_path: Path) -> None:
    image = pusher.push_image("app", "1.0", seed="1.0")
    signature = f"sha256-{image['digest'][7:]}.sig"
    pusher.push_image("app", signature, seed="signature")
    pusher.push_image("app", "2.0", seed="2.0")
    async with dregutil.connect(pusher.url, state_dir=tmp_path, contents=None) as registry:
        await registry.apply(await registry.plan_removal("app", tags=["1.0"]), confirm_tags=2)
        await registry.undo(images=["app:1.0"])
        plan = await registry.plan_removal("app", tags=[signature], options=RemovalOptions(untag=True))
        assert not plan.steps
        assert "put back on" in plan.kept[0].reason
    assert set(pusher.tags("app")) == {"1.0", signature, "2.0"}
