"""The predicted freed space with unusual layouts, wrong sizes, and an outdated storage."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_health import NOW, found_lines
from test_reclaim_oracle import blobs_in
from test_storage import data_of, root_of
from test_untagged import POLICY as UNTAGGED
from test_untagged import age_links

from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.crawl import crawl
from dregutil.inventory.health.storage import Flaw, examine_storage
from dregutil.inventory.tags import Inventory
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan import evidence
from dregutil.plan.make import make_plan
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.plan.reclaim import possible_collectors, with_reclaim
from dregutil.registry import connect
from dregutil.select.selection import Selected, Selection, select_tags
from dregutil.select.selector import TagSelector
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import GarbageCollector, Generation, stops_at
from dregutil.storage.opened import read_storage
from dregutil.storage.stored import StoredRegistry
from images import CONFIG, IMAGE, INDEX, LAYER, Pusher, created
from program import Program, on_terminal
from remembering import plan_removal
from servers import DistributionServer
from servers.http import Proxy

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
REPOSITORY = Repository("shop/web")


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


class Unknowing(KnownManifests):
    """Knows no manifest that was read before."""

    def manifest(self, digest: Digest) -> Manifest | None:
        return None


async def planned(
    url: str, *tags: str, stored: StoredRegistry | None = None, inventory: Inventory | None = None, **options: Any
) -> Plan:
    async with connect(url) as registry:
        found = inventory or (await crawl(registry)).inventory
        selection = select_tags(found, [REPOSITORY], TagSelector.build(tags))
        return await plan_removal(registry, selection, found, stored=stored, **options)


def freed_by_collector(server: DistributionServer, pusher: Pusher, tag: str) -> int:
    """The bytes that the real collector frees once the manifest of a tag is deleted."""
    server.stop()
    server.garbage_collect()
    server.start()
    before = blobs_in(server.storage)
    pusher.close()
    digest = pusher.tags("shop/web")[tag]
    assert pusher.request("DELETE", f"/v2/shop/web/manifests/{digest}")[0] == 202
    server.stop()
    server.garbage_collect()
    return sum(before.values()) - sum(blobs_in(server.storage).values())


def push_cache(pusher: Pusher, tag: str, layer: bytes) -> dict[str, Any]:
    """A cache as exported by BuildKit: an index whose entries are blobs."""
    config = pusher.push_blob("shop/web", f"config of {tag}".encode())
    entries = [
        {"mediaType": LAYER, "digest": pusher.push_blob("shop/web", layer), "size": len(layer)},
        {"mediaType": CACHE_CONFIG, "digest": config, "size": 10 + len(tag)},
    ]
    return pusher.push_index("shop/web", tag, children=entries)


async def test_a_buildkit_cache_holds_its_layers(
    registry_server: DistributionServer, pusher: Pusher, program: Program
) -> None:
    layer = b"x" * 500_000
    push_cache(pusher, "cache", layer)
    push_cache(pusher, "other", b"y" * 300_000)
    pusher.push_image("shop/web", "1.0", seed="one", layers=[layer])
    storage = str(registry_server.storage)
    assert found_lines(program.run("doctor", "--storage", storage).stdout)["orphaned"][0].startswith("0 blobs, 0 B")
    plan = await planned(registry_server.url, "1.0", stored=read_storage(storage))
    bound = await planned(registry_server.url, "other")
    exact = await planned(registry_server.url, "other", stored=read_storage(storage))
    assert plan.reclaim.exact
    assert plan.reclaim.reclaimable_bytes < 1000
    assert bound.reclaim.reclaimable_bytes == exact.reclaim.reclaimable_bytes
    assert exact.reclaim.reclaimable_bytes == freed_by_collector(registry_server, pusher, "other")


async def test_sizes_stated_wrongly_by_manifests_are_measured(
    registry_server: DistributionServer, pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, layer = b"{}", b"x" * 500_000
    body = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": CONFIG, "digest": pusher.push_blob("shop/web", raw), "size": 2},
        "layers": [{"mediaType": LAYER, "digest": pusher.push_blob("shop/web", layer), "size": 1}],
    }
    pusher.push_manifest("shop/web", "1.0", json.dumps(body).encode(), IMAGE)
    plan = await planned(registry_server.url, "1.0")
    assert plan.reclaim.reclaimable_bytes == len(layer) + len(raw) + len(json.dumps(body))
    assert "manifests state" not in plan.reclaim.because
    monkeypatch.setattr(evidence, "_MOST_MEASURED", 0)
    # If the blobs of doomed images are not checked, nothing else has measured them.
    stated = await planned(registry_server.url, "1.0", options=RemovalOptions(allow_irreversible=True))
    assert stated.reclaim.reclaimable_bytes == 3 + len(json.dumps(body))
    assert "by the sizes that manifests state" in stated.reclaim.because


async def test_what_stays_is_read_only_once(
    registry_server: DistributionServer, pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base layer shared by tags of the same repository, one of them in an index, is not freed."""
    base = b"base" * 10_000
    pusher.push_image("shop/web", "1.0", seed="one", layers=[base, b"one"])
    pusher.push_image("shop/web", "2.0", seed="two", layers=[base, b"two"])
    child = pusher.push_image("shop/web", seed="child", layers=[base, b"child"])
    pusher.push_index("shop/web", "multi", children=[child])
    known = KnownManifests()
    with Proxy(registry_server.port) as proxy:
        first = await planned(proxy.url, "1.0", seen=known)
        assert child["digest"] in proxy.sent("GET")
        proxy.requests.clear()
        again = await planned(proxy.url, "1.0", seen=known)
        assert not set(proxy.sent("GET")) & {child["digest"], pusher.tags("shop/web")["2.0"]}
    assert first.reclaim.reclaimable_bytes == again.reclaim.reclaimable_bytes < 1000
    monkeypatch.setattr(evidence, "_MOST_READ", 0)
    blind = await planned(registry_server.url, "1.0", seen=Unknowing())
    assert blind.reclaim.reclaimable_bytes > len(base)
    assert "tags that stay and were not read" in blind.reclaim.because
    stays = pusher.tags("shop/web")["2.0"]
    assert pusher.request("DELETE", f"/v2/shop/web/manifests/{stays}")[0] == 202
    for digest in (pusher.tags("shop/web")["multi"], child["digest"]):
        assert pusher.request("DELETE", f"/v2/shop/web/manifests/{digest}")[0] == 202
    alone = await planned(registry_server.url, "1.0", seen=known)
    assert alone.reclaim.reclaimable_bytes > len(base)  # what is known about a deleted child holds nothing


