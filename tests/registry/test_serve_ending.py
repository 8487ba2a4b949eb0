"""`dregutil serve` is ended while a run is in progress."""

from __future__ import annotations

import signal
from pathlib import Path

from test_serve_plans import children, has_begun, made

from images import Pusher
from listening import until
from program import Program
from servers import DistributionServer
from serving import Serving

SECRET = "3bcc-w0rd"
TAGS = [f"0.{number}" for number in range(60)]


def test_a_run_stops_in_good_order_and_can_be_resumed(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for tag in TAGS:
        pusher.push_image("many", tag, seed=tag)
    pusher.push_image("many", "stays", seed="stays")
    program = Program(registry_server.url, tmp_path)
    options = ("--refresh-every", "0", "--concurrency", "1")
    serving = Serving(program, options, {"REGISTRY_PASSWORD": SECRET})
    serving.start()
    serving.report()
    sum_ = made(serving, *(f"many:{tag}" for tag in TAGS))["summary"]["sum"]
    assert serving.post(f"plans/{sum_}/approve").status == 200
    job = serving.post(f"plans/{sum_}/apply", {"confirm_tags": 60}).json
    until(lambda: has_begun(program))
    (apply,) = children(serving)
    assert SECRET not in Path(f"/proc/{apply}/cmdline").read_text()
    progress = until(lambda: (found := serving.get(f"jobs/{job['id']}").json)["done"] and found)
    assert (progress["state"], progress["total"], progress["noun"]) == ("running", 60, "steps")
    assert 0 < progress["done"] < 60
    assert serving.end(signal.SIGTERM) == 0, serving.log
    assert not Path(f"/proc/{apply}").exists(), "it was waited for"
    assert "the run in progress is interrupted" in serving.log
    left = pusher.tags("many")
    assert "stays" in left
    assert 1 < len(left) < 61, "it was stopped in the middle"
    (run,) = program.history()
    assert program.run("apply", "--resume", run["run"], "-y").returncode == 0
    assert [*pusher.tags("many")] == ["stays"]
    assert program.run("undo", run["run"], "-y").returncode == 0
    assert set(pusher.tags("many")) == {*TAGS, "stays"}
