"""`dregutil serve` over a real registry: what it reads, what it shows, how it ends."""

from __future__ import annotations

from pathlib import Path

from images import Pusher, created
from program import Program
from servers import DistributionServer
from serving import Serving


def test_the_report_is_made_in_the_background_and_shown(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("shop/web", "1.0", seed="a", config=created(90))
    program = Program(registry_server.url, tmp_path)
    with Serving(program) as serving:
        report = serving.report()
        assert (report["kind"], report["plan"]) == ("report", None)
        session = serving.get("session").json
        assert session["registry"] == registry_server.url.removeprefix("http://")
        assert session["roles"] == ["viewer", "planner", "approver"]
        pusher.push_image("shop/web", "1.1", seed="b", config=created(90))
        assert serving.job(serving.post("refresh"))["state"] == "done"
    with Serving(program) as serving:
        assert serving.get("report").status == 200, "it is kept on the disk"
