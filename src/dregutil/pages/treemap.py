"""A squarified treemap: weights → rectangles, each with an area in proportion, as near to squares as they get. Pure.

M. Bruls, K. Huizing, J. van Wijk: Squarified Treemaps, 2000.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Frame", "squarified"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        return self.width * self.height


def squarified(weights: Sequence[float], frame: Frame) -> list[Frame]:
    """A rectangle for each of `weights`, in their order, which together fill `frame`. A weight of zero or less has one
    without an area. They look best with the largest first."""
    total = sum(weight for weight in weights if weight > 0)
    empty = Frame(frame.x, frame.y, 0.0, 0.0)
    found = [empty] * len(weights)
    if total <= 0 or frame.area <= 0:
        return found
    scale = frame.area / total
    areas = [(place, weight * scale) for place, weight in enumerate(weights) if weight > 0]
    while areas:
        side = min(frame.width, frame.height)
        number = _in_a_row([area for _, area in areas], side)
        row, areas = areas[:number], areas[number:]
        for place, made in _row(row, frame, is_last=not areas):
            found[place] = made
        frame = _left(frame, sum(area for _, area in row), is_last=not areas)
    return found


def _in_a_row(areas: Sequence[float], side: float) -> int:
    """How many of `areas`, from the first, fill a row along `side` so that its worst rectangle is nearest to a
    square."""
    total = areas[0]
    least = most = areas[0]
    worst = _worst(total, least, most, side)
    for number, area in enumerate(areas[1:], start=1):
        total, least, most = total + area, min(least, area), max(most, area)
        next_worst = _worst(total, least, most, side)
        if next_worst > worst:
            return number
        worst = next_worst
    return len(areas)


def _worst(total: float, least: float, most: float, side: float) -> float:
    """The worst ratio of the sides in a row."""
    return max(side * side * most / (total * total), total * total / (side * side * least))


def _row(areas: Sequence[tuple[int, float]], frame: Frame, *, is_last: bool) -> Iterator[tuple[int, Frame]]:
    """The rectangles of a row along the shorter side of `frame`."""
    total = sum(area for _, area in areas)
    is_upright = frame.width >= frame.height
    side = frame.height if is_upright else frame.width
    depth = (frame.width if is_upright else frame.height) if is_last else total / side
    at = 0.0
    for place, area in areas:
        length = side * area / total
        if is_upright:
            yield place, Frame(frame.x, frame.y + at, depth, length)
        else:
            yield place, Frame(frame.x + at, frame.y, length, depth)
        at += length


def _left(frame: Frame, area: float, *, is_last: bool) -> Frame:
    """What a row of `area` leaves of a frame."""
    if is_last:
        return Frame(frame.x, frame.y, 0.0, 0.0)
    if frame.width >= frame.height:
        depth = area / frame.height
        return Frame(frame.x + depth, frame.y, max(0.0, frame.width - depth), frame.height)
    depth = area / frame.width
    return Frame(frame.x, frame.y + depth, frame.width, max(0.0, frame.height - depth))
