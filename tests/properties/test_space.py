"""Where the bytes are: SQL compared with sets, and the tree of a report, in which nothing is lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_usage import TREES, blobs

from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.contents.space import MeasuredSpace, namespace_of
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.pages.limits import Limits
from dregutil.pages.model import Node
from dregutil.pages.space import Measured, space_tree

REGISTRIES = st.dictionaries(
    st.tuples(st.sampled_from(["a/x", "a/y", "a-b/x", "b/x", "c", "d"]), st.sampled_from(["1", "2", "3"])),
    TREES,
    max_size=9,
)
LIMITS = st.builds(
    Limits,
    repositories=st.integers(1, 6),
    tags=st.integers(1, 9),
    layered=st.integers(0, 9),
    layers=st.integers(1, 4),
)
Registry = Mapping[tuple[str, str], tuple[Manifest, ...]]


@contextmanager
def measured(registry: Registry) -> Iterator[MeasuredSpace]:
    tags: dict[Repository, list[tuple[str, bytes]]] = defaultdict(list)
    with ContentDatabase.private() as database:
        for (name, tag), tree in registry.items():
            database.add(tree)
            tags[Repository(name)].append((tag, tree[0].digest.key))
        yield DiskUsage(database, tags.items()).space()


def expected(registry: Registry, of: Any) -> dict[Any, tuple[int, int]]:
    """What each line reaches and alone frees, by sets. `of` returns the line of a repository and a tag."""
    lines: dict[Any, dict[Digest, int]] = defaultdict(dict)
    for (name, tag), tree in registry.items():
        lines[of(name, tag)].update(blobs(tree))
    holders = Counter(digest for held in lines.values() for digest in held)
    return {
        line: (sum(held.values()), sum(size for digest, size in held.items() if holders[digest] == 1))
        for line, held in lines.items()
    }


def below(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from below(child)


def tree(found: MeasuredSpace, limits: Limits) -> tuple[Node, int]:
    made = space_tree(Measured(found.total, found.namespaces, found.repositories, found.tags, found.layers), limits)
    return made.root, made.summed


@pytest.mark.property
@given(REGISTRIES)
def test_what_each_part_reaches_and_frees_is_that_of_sets(registry: Registry) -> None:
    with measured(registry) as found:
        namespaces = {one.name: (one.reaches, one.frees) for one in found.namespaces}
        assert namespaces == expected(registry, lambda name, _: namespace_of(name))
        repositories = {one.name: (one.reaches, one.frees) for one in found.repositories}
        assert repositories == expected(registry, lambda name, _: name)
        tags = {(str(one.repository), str(one.tag)): (one.reaches, one.frees) for one in found.tags(1000)}
        assert tags == expected(registry, lambda name, tag: (name, tag))
        assert [one.frees for one in found.tags(1000)] == sorted((frees for _, frees in tags.values()), reverse=True)
        assert found.total == sum(size for size, _ in expected(registry, lambda *_: "").values())


@pytest.mark.property
@given(REGISTRIES, LIMITS)
def test_nothing_is_lost_in_the_tree(registry: Registry, limits: Limits) -> None:
    """Whatever is summed: what a node frees is what its children free and what only several of them share."""
    with measured(registry) as found:
        root, summed = tree(found, limits)
        names = Counter(namespace_of(one.name) for one in found.repositories)
    assert root.frees == root.reaches == found.total
    nodes = [*below(root)]
    assert summed == sum(node.number for node in nodes)
    for node in nodes:
        assert node.between >= 0
        assert node.frees >= 0
        if node.kind == "rest":
            assert node.number > 0
            assert not node.children
            continue
        assert node.frees <= node.reaches or node.kind == "registry"
        if node.children:
            assert node.frees == node.between + sum(child.frees for child in node.children)
        shown = [child for child in node.children if child.kind != "rest"]
        assert [child.frees for child in shown] == sorted((child.frees for child in shown), reverse=True)
        assert all(child.kind != "rest" for child in node.children[:-1])
        number = {"registry": len(names), "namespace": names[node.name], "repository": node.tags}.get(node.kind)
        if number is not None:
            assert sum(child.number or 1 for child in node.children) == number
    counted = [sum(node.kind == kind for node in nodes) for kind in ("repository", "tag", "layer")]
    assert counted[0] <= limits.repositories
    assert counted[1] <= limits.tags
    assert counted[2] <= limits.layered * limits.layers


@pytest.mark.property
@given(REGISTRIES)
def test_with_room_for_all_nothing_is_summed(registry: Registry) -> None:
    with measured(registry) as found:
        root, summed = tree(found, Limits(layers=100))
    assert summed == 0
    names = {(node.kind, node.name) for node in below(root) if node.kind == "repository"}
    assert {name for _, name in names} == {name for name, _ in registry}
