"""Removal end to end, on the real registry: what is removed, what stays, and that what stays is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dregutil.apply.apply import apply_plan
from dregutil.inventory.crawl import crawl
from dregutil.inventory.known import Known
from dregutil.oci.names import Repository
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.plan.outcome import NoRecorder, Result, RunResult
from dregutil.registry import connect_writable
from dregutil.select.selection import MatchRules, select_tags
from dregutil.select.selector import TagSelector
from images import Pusher
from remembering import plan_removal
from removing import Removing
from servers import DistributionServer

pytestmark = pytest.mark.every_server


async def remove(
    server: DistributionServer,
    repositories: list[str],
    tags: list[str],
    *,
    options: RemovalOptions | None = None,
    rules: MatchRules | None = None,
) -> tuple[Plan, RunResult]:
    async with connect_writable(server.url) as registry:
        found = await crawl(registry)
        selector = TagSelector.build(tags)
        selection = select_tags(found.inventory, [Repository(name) for name in repositories], selector, rules)
        plan = await plan_removal(registry, selection, found.inventory, options)
        return plan, await apply_plan(registry, plan, recorder=NoRecorder(), known=Known(found.inventory.as_mapping()))


async def test_selected_versions_are_removed_and_the_others_stay_whole(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    for version in ("1.0", "1.1", "1.10", "2.0"):
        pusher.push_image("shop/web", version, seed=version)
    pusher.push_image("shop/web", "1.2", "stable", seed="shared")
    plan, result = await remove(registry_server, ["shop/web"], ["<1.4"])
    assert [kept.tags for kept in plan.kept] == [("1.2",)]
    assert {outcome.result for outcome in result.outcomes} == {Result.REMOVED}
    assert set(pusher.tags("shop/web")) == {"1.10", "2.0", "1.2", "stable"}
    assert all(pusher.is_whole("shop/web", tag) for tag in pusher.tags("shop/web"))
    assert result.tags_after == {"shop/web": pusher.tags("shop/web")}


async def test_an_index_goes_with_its_children_except_shared_ones(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    amd, arm, new = (pusher.push_image("r", seed=seed) for seed in ("amd", "arm", "new"))
    old = pusher.push_index("r", "1.0", children=[amd, arm])
    pusher.push_index("r", "2.0", children=[amd, new])
    signature = pusher.push_image("r", f"sha256-{old['digest'][7:]}.sig", seed="signature")
    _, result = await remove(registry_server, ["r"], ["1.0"])
    assert {outcome.result for outcome in result.outcomes} == {Result.REMOVED}
    assert not any(pusher.has("r", gone["digest"]) for gone in (old, arm, signature))
    assert set(pusher.tags("r")) == {"2.0"}
    assert pusher.is_whole("r", "2.0")


async def test_untag_on_a_server_that_deletes_no_tags(registry_server: DistributionServer, pusher: Pusher) -> None:
    image = pusher.push_image("r", "1.0", "stable", seed="one")
    _, result = await remove(registry_server, ["r"], ["1.0"], options=RemovalOptions(untag=True))
    assert [outcome.result for outcome in result.outcomes] == [Result.REMOVED]
    assert pusher.tags("r") == {"stable": image["digest"]}
    assert pusher.is_whole("r", "stable")


async def test_each_selected_repository_that_holds_the_digest_loses_it(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    for name in ("a", "b", "c"):
        pusher.push_image(name, "1.0", seed="same")
    _, held = await remove(registry_server, ["a", "b"], ["1.0"])
    assert held.outcomes == ()
    rules = MatchRules(ignore_other_repositories=True)
    _, result = await remove(registry_server, ["a", "b"], ["1.0"], rules=rules)
    assert [outcome.step.repository for outcome in result.outcomes] == ["a", "b"]
    assert [pusher.is_whole(name, "1.0") for name in ("a", "b", "c")] == [False, False, True]


async def test_a_tag_pushed_after_the_plan_holds_its_digest(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    image: dict[str, Any] = pusher.push_image("r", "1.0", seed="one")
    async with connect_writable(registry_server.url) as registry:
        found = await crawl(registry)
        selection = select_tags(found.inventory, [Repository("r")], TagSelector.build(["1.0"]))
        plan = await plan_removal(registry, selection, found.inventory)
        pusher.push_image("r", "new", seed="one")
        result = await apply_plan(registry, plan, recorder=NoRecorder())
    assert [outcome.result for outcome in result.outcomes] == [Result.LEFT]
    assert pusher.tags("r") == {"1.0": image["digest"], "new": image["digest"]}


@pytest.mark.parametrize("keeps", [False, True])
async def test_an_image_is_removed_and_restored_completely(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, keeps: bool
) -> None:
    """Platforms, a BuildKit attestation, a signature and its own signature, a referrer by fallback tag; or those are
    kept."""
    amd, arm = (pusher.push_image("r", seed=seed) for seed in ("amd", "arm"))
    marks = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd["digest"]}
    unknown = {"os": "unknown", "architecture": "unknown"}
    attestation = {**pusher.push_image("r", seed="attestation"), "platform": unknown, "annotations": marks}
    index = pusher.push_index("r", "1.0", children=[amd, arm, attestation])
    signature = pusher.push_image("r", f"sha256-{index['digest'][7:]}.sig", seed="signature")
    of_it = pusher.push_image("r", f"sha256-{signature['digest'][7:]}.sig", seed="signature of the signature")
    sbom = pusher.push_image("r", seed="sbom", subject=index)
    listed = pusher.push_index("r", f"sha256-{index['digest'][7:]}", children=[sbom])
    pusher.push_image("r", "2.0", seed="other")
    before = pusher.tags("r")
    removing = Removing(registry_server.url, tmp_path)
    result = await removing.remove("1.0", options=RemovalOptions(keep_referrers=keeps))
    assert result is not None
    assert {outcome.result for outcome in result.outcomes} == {Result.REMOVED}
    parts, referring = (index, amd, arm, attestation), (signature, of_it, sbom, listed)
    assert not any(pusher.has("r", part["digest"]) for part in parts)
    assert {pusher.has("r", part["digest"]) for part in referring} == {keeps}
    assert pusher.is_whole("r", "2.0")
    undone = await removing.undo()
    assert undone is not None
    assert undone.error is None
    assert pusher.tags("r") == before
    assert all(pusher.is_whole("r", part["digest"]) for part in (*parts, *referring))
