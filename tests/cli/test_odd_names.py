"""What the API cannot name is reported: invalid names, and manifests without a tag."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dregutil.inventory.crawl import crawl
from dregutil.registry import connect
from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request


def with_odd_names(request: Request, answer: Answer) -> Answer:
    if request.path != "/v2/_catalog":
        return answer
    names = [*json.loads(answer.body)["repositories"], "Shop/Web", "a\x1b[31m", None, ""]
    return replace(answer, body=json.dumps({"repositories": names}).encode())


async def test_invalid_names_in_the_catalog_are_kept_separately(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    with Proxy(registry_server.port, after=with_odd_names) as proxy:
        async with connect(proxy.url) as registry:
            found = await crawl(registry)
    assert found.odd_names == {"Shop/Web", "a\x1b[31m"}
    assert set(found.inventory.repositories) == {"r"}


def test_invalid_names_are_counted_and_reported(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    with Proxy(registry_server.port, after=with_odd_names) as proxy:
        program = Program(proxy.url, tmp_path)
        listed = program.run("list-repo-names")
        doctor = program.run("doctor", "--quick")
    for shown in (listed.stderr, doctor.stdout):
        assert "2 names of the catalog are skipped: not valid repository names: " in shown
        assert "'Shop/Web', 'a\\x1b[31m'" in shown


def test_remove_repos_reports_what_it_cannot_see(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    untagged = pusher.push_image("r", seed="untagged")
    program = Program(registry_server.url, tmp_path)
    blind = program.run("remove-repos", "-r", "r", "--dry-run")
    assert "the registry does not list manifests without a tag" in blind.stderr
    seen = program.run("remove-repos", "-r", "r", "--dry-run", "--storage", str(registry_server.storage))
    assert f"1 manifest that no tag names stays: {untagged['digest'][:19]}" in seen.stderr
