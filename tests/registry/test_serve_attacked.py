"""What was tried on `dregutil serve` so that it removes or hides a tag that nobody asked it to, on a real registry."""

from __future__ import annotations

from pathlib import Path

from test_serve_plans import ended, made

from images import Pusher
from program import Program
from servers import DistributionServer
from serving import Serving


def test_tags_that_moved_stay_and_the_job_says_so(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for tag in ("1.0", "1.1", "2.0", "3.0", "4.0"):
        pusher.push_image("shop/web", tag, seed=tag)
    with Serving(Program(registry_server.url, tmp_path), ("--refresh-every", "0")) as serving:
        serving.report()
        sum_ = made(serving, "shop/web:1.0", "shop/web:1.1")["summary"]["sum"]
        assert serving.post(f"plans/{sum_}/approve").status == 200
        pusher.push_image("shop/web", "1.1", seed="moved after the approval")
        applied = ended(serving, serving.post(f"plans/{sum_}/apply"))
        assert applied["state"] == "done"
        assert "left 1; left: shop/web" in applied["message"]
        assert "'1.1' has moved" in applied["message"]
        assert "1.0" not in pusher.tags("shop/web")

        pusher.push_image("shop/web", "1.0", seed="pushed after the run")
        before = pusher.tags("shop/web")
        for images in (None, ["shop/web:1.0"]):
            undone = ended(serving, serving.post(f"runs/{applied['result']['run']}/undo", {"images": images}))
            assert undone["state"] == "done"
            assert undone["message"].endswith("left alone: shop/web:1.0 points to another digest now")
            assert pusher.tags("shop/web") == before
