"""`du` counts what only the referrers API lists with the image that it belongs to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil.files import contents_file
from dregutil.inventory.contents.referrer_lists import ROW_SUM
from dregutil.inventory.contents.sums import install
from images import Pusher
from program import Program
from servers import DistributionServer, free_port
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Switches
from servers.real import KINDS


@pytest.fixture
def attested(tmp_path: Path) -> Iterator[tuple[Program, int]]:
    """An image with a signature that only the referrers API lists, a referrer of that, and their total size. Another
    repository has only the image."""
    with MemoryServer(Switches(has_referrers=True)) as server, Pusher(server.url) as pusher:
        child = pusher.push_image("shop/web", seed="child")
        pusher.push_index("shop/web", "1.0", children=[child])
        signature = pusher.push_image("shop/web", seed="signature", subject=child)
        listed = pusher.push_index(
            "shop/web", children=[pusher.push_image("shop/web", seed="below")], subject=signature
        )
        pusher.push_image("shop/api", "1.0", seed="child")
        manifests = {one.digest: one for held in server.repositories.values() for one in held.manifests.values()}
        blobs = {blob["digest"] for one in manifests.values() for blob in one.blobs}
        assert listed["digest"] in manifests
        whole = sum(len(one.raw) for one in manifests.values()) + sum(len(server.blobs[blob]) for blob in blobs)
        yield Program(server.url, tmp_path), whole


def test_du_counts_what_the_referrers_api_lists(attested: tuple[Program, int]) -> None:
    program, whole = attested
    for by in ("repo", "tag", "layer"):
        *rows, total = json.loads(program.run("du", "--by", by, "--format", "json").stdout)
        assert total == {"total": whole}
        if by != "layer":
            web = next(row for row in rows if row["repository"] == "shop/web")
            api = next(row for row in rows if row["repository"] == "shop/api")
            assert web["size"] == whole
            assert api["size"] + web["unique"] == whole
            assert api["unique"] == 0


def test_du_with_a_cache_counts_the_lists_that_were_read(attested: tuple[Program, int]) -> None:
    """The second time no list is read again; a list that is not known any more is read, and no other."""
    program, whole = attested
    requests: list[str] = []

    def note(request: Request) -> Answer | None:
        requests.append(request.path)
        return None

    with Proxy(int(program.url.rpartition(":")[2]), before=note) as proxy:
        seen = Program(proxy.url, program.folder)
        for expected in (True, False):
            requests.clear()
            found = seen.run("-c", "cache.json", "du", "--format", "json")
            assert json.loads(found.stdout)[-1] == {"total": whole}, found.stderr
            assert any("/referrers/" in path for path in requests) is expected
            assert "referrers" not in found.stderr
        assert requests == []
        with sqlite3.connect(contents_file()) as database:
            assert database.execute("DELETE FROM referrer_list WHERE referrers <> ''").rowcount == 2
        assert json.loads(seen.run("-c", "cache.json", "du", "--format", "json").stdout)[-1] == {"total": whole}
        assert len([path for path in requests if "/referrers/" in path]) == 2


def test_du_with_a_cache_reports_old_lists_and_those_that_cannot_be_read(attested: tuple[Program, int]) -> None:
    program, whole = attested
    arguments = ("-c", "cache.json", "du", "--format", "json")
    assert program.run(*arguments).returncode == 0
    with sqlite3.connect(contents_file()) as database:
        install(database)
        database.execute(
            f"UPDATE referrer_list SET read_at = read_at - 259200, sum = {ROW_SUM}".replace(
                "(read_at", "(read_at - 259200"
            )
        )
    found = program.run(*arguments)
    assert "what only the referrers API lists is counted as read 3 days ago" in found.stderr
    assert json.loads(found.stdout)[-1] == {"total": whole}
    assert "referrers" not in program.run(*arguments, "--refresh").stderr
    with sqlite3.connect(contents_file()) as database:
        database.execute("UPDATE referrer_list SET referrers = ''")  # damaged: as if they had never been read
    assert json.loads(program.run(*arguments).stdout)[-1] == {"total": whole}
    silent = Program(f"http://127.0.0.1:{free_port()}", program.folder)
    found = silent.run(*arguments)
    assert found.returncode == 0
    assert "what only the referrers API lists is not counted: " in found.stderr
    assert json.loads(found.stdout)[-1]["total"] < whole


def test_du_remembers_that_a_registry_has_no_referrers_api(registry_server: DistributionServer, tmp_path: Path) -> None:
    with Pusher(registry_server.url) as pusher:
        pusher.push_image("shop/web", "1.0", seed="one")
    program = Program(registry_server.url, tmp_path)
    first = program.run("-c", "cache.json", "du", "--format", "json")
    registry_server.stop()
    again = program.run("-c", "cache.json", "du", "--format", "json")
    assert (again.returncode, again.stdout) == (0, first.stdout), again.stderr


def test_du_on_olareg_weighs_referrers_of_referrers_once(tmp_path: Path) -> None:
    with KINDS["olareg"].start(tmp_path / "olareg") as server:
        with Pusher(server.url) as pusher:
            image = pusher.push_image("shop/web", "1.0", seed="one")
            sbom = pusher.push_image("shop/web", seed="sbom", subject=image, layers=[b"s" * 1000])
            signature = pusher.push_image("shop/web", seed="signature", subject=sbom, layers=[b"s" * 1000, b"t" * 500])
            other = pusher.push_image("shop/web", "2.0", seed="two", layers=[b"s" * 1000])
            sizes: dict[str, int] = {}
            for manifest in (image, sbom, signature, other):
                body = json.loads(pusher.raw("shop/web", manifest["digest"]))
                sizes |= {one["digest"]: one["size"] for one in (manifest, body["config"], *body["layers"])}
        whole = sum(sizes.values())
        program = Program(server.url, tmp_path)
        for cached in ((), ("-c", "cache.json"), ("-c", "cache.json")):
            found = program.run(*cached, "du", "--by", "tag", "--format", "json")
            *rows, total = json.loads(found.stdout)
            weights = {row["tag"]: row for row in rows}
            assert total == {"total": whole}, found.stderr
            assert weights["1.0"]["unique"] + weights["2.0"]["unique"] + 1000 == whole
            assert weights["1.0"]["shared"] == weights["2.0"]["shared"] == 1000


def test_du_reports_a_referrer_whose_subject_is_unknown(attested: tuple[Program, int]) -> None:
    program, _ = attested
    server = int(program.url.rpartition(":")[2])

    def fail(request: Request) -> Answer | None:
        return Answer(500) if "/shop/web/referrers/" in request.path else None

    with Proxy(server, before=fail) as proxy:
        found = Program(proxy.url, program.folder).run("du", "--format", "json")
    assert found.returncode == 3
    assert "dregutil: the referrers of sha256:" in found.stderr
    assert "what could not be read is not counted" in found.stderr