@pytest.mark.parametrize("where", ["shop/web", "shop/api"])
async def test_a_storage_that_is_an_older_copy_makes_no_figure_exact(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, where: str
) -> None:
    pusher.push_image("shop/web", "1.0", seed="one", layers=[b"x" * 1000])
    pusher.push_image("shop/api", "1.0", seed="api")
    shutil.copytree(registry_server.storage, tmp_path / "copy")
    pusher.push_image(where, "2.0", seed="two", layers=[b"x" * 1000])
    for storage, is_exact in ((tmp_path / "copy", False), (registry_server.storage, True)):
        plan = await planned(registry_server.url, "1.0", stored=read_storage(str(storage)))
        assert plan.reclaim.exact is is_exact, plan.reclaim.because
    plan = await planned(registry_server.url, "1.0", stored=read_storage(str(tmp_path / "copy")))
    assert f"differs from the registry in {where}:2.0; is it a copy?" in plan.reclaim.because


async def test_an_old_tag_cache_does_not_make_a_new_storage_inexact(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    async with connect(registry_server.url) as registry:
        seen = (await crawl(registry)).inventory
    pusher.push_image("shop/api", "1.0", seed="api")
    plan = await planned(registry_server.url, "1.0", stored=read_storage(str(registry_server.storage)), inventory=seen)
    assert plan.reclaim.exact


def stray(name: str) -> Any:
    def write(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    return write


REVISION = "repositories/shop/web/_manifests/revisions/sha256"


@pytest.mark.parametrize(
    ("damage", "without", "with_m"),
    [
        (lambda root: (root / "blobs/zz").mkdir(), False, False),
        (stray("blobs/zz/data"), True, True),
        (stray("blobs/sha256/zz/README"), False, False),
        (stray("blobs/sha256/zz/x/y/data"), True, True),
        (lambda root: next((root / REVISION).glob("*/link")).write_text(""), True, True),
        (stray("repositories/shop/web/_manifests/tags/1.0/current/link"), False, True),
        (stray("repositories/shop/web/_manifests/tags/README"), False, True),
        (lambda root: shutil.copytree(root / "repositories/shop/web", root / "repositories/Shop"), True, True),
    ],
)
def test_the_place_where_the_collector_stops_is_reported(
    registry_server: DistributionServer, pusher: Pusher, program: Program, damage: Any, without: bool, with_m: bool
) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_blob("shop/web", b"an orphan")
    pusher.close()
    damage(root_of(registry_server.storage))
    stored = read_storage(str(registry_server.storage))
    for flags, stops in (((), without), (("-m",), with_m)):
        said = next(stops_at(stored, GarbageCollector(Generation.V2, Collector.of(untagged=bool(flags)))), "")
        try:
            registry_server.garbage_collect("--dry-run", *flags)
        except subprocess.CalledProcessError:
            assert (stops, bool(said)) == (True, True)
        else:
            assert (stops, said) == (False, "")
    orphaned = found_lines(program.run("doctor", "--storage", str(registry_server.storage)).stdout)["orphaned"][0]
    assert ("free once the garbage collector no longer stops at" in orphaned) is without
    assert ("free at the next garbage collection" in orphaned) is not without


@pytest.fixture
def signed_elsewhere(pusher: Pusher) -> Pusher:
    """Signatures in a separate repository, as COSIGN_REPOSITORY stores them."""
    image = pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("signatures", f"sha256-{image['digest'][7:]}.sig", seed="signature")
    pusher.push_image("signatures", "sbom", seed="sbom", subject=image)
    return pusher


@pytest.mark.parametrize("with_storage", [False, True])
def test_a_subject_is_looked_for_in_other_repositories(
    signed_elsewhere: Pusher, registry_server: DistributionServer, program: Program, with_storage: bool
) -> None:
    more = ["--storage", str(registry_server.storage)] if with_storage else []
    done = program.run("doctor", *more)
    assert found_lines(done.stdout)["broken"] == ["nothing was found"]
    assert done.returncode == 0
    digest = signed_elsewhere.tags("shop/web")["1.0"]
    assert signed_elsewhere.request("DELETE", f"/v2/shop/web/manifests/{digest}")[0] == 202
    gone = found_lines(program.run("doctor", *more).stdout)
    assert gone["broken"] == ["2 things"]
    assert gone.keys() >= {Flaw.ORPHANED_SIGNATURE.value, Flaw.ORPHANED_REFERRER.value}


def test_an_untagged_subject_in_another_repository_exists(pusher: Pusher, program: Program) -> None:
    image = pusher.push_image("shop/web", seed="one")
    pusher.push_image("shop/web", "1.0", seed="another")
    pusher.push_image("signatures", "sbom", seed="sbom", subject=image)
    assert found_lines(program.run("doctor").stdout)["broken"] == ["nothing was found"]


def test_a_buildkit_cache_lacks_blobs_and_no_children(registry_server: DistributionServer, pusher: Pusher) -> None:
    push_cache(pusher, "cache", b"layer")
    stored = read_storage(str(registry_server.storage))
    assert [*examine_storage(stored)] == []
    data_of(registry_server.storage, Pusher.digest_of(b"layer")).unlink()
    (found,) = examine_storage(read_storage(str(registry_server.storage)))
    assert found.flaw is Flaw.MISSING_BLOB


def test_doctor_counts_as_untagged_what_cleanup_removes(
    registry_server: DistributionServer, pusher: Pusher, program: Program, tmp_path: Path
) -> None:
    """The subject of a tagged manifest is not a leftover; an untagged index goes with its child."""
    old = created(60)
    subject = pusher.push_image("shop/web", seed="subject", config=old)
    pusher.push_image("shop/web", "sbom", seed="sbom", subject=subject)
    child = pusher.push_image("shop/web", seed="child", config=old)
    index = pusher.push_index("shop/web", children=[child])
    storage = str(registry_server.storage)
    untagged = found_lines(program.run("doctor", "--storage", storage).stdout)["untagged"][0]
    assert untagged.startswith("2 manifests")
    age_links(registry_server.storage, 30)
    (tmp_path / "policy.yml").write_text(UNTAGGED)
    done = program.run("cleanup", "-f", "policy.yml", "--storage", storage, "-y")
    assert done.returncode == 0, done.stderr
    assert [pusher.has("shop/web", one["digest"]) for one in (subject, child, index)] == [True, False, False]
    left = found_lines(program.run("doctor", "--storage", storage).stdout)["untagged"][0]
    assert left.startswith("0 manifests")


def test_a_saved_plan_shows_the_time_of_its_figure(
    registry_server: DistributionServer, pusher: Pusher, program: Program
) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("shop/web", "2.0", seed="two")
    storage = str(registry_server.storage)
    command = ("remove-tags", "-r", "shop/web", "-t", "1.0", "--storage", storage, "--plan-out", "plan")
    assert "as of" not in program.run(*command).stdout
    done = program.run("apply", "plan", "-y", "--storage", storage)
    assert done.returncode == 0, done.stderr
    assert re.search(r"exactly .* come back .*, as of 20..-..-.. ..:.. UTC, when the plan was made", done.stderr)


def test_counts_agree_from_the_plan_to_the_summary(pusher: Pusher, program: Program) -> None:
    for name in ("1.0", "1.1"):
        image = pusher.push_image("shop/web", name, seed=name)
        pusher.push_image("shop/web", f"sha256-{image['digest'][7:]}.sig", seed=f"signature of {name}")
    for name in ("2.0", "2.1", "2.2", "2.3", "2.4"):
        pusher.push_image("shop/web", name, seed=name)
    code, shown = on_terminal(program, "y", "remove-tags", "-r", "shop/web", "-t", "<2")
    assert code == 0
    assert "2 tags and 2 signature tags to go" in shown
    assert "Remove 2 tags and 2 signature tags (4 manifests) of shop/web" in shown
    assert "removed 2 tags and 2 signature tags (4 manifests)" in shown


def test_what_is_held_back_is_in_the_json(pusher: Pusher, program: Program) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("shop/web", "1.1", "latest", seed="two")
    shown = program.run("remove-tags", "-r", "shop/web", "-t", "<2", "--dry-run", "--format", "json")
    removed, kept = json.loads(shown.stdout)
    assert (removed["action"], removed["tags"]) == ("delete", ["1.0"])
    assert (kept["action"], kept["tags"], kept["because"]) == ("keep", ["1.1"], "also 'latest'")


def test_not_matched_counts_existing_tags_and_not_those_in_the_cache(
    registry_server: DistributionServer, pusher: Pusher, program: Program, tmp_path: Path
) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("shop/web", "2.0", seed="two")
    digest = pusher.tags("shop/web")["1.0"]
    vanished = {f"gone-{number}": f"sha256:{number:064x}" for number in range(50)}
    cache = tmp_path / "tags.json"
    cache.write_text(json.dumps({"shop/web": {"1.0": digest, **vanished}}))
    shown = program.run("remove-tags", "-r", "shop/web", "-t", "1.0", "--dry-run", "-c", str(cache))
    assert "Not matched: 1 tag\n" in shown.stdout


@pytest.mark.parametrize("with_storage", [False, True])
def test_du_counts_a_foreign_layer_that_was_pushed(
    registry_server: DistributionServer, pusher: Pusher, program: Program, with_storage: bool
) -> None:
    layer, raw = b"w" * 200_000, b"{}"
    absent = {
        "mediaType": FOREIGN,
        "digest": Pusher.digest_of(b"never pushed"),
        "size": 10**9,
        "urls": ["https://e.x/l"],
    }
    pushed = {"mediaType": FOREIGN, "digest": pusher.push_blob("shop/web", layer), "size": 1, "urls": ["https://e.x/m"]}
    body = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": CONFIG, "digest": pusher.push_blob("shop/web", raw), "size": 2},
        "layers": [pushed, absent],
    }
    pusher.push_manifest("shop/web", "1.0", json.dumps(body).encode(), IMAGE)
    more = ("--storage", str(registry_server.storage)) if with_storage else ()
    for by in ("repo", "tag", "layer"):
        *_, total = json.loads(program.run("du", "--by", by, "--format", "json", *more).stdout)
        assert total == {"total": len(layer) + len(raw) + len(json.dumps(body))}
    assert ("manifests state" in program.run("du", *more).stderr) is not with_storage


def test_du_shows_the_sizes_in_the_storage(
    registry_server: DistributionServer, pusher: Pusher, program: Program
) -> None:
    push_cache(pusher, "cache", b"y" * 1000)
    raw = pusher.raw("shop/web", "cache").replace(b'"size": 1000', b'"size": 9999')
    digest = pusher.tags("shop/web")["cache"]
    assert pusher.request("DELETE", f"/v2/shop/web/manifests/{digest}")[0] == 202
    pusher.push_manifest("shop/web", "cache", raw, INDEX)
    shown = program.run("du", "--format", "json", "--storage", str(registry_server.storage))
    *_, total = json.loads(shown.stdout)
    assert total == {"total": 1000 + len(b"config of cache") + len(raw)}


@pytest.mark.parametrize("with_storage", [False, True])
def test_a_referrer_of_another_repository_is_not_a_leftover(
    registry_server: DistributionServer, pusher: Pusher, program: Program, tmp_path: Path, with_storage: bool
) -> None:
    """It lost its tag, and its subject is used elsewhere; another manifest that lost its tag is removed."""
    old = created(60)
    image = pusher.push_image("shop/web", "1.0", seed="one", config=old)
    bill = pusher.push_image("signatures", "sbom", seed="sbom", subject=image, config=old)
    lone = pusher.push_image("signatures", "lone", seed="lone", config=old)
    policy = UNTAGGED.replace("max_remove: 100%", "max_remove: 100%, min_age: 0s").replace("within: 14d", "none: true")
    (tmp_path / "policy.yml").write_text(policy)
    assert program.run("refresh").returncode == 0
    for tag in ("sbom", "lone"):
        pusher.push_image("signatures", tag, seed=f"newer {tag}")
    age_links(registry_server.storage, 30)
    more = ("--storage", str(registry_server.storage)) if with_storage else ()
    assert program.run("refresh").returncode == 0
    done = program.run("cleanup", "-f", "policy.yml", "-y", *more)
    assert done.returncode == 0, done.stderr
    assert [pusher.has("signatures", one["digest"]) for one in (bill, lone)] == [True, False], done.stderr


@pytest.mark.parametrize("first", ["child", "index"])
def test_the_size_an_index_states_for_a_child_that_was_read_does_not_count(first: str) -> None:
    """In either order of reading."""
    child = parse_manifest(raw := json.dumps({"config": None, "layers": []}).encode(), IMAGE, Digest.of(raw))
    entry = {"mediaType": IMAGE, "digest": child.digest, "size": 10**6}
    index = parse_manifest(raw := json.dumps({"manifests": [entry]}).encode(), INDEX, Digest.of(raw))
    listed = (child, index) if first == "child" else (index, child)
    graph = RepositoryGraph(REPOSITORY, {Tag("1.0"): index.digest}, {found.digest: found for found in listed})
    chosen = Selection((Selected(REPOSITORY, index.digest, (Tag("1.0"),)),))
    plan = make_plan(chosen, {REPOSITORY: graph}, RemovalOptions(), registry="r", made_at=NOW, command="")
    done = with_reclaim(plan, {REPOSITORY: graph}, possible_collectors(None, Collector.DEFAULT))
    assert done.reclaim.reclaimable_bytes == len(child.raw) + len(index.raw)
