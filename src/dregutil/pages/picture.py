"""The space of a registry as an inline SVG: area is what removing a part alone frees, hatched what is shared. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dregutil.pages.model import Node
from dregutil.pages.treemap import Frame, squarified
from dregutil.report.markup import html_text
from dregutil.report.units import size_text

__all__ = ["picture"]

_WIDTH, _HEIGHT = 1000.0, 520.0
_SMALLEST = 25.0  # square units: a smaller part is drawn with its parent
_LETTER, _LINE = 7.4, 15.0  # a character, and a line of text
_UNLABELED = 2  # from this depth on: tags
_COLORS = 8


@dataclass(frozen=True, slots=True)
class _Part:
    """A rectangle. `is_shared`: what several parts of the node around it share; `is_parent`: others are within it."""

    frame: Frame
    title: str
    label: str
    color: int
    depth: int
    is_shared: bool = False
    is_parent: bool = False


def picture(root: Node) -> Iterator[str]:
    """The lines of the SVG; none for an empty registry."""
    if root.frees <= 0:
        return
    yield (
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="Where the bytes are; the table below'
        ' has the same numbers">'
    )
    yield (
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"'
        ' patternTransform="rotate(45)"><line x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
    )
    parts = [*_parts(root, Frame(0.0, 0.0, _WIDTH, _HEIGHT), 0, 0)]
    yield from map(_rectangle, parts)
    yield from (_outline(part) for part in sorted(parts, key=lambda one: -one.depth) if part.is_parent)
    for part in parts:
        if part.label:
            yield f'<text x="{part.frame.x + 4:.1f}" y="{part.frame.y + 14:.1f}">{html_text(part.label)}</text>'
    yield "</svg>"


def _parts(node: Node, frame: Frame, depth: int, color: int, above: str = "") -> Iterator[_Part]:
    """What is drawn within `frame`: the children of a node, and what they share. `above` is the name of the node."""
    weights: list[tuple[int, Node | None]] = [(child.frees, child) for child in node.children if child.frees > 0]
    weights = sorted([*weights, (node.between, None)], key=lambda one: -one[0])
    frames = squarified([weight for weight, _ in weights], frame)
    for place, ((_, child), found) in enumerate(zip(weights, frames, strict=True)):
        if found.area < _SMALLEST:
            continue
        shade = place % _COLORS if depth == 0 else color
        if child is None:
            yield _shared(node, found, depth, above)
        else:
            yield from _child(child, found, depth, shade, above)


def _shared(node: Node, frame: Frame, depth: int, above: str) -> _Part:
    title = f"shared within {above or 'the registry'}: {size_text(node.between)}"
    return _Part(frame, title, _fitted("shared", frame) if depth < _UNLABELED else "", 0, depth, is_shared=True)


def _child(child: Node, frame: Frame, depth: int, color: int, above: str) -> Iterator[_Part]:
    name = _name(child, above)
    is_parent = child.kind in ("namespace", "repository") and bool(child.children)
    label = _fitted(name, frame) if depth < _UNLABELED and child.kind != "namespace" else ""
    yield _Part(frame, f"{name}: {size_text(child.frees)}", label, color, depth, is_parent=is_parent)
    if is_parent:
        yield from _parts(child, frame, depth + 1, color, name)


def _name(node: Node, above: str) -> str:
    if node.kind == "rest":
        return f"{node.number:,} more"
    if node.kind == "namespace":
        return node.name or "(no namespace)"
    return f"{above}:{node.name}" if node.kind == "tag" else node.name


def _fitted(text: str, frame: Frame) -> str:
    """`text` if it fits into a frame, or its last part if that does; otherwise what fits of that."""
    room = int((frame.width - 8) / _LETTER)
    if frame.height < _LINE + 4 or room < 4:
        return ""
    last = text.rpartition("/")[2]
    return next((one for one in (text, last) if len(one) <= room), f"{last[: room - 1]}…")


def _rectangle(part: _Part) -> str:
    kind = "s" if part.is_shared else f"c{part.color}"
    return f'<rect {_box(part.frame)} class="{kind}"><title>{html_text(part.title)}</title></rect>'


def _outline(part: _Part) -> str:
    """The border of a part, drawn over what is within it."""
    return f'<rect {_box(part.frame)} class="o{part.depth}"/>'


def _box(frame: Frame) -> str:
    return f'x="{frame.x:.1f}" y="{frame.y:.1f}" width="{frame.width:.1f}" height="{frame.height:.1f}"'
