"""Fallback tags that list the referrers of a digest, on registries without the referrers API."""

from __future__ import annotations

from pathlib import Path

from images import Pusher
from program import Program
from removing import Removing
from servers import DistributionServer


async def test_a_list_of_referrers_that_are_gone_goes_with_its_subject(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    image = pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    referrer = pusher.push_image("r", seed="referrer", subject=image)
    fallback = f"sha256-{image['digest'][7:]}"
    pusher.push_index("r", fallback, children=[referrer])
    assert pusher.request("DELETE", f"/v2/r/manifests/{referrer['digest']}")[0] == 202
    plan = await Removing(registry_server.url, tmp_path).plan("1.0")
    assert {tag for step in plan.steps for tag in step.tags} == {"1.0", fallback}
    program = Program(registry_server.url, tmp_path)
    done = program.run("remove-tags", "-r", "r", "-t", "1.0", "--yes-remove", "2")
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("r")) == {"2.0"}
    back = program.run("undo", "-y")
    assert "1.0" in pusher.tags("r"), back.stderr
    assert pusher.is_whole("r", "1.0")


async def test_a_list_of_referrers_with_some_gone_stays_with_its_subject(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    image = pusher.push_image("r", "1.0", "prod", seed="one")
    referrer = pusher.push_image("r", seed="referrer", subject=image)
    fallback = f"sha256-{image['digest'][7:]}"
    pusher.push_index("r", fallback, children=[referrer])
    assert pusher.request("DELETE", f"/v2/r/manifests/{referrer['digest']}")[0] == 202
    plan = await Removing(registry_server.url, tmp_path).plan("1.0")
    assert not plan.steps
