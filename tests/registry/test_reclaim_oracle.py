"""The predicted freed space against the real collector: random registries in real storage, predicted, removed,
collected with and without -m, and measured."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from dregutil.apply.apply import apply_plan
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.crawl import crawl
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.plan.outcome import NoRecorder
from dregutil.registry import connect_writable
from dregutil.select.selection import MatchRules, select_repositories, select_tags
from dregutil.select.selector import TagSelector
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import GarbageCollector, Generation, mark, marked_repositories
from dregutil.storage.opened import Storage, read_storage
from dregutil.storage.stored import StoredRegistry
from images import CONFIG, IMAGE, INDEX, LAYER, Pusher
from remembering import plan_removal
from servers import DistributionServer
from servers.real import KINDS
from servers.s3 import S3Registry, S3Server

pytestmark = pytest.mark.property

EXAMPLES = min(200, int(os.environ.get("DREGUTIL_LONG", "10")))
NAMES = ("a", "a/b", "c")
TAGS = ("1.0", "1.1", "1.2", "2.0", "latest")
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
EMPTY = 6  # the empty layer
STRAYS = ("README", "zz/README", "sha256/zz/left", "sha256/zz/data", "zz/data", "sha256/ab/x/data", "sha256/data")
UNTAGGED = {Generation.V2: "-m", Generation.V3: "--delete-untagged"}
_number = itertools.count()


@dataclass(frozen=True)
class Made:
    """A manifest to push: with `layers` and a `config` (numbers: equal ones are shared), or with earlier manifests.

    `lie` is added to every size that it states. `keys` are written unchanged, in another case, or twice.
    """

    kind: str
    repository: str
    tags: tuple[str, ...]
    layers: tuple[int, ...] = ()
    config: int = 0
    of: tuple[int, ...] = ()
    lie: int = 0
    keys: str = "plain"


@st.composite
def registries(draw: st.DrawFn, smallest: int = EMPTY) -> list[Made]:
    """Images with shared, empty and foreign layers, or with a manifest as a layer; indexes of them (nested, too);
    BuildKit caches; referrers (also of manifests in another repository) and signatures; tagged, retagged or
    untagged."""
    made: list[Made] = []
    for _ in range(draw(st.integers(3, 12))):
        repository = draw(st.sampled_from(NAMES))
        beside = [place for place, found in enumerate(made) if found.repository == repository]
        # A repository without any tag makes the collector of 2.8 stop if it runs with -m; therefore it is rare.
        least = 1 if not beside and draw(st.integers(0, 9)) else 0
        tags = tuple(draw(st.lists(st.sampled_from(TAGS), min_size=least, max_size=2, unique=True)))
        kind = draw(
            st.sampled_from(["image", "image", "index", "referrer", "signature", "cache", "foreign", "layered"])
            if beside
            else st.sampled_from(["image", "image", "cache", "foreign"])
        )
        layers = tuple(draw(st.lists(st.integers(0, smallest), min_size=1, max_size=3, unique=True)))
        others = list(range(len(made))) if kind == "referrer" else beside
        of = tuple(draw(st.lists(st.sampled_from(others), min_size=1, max_size=3, unique=True))) if others else ()
        lie = draw(st.sampled_from([0, 0, 0, -90, 4000]))
        keys = draw(st.sampled_from(["plain"] * 6 + ["odd", "twice"]))
        made.append(Made(kind, repository, tags, layers, draw(st.integers(0, 3)), of, lie, keys))
    return made


@dataclass
class Filler:
    """Pushes the examples, each to its own registry."""

    pusher: Pusher
    found: list[dict[str, Any]] = field(default_factory=list)

    def push(self, made: Made) -> None:
        if made.kind == "index":
            self._put(made, {"mediaType": INDEX, "manifests": [self.found[place] for place in made.of]})
            return
        config = self._blob(made, f"config {made.config}", 50)
        kinds = {"foreign": FOREIGN}
        layers = [
            {"mediaType": kinds.get(made.kind, LAYER), **self._blob(made, f"layer {number}", 100 * (EMPTY - number))}
            for number in made.layers
        ]
        if made.kind == "cache":
            self._put(made, {"mediaType": INDEX, "manifests": [*layers, {"mediaType": CACHE_CONFIG, **config}]})
            return
        body: dict[str, Any] = {"mediaType": IMAGE, "config": {"mediaType": CONFIG, **config}, "layers": layers}
        tags = made.tags
        if made.kind == "foreign":
            layers[0]["urls"] = ["https://example.com/layer"]
        elif made.kind == "layered":
            below = self.pusher.raw(made.repository, self.found[made.of[0]]["digest"])
            layers.append({"mediaType": LAYER, **self._pushed(made, below)})
        elif made.kind != "image":
            subject = self.found[made.of[0]]
            body["annotations"] = {"number": str(len(self.found))}
            if made.kind == "referrer":
                body["subject"] = subject
            else:
                tags = (f"sha256-{subject['digest'][7:]}.sig",)
        self._put(replace(made, tags=tags), body)

    def _blob(self, made: Made, seed: str, size: int) -> dict[str, Any]:
        return self._pushed(made, (hashlib.sha256(seed.encode()).hexdigest() * 20)[:size].encode())

    def _pushed(self, made: Made, raw: bytes) -> dict[str, Any]:
        return {"digest": self.pusher.push_blob(made.repository, raw), "size": max(len(raw) + made.lie, 0)}

    def _put(self, made: Made, body: dict[str, Any]) -> None:
        raw = written({"schemaVersion": 2, **body}, made.keys).encode()
        digest = self.pusher.push_manifest(made.repository, None, raw, body["mediaType"])
        for tag in made.tags:
            self.pusher.push_manifest(made.repository, tag, raw, body["mediaType"])
        self.found.append({"mediaType": body["mediaType"], "digest": digest, "size": max(len(raw) + made.lie, 0)})


def written(body: Mapping[str, Any], keys: str) -> str:
    """JSON with the relevant keys in another case, or twice: to Go the later list counts."""
    if keys == "odd":
        return json.dumps({"schemaVersion": 2, **{key.upper(): value for key, value in body.items()}})
    text = json.dumps(body)
    first = next(key for key in ("manifests", "layers") if key in body)
    return text if keys == "plain" else f'{{"{first}": {json.dumps(body[first][:1])}, {text[1:]}'


def blobs_in(storage: Path) -> dict[str, int]:
    """The blobs with data, and their sizes."""
    root = storage / "docker" / "registry" / "v2" / "blobs"
    found = (data for data in root.glob("*/*/*/data") if len(data.parent.name) == 64)
    return {f"sha256:{data.parent.name}": data.stat().st_size for data in found}


def collected(kind: type[DistributionServer], storage: Path, folder: Path, *options: str) -> dict[str, int] | None:
    """The blobs left in a copy of `storage` after the real collector; None if it stopped with an error."""
    server = kind(folder)
    shutil.copytree(storage, server.storage)
    try:
        server.garbage_collect(*options)
    except subprocess.CalledProcessError:
        return None
    finally:
        found = blobs_in(server.storage)
        shutil.rmtree(folder)
    return found


@given(
    made=registries(smallest=EMPTY - 1),  # 2.8 cannot push an empty blob to this server
    chosen=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    tags=st.lists(st.sampled_from(TAGS), max_size=4, unique=True),
)
@settings(max_examples=max(2, EXAMPLES // 20))
async def test_the_prediction_is_exact_on_s3(
    s3: S3Server, folder: Path, made: list[Made], chosen: list[str], tags: list[str]
) -> None:
    number = next(_number)
    server = S3Registry(folder / str(number), s3, f"bucket-{number}")
    with server:
        push_all(server, made)
        stored = read_storage(server.place)
        assert stored.oddities == ()
        then = {flags: kept_of_dry_run(server, stored.blobs, *flags) for flags in ((), ("-m",))}
        plans = await plan_and_apply(server, chosen, tags, stored)
    for flags in ((), ("-m",)):
        close, exact = plans[Collector.of(untagged=bool(flags))]
        if then[flags] is None or kept_of_dry_run(server, stored.blobs, *flags) is None:
            assert not exact.reclaim.exact or not exact.steps
            continue
        server.garbage_collect(*flags)
        check(
            (close, exact),
            then[flags],
            {str(digest): size for digest, size in read_storage(server.place).blobs.items()},
        )


def kept_of_dry_run(server: S3Registry, blobs: Mapping[Digest, int], *options: str) -> dict[str, int] | None:
    """The subset of `blobs` that the collector reports it would leave; None if it stops with an error."""
    try:
        said = server.garbage_collect("--dry-run", *options)
    except subprocess.CalledProcessError:
        return None
    eligible = set(re.findall(r"blob eligible for deletion: (\S+)", said))
    return {digest: size for digest, size in blobs.items() if digest not in eligible}


def push_all(server: DistributionServer, made: list[Made]) -> None:
    filler = Filler(Pusher(server.url))
    for entry in made:
        filler.push(entry)
    filler.pusher.close()


async def plan_and_apply(
    server: DistributionServer,
    chosen: list[str],
    tags: list[str],
    stored: StoredRegistry,
    rules: MatchRules | None = None,
    options: RemovalOptions | None = None,
) -> dict[Collector, tuple[Plan, Plan]]:
    """Apply a removal; return, for a collector without and with -m, its plan from the API and from the storage."""
    plans = {}
    async with connect_writable(server.url) as registry:
        found = (await crawl(registry)).inventory
        repositories = [Repository(name) for name in chosen]
        selection = (
            select_tags(found, repositories, TagSelector.build(tags), rules)
            if tags
            else select_repositories(found, repositories, rules)
        )
        for collector in Collector:
            bound = await plan_removal(registry, selection, found, options, collector=collector)
            close = await plan_removal(
                registry, selection, found, options, collector=collector, seen=Known(server, stored)
            )
            assert close.reclaim.reclaimable_bytes <= bound.reclaim.reclaimable_bytes
            exact = await plan_removal(registry, selection, found, options, collector=collector, stored=stored)
            plans[collector] = (close, exact)
        await apply_plan(registry, plans[Collector.DEFAULT][0], recorder=NoRecorder())
    return plans


class Known(KnownManifests):
    """Knows every existing manifest, as if all had been read before."""

    def __init__(self, server: DistributionServer, stored: StoredRegistry) -> None:
        super().__init__()
        place = server.place if isinstance(server, S3Registry) else str(server.storage)
        listed = list(stored.manifests)
        self._stored = stored
        self._raws = dict(zip(listed, Storage(place).blobs(listed, MAX_MANIFEST_BYTES), strict=True))

    def manifest(self, digest: Digest) -> Manifest | None:
        raw = self._raws.get(digest)
        if raw is None:
            return super().manifest(digest)
        return parse_manifest(raw, self._stored.manifests[digest].media_type, digest)


def check(
    plans: tuple[Plan, Plan],
    then: Mapping[str, int] | None,
    now: Mapping[str, int] | None,
    *,
    is_bound: bool = True,
) -> None:
    """`then` and `now`: what the collector leaves before and after the removal. `is_bound`: no more than the figure of
    the API alone can come back."""
    bound, exact = plans
    assert sum(step.frees for step in exact.steps) == exact.reclaim.reclaimable_bytes
    assert sum(step.frees for step in bound.steps) == bound.reclaim.reclaimable_bytes
    if then is None or now is None:
        assert not exact.reclaim.exact or not exact.steps
        return
    freed = sum(size for digest, size in then.items() if digest not in now)
    assert exact.reclaim.exact, exact.reclaim.because
    assert exact.reclaim.reclaimable_bytes == freed
    assert not is_bound or bound.reclaim.reclaimable_bytes >= freed
    assert not bound.reclaim.exact or freed == 0


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(Path(tmp_path_factory.mktemp("s3"))) as found, pytest.MonkeyPatch.context() as patch:
        patch.delenv("AWS_CA_BUNDLE", raising=False)
        for name, value in found.settings.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tmp_path_factory.mktemp("oracle"))


@pytest.mark.parametrize("generation", Generation)
@given(
    made=registries(),
    strays=st.just([]) | st.just([]) | st.lists(st.sampled_from(STRAYS), max_size=2, unique=True),
    chosen=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    tags=st.lists(st.sampled_from(TAGS), max_size=4, unique=True),
    rules=st.builds(MatchRules, match_all_tags=st.booleans(), ignore_other_repositories=st.booleans()),
    options=st.builds(RemovalOptions, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
@settings(max_examples=EXAMPLES)
async def test_the_freed_space_is_as_predicted(
    folder: Path,
    generation: Generation,
    made: list[Made],
    strays: list[str],
    chosen: list[str],
    tags: list[str],
    rules: MatchRules,
    options: RemovalOptions,
) -> None:
    here = folder / str(next(_number))
    before = here / "before"
    kind = KINDS["distribution-3" if generation is Generation.V3 else "distribution-2.8"]
    if generation is Generation.V3:  # which takes no cache: an index whose entries are layers
        made = [replace(one, kind="image") if one.kind == "cache" else one for one in made]
    with kind.start(here / "registry") as server:
        assert isinstance(server, DistributionServer)
        push_all(server, made)
        for stray in strays:
            place = server.storage / "docker/registry/v2/blobs" / stray
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("stray")
        shutil.copytree(server.storage, before)
        stored = read_storage(str(server.storage))
        plans = await plan_and_apply(server, chosen, tags, stored, rules, options)
    for how, (bound, exact) in plans.items():
        flags = (UNTAGGED[generation],) if how is Collector.UNTAGGED else ()
        then = collected(type(server), before, here / "then", *flags)
        now = collected(type(server), server.storage, here / "now", *flags)
        freed = "freed" if exact.reclaim.reclaimable_bytes else "nothing freed"
        event(f"{flags}: {freed}, {len(exact.reclaim.warnings)} warnings, collected: {None not in (then, now)}")
        if then is not None:
            collector = GarbageCollector(generation, how)
            assert set(then) == mark(marked_repositories(stored, collector), collector) & set(stored.blobs)
        # 3 goes into a layer that is a manifest. The API does not show that it is one: docs/disk-usage.md says so.
        unseen = generation is Generation.V3 and any(one.kind == "layered" for one in made)
        check((bound, exact), then, now, is_bound=not unseen)
    shutil.rmtree(here)
