"""What was measured → the tree of a report. What is small is summed, so that nothing is lost. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dregutil.inventory.contents.space import LayerSpace, NodeSpace, TagSpace, namespace_of
from dregutil.pages.label import label
from dregutil.pages.limits import Limits
from dregutil.pages.model import Kind, Node, Space

__all__ = ["Measured", "space_tree"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a registry: `total` bytes; `tags` returns those that free the most, `layers` those of tags,
    by the tag's row."""

    total: int
    namespaces: Sequence[NodeSpace]
    repositories: Sequence[NodeSpace]
    tags: Callable[[int], Iterable[TagSpace]]
    layers: Callable[[Iterable[TagSpace]], Mapping[int, Sequence[LayerSpace]]]


def space_tree(found: Measured, limits: Limits) -> Space:
    """The tree of a registry, with at most as many nodes as `limits` say; the others are in a `rest` each."""
    tree = _Tree(found, limits)
    root = tree.root()
    return Space(root=root, summed=tree.summed)


class _Tree:
    def __init__(self, found: Measured, limits: Limits) -> None:
        self.summed = 0
        self._found = found
        self._limits = limits
        shown = [*found.repositories[: limits.repositories]]
        self._shown = {one.name for one in shown}
        self._repositories: dict[str, list[NodeSpace]] = defaultdict(list)
        for one in shown:
            self._repositories[namespace_of(one.name)].append(one)
        self._numbers: dict[str, int] = defaultdict(int)
        for one in found.repositories:
            self._numbers[namespace_of(one.name)] += 1
        tags = [one for one in found.tags(limits.tags) if one.repository in self._shown]
        self._tags: dict[str, list[TagSpace]] = defaultdict(list)
        for tag in tags:
            self._tags[tag.repository].append(tag)
        self._layers = found.layers(tags[: limits.layered])

    def root(self) -> Node:
        found = self._found
        shown = [one for one in found.namespaces if self._repositories.get(one.name)]
        children = [self._namespace(one) for one in shown]
        freed = sum(one.frees for one in found.namespaces)
        self._sum(children, len(found.namespaces), freed)
        return Node(
            kind="registry",
            name="",
            tags=sum(one.tags for one in found.namespaces),
            reaches=found.total,
            frees=found.total,
            between=found.total - freed,
            children=children,
        )

    def _namespace(self, one: NodeSpace) -> Node:
        children = [self._repository(repository) for repository in self._repositories[one.name]]
        self._sum(children, self._numbers[one.name], one.parts)
        return self._node("namespace", one, children)

    def _repository(self, one: NodeSpace) -> Node:
        children = [self._tag(tag) for tag in self._tags[one.name]]
        self._sum(children, one.tags, one.parts)
        return self._node("repository", one, children)

    def _node(self, kind: Kind, one: NodeSpace, children: list[Node]) -> Node:
        return Node(
            kind=kind,
            name=label(one.name),
            tags=one.tags,
            reaches=one.reaches,
            frees=one.frees,
            between=one.frees - one.parts,
            children=children,
        )

    def _tag(self, one: TagSpace) -> Node:
        layers = self._layers.get(one.row, ())
        children = [_layer(layer) for layer in layers[: self._limits.layers]]
        freed = sum(layer.size for layer in layers if layer.tags == 1)
        self._sum(children, len(layers), freed)
        return Node(
            kind="tag",
            name=label(one.tag),
            digest=one.digest,
            tags=1,
            reaches=one.reaches,
            frees=one.frees,
            between=one.frees - freed,
            children=children,
        )

    def _sum(self, children: list[Node], number: int, freed: int) -> None:
        """Add a node for those of `number` that are not among `children`; all together free `freed`."""
        left = number - len(children)
        if left:
            self.summed += left
            rest = freed - sum(child.frees for child in children)
            children.append(Node(kind="rest", name="", number=left, frees=rest))


def _layer(one: LayerSpace) -> Node:
    frees = one.size if one.tags == 1 else 0
    return Node(kind="layer", name=one.digest, reaches=one.size, frees=frees, tags=one.tags)
