"""The sizes of tags: SQL compared with a plain computation over sets, and the output of `du`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dregutil
from dregutil.errors import CacheError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.contents.measured import BY, SORTS, Measured, UsageRow
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository
from images import Pusher
from program import Program, on_terminal
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

SIZES = (1, 20, 300, 4000, 50_000)
CONFIG = "application/vnd.oci.image.config.v1+json"


def made(body: dict[str, Any], media_type: str) -> Manifest:
    raw = json.dumps(body).encode()
    return parse_manifest(raw, media_type, Digest.of(raw))


def image(layers: tuple[int, ...]) -> Manifest:
    return made(
        {
            "config": {"mediaType": CONFIG, "digest": Digest.of(repr(layers).encode()), "size": 7},
            "layers": [{"digest": Digest.of(b"%d" % layer), "size": SIZES[layer]} for layer in layers],
        },
        OCI_MANIFEST,
    )


def index(children: tuple[Manifest, ...]) -> Manifest:
    return made({"manifests": [{"digest": child.digest, "size": 1} for child in children]}, OCI_INDEX)


IMAGES = st.lists(st.integers(0, 4), max_size=4).map(lambda layers: image(tuple(layers)))
TREES = st.recursive(
    IMAGES.map(lambda one: (one,)),
    lambda trees: st.lists(trees, min_size=1, max_size=3).map(
        lambda found: (index(tuple(tree[0] for tree in found)), *(one for tree in found for one in tree))
    ),
    max_leaves=5,
)
REGISTRIES = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2", "3"])), TREES, max_size=7
)


def blobs(tree: tuple[Manifest, ...]) -> dict[Digest, int]:
    found = {one.digest: len(one.raw) for one in tree}
    return found | {blob.digest: blob.size for one in tree for blob in one.blobs}


def expected(lines: Mapping[Any, Mapping[Digest, int]]) -> dict[Any, tuple[int, int]]:
    """Size and unique bytes of each line, by sets."""
    return {
        name: (
            sum(held.values()),
            sum(size for blob, size in held.items() if not any(blob in lines[o] for o in lines if o != name)),
        )
        for name, held in lines.items()
    }


@contextmanager
def gathered(
    registry: Mapping[tuple[str, str], tuple[Manifest, ...]], shown: list[str] | None = None
) -> Iterator[DiskUsage]:
    database = ContentDatabase.private()
    for tree in registry.values():
        database.add(tree, whole=[one.digest for one in tree])
    tags = [(Repository(name), [(tag, tree[0].digest.key)]) for (name, tag), tree in sorted(registry.items())]
    usage = DiskUsage(database, tags, None if shown is None else [Repository(name) for name in shown])
    assert usage.missing() == []
    usage.own(lambda repository, _: repository[:1])
    yield usage
    database.close()


@contextmanager
def measured(
    registry: Mapping[tuple[str, str], tuple[Manifest, ...]], by: str, shown: list[str] | None = None
) -> Iterator[Measured]:
    with gathered(registry, shown) as usage:
        yield usage.measure(by)


@pytest.mark.property
@given(REGISTRIES)
def test_sizes_agree_with_a_computation_by_sets(registry: dict[tuple[str, str], tuple[Manifest, ...]]) -> None:
    every: dict[Digest, int] = {}
    repositories: dict[str, dict[Digest, int]] = {}
    for (name, _), tree in registry.items():
        every |= blobs(tree)
        repositories.setdefault(name, {}).update(blobs(tree))
    for by, lines in (("tag", {key: blobs(tree) for key, tree in registry.items()}), ("repo", repositories)):
        with measured(registry, by) as usage:
            rows = list(usage.rows())
        found = {
            (row.repository if by == "repo" else (row.repository, row.tag)): (row.size, row.unique) for row in rows
        }
        assert found == expected(lines)
        total = usage.total
        assert (total.rows, total.size) == (len(lines), sum(every.values()))
        assert total.unique == sum(row.unique for row in rows)


@pytest.mark.property
@given(REGISTRIES, st.booleans())
def test_sizes_by_owner_agree_with_a_computation_by_sets(
    registry: dict[tuple[str, str], tuple[Manifest, ...]], is_filtered: bool
) -> None:
    """Owners by repository and digest, as namespaces and labels are; what is not shown belongs to nobody shown."""
    names = sorted({name for name, _ in registry})
    shown = names[: max(1, len(names) // 2)] if is_filtered else None

    def owner(repository: str, digest: str) -> str:
        return repository[-1:] if int(digest[-1], 16) % 2 else ""

    lines: dict[tuple[str, bool], dict[Digest, int]] = {}
    for (name, _), tree in registry.items():
        is_shown = shown is None or name in shown
        lines.setdefault((owner(name, tree[0].digest) if is_shown else "", is_shown), {}).update(blobs(tree))
    with gathered(registry, shown) as usage:
        usage.own(owner)
        rows = list(usage.measure("owner").rows())
        whole = {(row.repository, row.tag): row.size for row in usage.measure("tag").rows()}
    assert {(row.owner, True): (row.size, row.unique) for row in rows} == {
        key: found for key, found in expected(lines).items() if key[1]
    }
    assert sum(row.tags for row in rows) == len(whole)


@pytest.mark.property
@given(REGISTRIES)
def test_layers_are_counted_once_with_the_images_that_have_them(
    registry: dict[tuple[str, str], tuple[Manifest, ...]],
) -> None:
    images = {one.digest: one for tree in registry.values() for one in tree}.values()
    holders = {
        layer.digest: (
            layer.size,
            sum(any(other.digest == layer.digest for other in image.layers) for image in images),
            len({name for (name, _), tree in registry.items() if layer.digest in blobs(tree)}),
        )
        for image in images
        for layer in image.layers
    }
    with measured(registry, "layer") as usage:
        assert {row.digest: (row.size, row.images, row.repositories) for row in usage.rows()} == holders
    total = usage.total
    assert total.unique + total.shared == sum(size for size, _, _ in holders.values())


@pytest.mark.property
@given(REGISTRIES, st.lists(st.sampled_from(BY), min_size=2, max_size=5))
def test_a_measurement_is_not_changed_by_another(
    registry: dict[tuple[str, str], tuple[Manifest, ...]], order: list[str]
) -> None:
    alone = {}
    for by in BY:
        with measured(registry, by) as usage:
            alone[by] = (list(usage.rows()), usage.total, usage.longest_name())
    with gathered(registry) as loaded:
        found = [loaded.measure(by) for by in order]
        assert [(list(one.rows()), one.total, one.longest_name()) for one in found] == [alone[by] for by in order]


def test_a_later_measurement_counts_what_was_added() -> None:
    one = image((3,))
    with gathered({("a", "1"): (one,)}) as usage:
        before = usage.measure("repo")
        usage.add_sizes([(Digest.of(b"3"), 9)])
        after = usage.measure("repo")
        (stated,), (real,) = before.rows(), after.rows()
    assert stated.size - real.size == SIZES[3] - 9
    assert (before.total.size, after.total.size) == (stated.size, real.size)


def test_what_another_repository_shares_is_shared_even_if_only_one_is_shown() -> None:
    registry = {("a", "1"): (image((3, 4)),), ("b", "1"): (image((3,)),)}
    with measured(registry, "repo", ["b"]) as usage:
        (row,) = usage.rows()
    assert (row.repository, row.shared) == ("b", 4000)
    assert usage.total.size == row.size


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("sort", SORTS)
def test_every_order_is_an_order(by: str, sort: str) -> None:
    registry = {
        (name, tag): (image((layer,)),) for layer, (name, tag) in enumerate([("a", "1"), ("b", "1"), ("b", "2")])
    }
    with measured(registry, by) as usage:
        rows = list(usage.rows(sort))
        assert list(usage.rows(sort, 2)) == rows[:2]
    values = {
        "unique": lambda row: -row.unique,
        "size": lambda row: -row.size,
        "shared": lambda row: -row.shared,
        "tags": lambda row: -row.tags,
        "name": lambda row: (row.repository, row.tag, row.digest),
    }[sort]
    assert rows == sorted(rows, key=values)


def test_an_empty_registry_has_size_zero() -> None:
    with measured({}, "repo") as usage:
        assert (list(usage.rows()), usage.total.size, usage.longest_name()) == ([], 0, 0)


# The command.

BASE = [b"b" * 3000, b"c" * 2000]


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


@pytest.fixture
def program(memory: MemoryServer, tmp_path: Path) -> Program:
    with Pusher(memory.url) as pusher:
        for number in range(3):
            pusher.push_image("shop/web", f"1.{number}", seed=f"w{number}", layers=[*BASE, bytes([number]) * 1000])
        pusher.push_image("base", "1", seed="base", layers=BASE)
        pusher.push_image("ml", "x", "y", seed="ml", layers=[b"m" * 90_000])
    return Program(memory.url, tmp_path)


def test_repositories_are_shown_with_what_each_frees(program: Program) -> None:
    done = program.run("du")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["REPOSITORY", "TAGS", "FREED", "IF", "REMOVED", "SHARED"]
    assert [line[:2] for line in lines[1:4]] == [["ml", "2"], ["shop/web", "3"], ["base", "1"]]
    assert done.stdout.splitlines()[4].endswith("5.0 kB  no single repository frees it")
    assert "#" not in done.stdout


def test_what_top_omits_is_summed_up(program: Program) -> None:
    whole = program.run("du", "--format", "json").stdout
    done = program.run("du", "--top", "1").stdout.splitlines()
    assert done[1].startswith("ml ")
    left = [found["unique"] for found in json.loads(whole)[1:-1]]
    assert done[2].split()[:2] == ["2", "others"]
    assert done[2].split()[2] == f"{sum(left) / 1000:.1f}"


def test_a_terminal_shows_a_bar_beside_each_line(program: Program) -> None:
    _, shown = on_terminal(program, "", "du")
    (line,) = (line for line in shown.splitlines() if line.startswith("ml "))
    assert "############" in line


@pytest.mark.parametrize(("by", "keys"), [("namespace", ["namespace"]), ("label=team", ["label", "value"])])
def test_a_line_for_each_owner(program: Program, by: str, keys: list[str]) -> None:
    *rows, total = json.loads(program.run("du", "--by", by, "--format", "json").stdout)
    assert [list(row)[: len(keys)] for row in rows] == [keys] * len(rows)
    (whole,) = [json.loads(program.run("du", "--format", "json").stdout)[-1]]
    assert total == whole
    assert sum(row["unique"] for row in rows) <= total["total"]
    shown = program.run("du", "--by", by).stdout
    assert shown.split()[0] == by.removeprefix("label=").upper()
    done = program.run("du", "--by", "label=")
    assert done.returncode == 2
    assert "repo, tag, layer, namespace or label=KEY" in done.stderr


def test_a_label_that_no_image_has_is_said_and_its_line_is_whole(program: Program) -> None:
    label = "org.opencontainers.image.misspelt"
    done = program.run("du", "--by", f"label={label}")
    assert done.returncode == 0
    assert f"no image has the label {label}" in done.stderr
    assert f"(no label {label})  " in done.stdout
    assert "no image has the label" not in program.run("du", "--by", "namespace").stderr


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("repo", ["repository", "tags", "images", "size", "unique", "shared"]),
        ("tag", ["repository", "tag", "tags", "images", "size", "unique", "shared", "digest", "created"]),
        ("layer", ["layer", "repositories", "images", "size", "unique", "shared"]),
    ],
)
def test_objects_end_with_the_total(program: Program, by: str, keys: list[str]) -> None:
    *rows, total = json.loads(program.run("du", "--by", by, "--format", "json").stdout)
    assert [list(row) for row in rows] == [keys] * len(rows)
    assert list(total) == ["total"]
    assert total["total"] > 98_000
    lines = program.run("du", "--by", by, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [*rows, total]
    assert len(program.run("du", "--by", by, "--format", "csv").stdout.splitlines()) == len(rows) + 1


def test_the_largest_layers_come_first(program: Program) -> None:
    lines = program.run("du", "--by", "layer", "--top", "2").stdout.splitlines()
    assert [line.split()[1:] for line in lines[1:3]] == [["1", "1", "90", "kB"], ["4", "2", "3.0", "kB"]]
    assert any(line.startswith("manifests, configs") for line in lines)


def test_what_cannot_be_read_is_reported_and_not_counted(memory: MemoryServer, program: Program) -> None:
    with Pusher(memory.url) as pusher:
        lost = pusher.tags("base")["1"]

    def lose(request: Request) -> Answer | None:
        return Answer(500) if request.method == "GET" and request.reference == lost else None

    with Proxy(memory.port, before=lose) as proxy:
        done = Program(proxy.url, program.folder).run("du", "--format", "json")
    assert done.returncode == 3
    assert f"base {lost[:19]} was not read" in done.stderr
    assert [found.get("repository") for found in json.loads(done.stdout)] == ["ml", "shop/web", None]


def test_a_second_run_sends_no_requests(memory: MemoryServer, program: Program) -> None:
    with Proxy(memory.port) as proxy:
        warm = Program(proxy.url, program.folder)
        first = warm.run("-c", "cache.json", "du")
        proxy.requests.clear()
        assert warm.run("-c", "cache.json", "du").stdout == first.stdout
        assert proxy.requests == []


def test_without_a_cache_nothing_is_stored(program: Program, tmp_path: Path) -> None:
    assert program.run("du").returncode == 0
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["not a database", ""])
def test_a_content_database_that_cannot_be_used_is_a_warning(program: Program, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cache" / "dregutil" / "contents.sqlite"
    path.parent.mkdir(parents=True, mode=0o700)
    if damage:
        path.write_text(damage)
        path.chmod(0o600)
    else:
        path.mkdir()
    done = program.run("-c", "cache.json", "du")
    assert (done.returncode, done.stdout) == (0, program.run("du").stdout)
    assert f"warning: the content database {path} cannot be used" in done.stderr
    assert not damage or path.read_text() == damage


@pytest.mark.parametrize("arguments", [("--top", "0"), ("--by", "moon"), ("--sort", "moon"), ("Not/A/Name",)])
def test_mistakes_are_usage_errors(program: Program, arguments: tuple[str, ...]) -> None:
    assert program.run("du", *arguments).returncode == 2


def test_rows_show_what_is_shared() -> None:
    row = UsageRow(Repository("r"), None, None, 1, 1, 1, size=10, unique=4)
    assert row.shared == 6


def test_sizes_are_measured_twice_and_those_of_before_are_not_mixed_up() -> None:
    one, other = image((0, 1)), image((1, 2))
    with ContentDatabase.private() as database:
        database.add([one, other])
        first = DiskUsage(database, [(Repository("a"), [("1", one.digest.key)])]).measure("repo")
        assert [row.repository for row in first.rows()] == ["a"]
        second = DiskUsage(database, [(Repository("b"), [("1", other.digest.key)])]).measure("repo")
        assert [row.repository for row in second.rows()] == ["b"]
        with pytest.raises(CacheError, match="can no longer be read"):
            list(first.rows())


def test_a_session_weighs_more_than_once(registry_server: DistributionServer, pusher: Pusher) -> None:
    pusher.push_image("shop/web", "1.0", seed="one")
    with dregutil.open(registry_server.url) as registry:
        by_tag = [row.size for row in registry.disk_usage(by="tag").rows()]
        assert [row.size for row in registry.disk_usage().rows()] == by_tag
        assert registry.overview().space.total == sum(by_tag)
