"""The space of a registry as an inline SVG: area is what removing a part alone frees, hatched what is shared. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dregutil.pages.model import Node
from dregutil.pages.treemap import Frame, squarified
from dregutil.report.markup import html_text
from dregutil.report.units import plural, size_text

__all__ = ["picture"]

_WIDTH, _HEIGHT = 1000.0, 520.0
_SMALLEST = 9.0  # square units: a smaller part is drawn with its parent
_LETTER, _LINE = 7.4, 15.0  # a character, and a line of text
_DEEPEST = 3  # namespace, repository, tag
_COLORS = 8


@dataclass(frozen=True, slots=True)
class _Part:
    """A rectangle; `shared`: what several parts of the node around it share."""

    frame: Frame
    title: str
    label: str
    color: int
    depth: int
    shared: bool = False


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
    for part in parts:
        yield _rectangle(part)
    for part in parts:
        if part.label:
            yield f'<text x="{part.frame.x + 4:.1f}" y="{part.frame.y + 14:.1f}">{html_text(part.label)}</text>'
    yield "</svg>"


def _parts(node: Node, frame: Frame, depth: int, color: int, above: str = "") -> Iterator[_Part]:
    children = sorted((child for child in node.children if child.frees > 0), key=lambda one: -one.frees)
    frames = squarified([*(child.frees for child in children), node.between], frame)
    for place, (child, found) in enumerate(zip(children, frames[:-1], strict=True)):
        shade = place % _COLORS if depth == 0 else color
        name = _name(child, above)
        if found.area < _SMALLEST:
            continue
        deeper = child.kind not in ("rest", "tag", "layer") and depth < _DEEPEST and (child.children or child.between)
        has_label = depth < 2 and not (deeper and depth == 0)
        shown = _fitted(name, found) if has_label else ""
        yield _Part(found, f"{name}: {size_text(child.frees)}", shown, shade, depth)
        if deeper:
            yield from _parts(child, found, depth + 1, shade, name)
    if node.between > 0 and frames[-1].area >= _SMALLEST:
        what = f"shared within {above or 'the registry'}: {size_text(node.between)}"
        yield _Part(frames[-1], what, _fitted("shared", frames[-1]) if depth < 2 else "", color, depth, shared=True)


def _name(node: Node, above: str) -> str:
    if node.kind == "rest":
        noun = {"": "namespace"}.get(above, "repository or tag")
        return plural(node.number, noun) if noun == "namespace" else f"{node.number:,} more"
    if node.kind == "namespace":
        return node.name or "(no namespace)"
    return f"{above}:{node.name}" if node.kind == "tag" else node.name


def _fitted(text: str, frame: Frame) -> str:
    """`text` if it fits into a frame, or what fits of its end."""
    room = int((frame.width - 8) / _LETTER)
    if frame.height < _LINE + 4 or room < 4:
        return ""
    return text if len(text) <= room else f"…{text[-(room - 1) :]}"


def _rectangle(part: _Part) -> str:
    frame = part.frame
    box = f'x="{frame.x:.1f}" y="{frame.y:.1f}" width="{frame.width:.1f}" height="{frame.height:.1f}"'
    kind = "s" if part.shared else f"c{part.color} d{part.depth}"
    return f'<rect {box} class="{kind}"><title>{html_text(part.title)}</title></rect>'
