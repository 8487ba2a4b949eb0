"""The treemap: areas in proportion, no overlap, nothing outside of the frame."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.pages.treemap import Frame, squarified

WEIGHTS = st.lists(st.one_of(st.just(0), st.integers(1, 10**13)), max_size=40)
FRAMES = st.builds(Frame, st.floats(-50, 50), st.floats(-50, 50), st.floats(1.0, 2000.0), st.floats(1.0, 2000.0))


def overlap(one: Frame, other: Frame) -> float:
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(0.0, width) * max(0.0, height)


@pytest.mark.property
@given(WEIGHTS, FRAMES)
def test_areas_are_in_proportion_apart_and_inside(weights: list[int], frame: Frame) -> None:
    found = squarified(weights, frame)
    assert len(found) == len(weights)
    total, nearly = sum(weights), frame.area * 1e-6
    for weight, one in zip(weights, found, strict=True):
        assert math.isclose(one.area, frame.area * weight / total if total else 0.0, rel_tol=1e-6, abs_tol=nearly)
        assert one.x >= frame.x - 1e-6
        assert one.y >= frame.y - 1e-6
        assert one.x + one.width <= frame.x + frame.width + 1e-6
        assert one.y + one.height <= frame.y + frame.height + 1e-6
    for one, other in itertools.combinations(found, 2):
        assert overlap(one, other) <= nearly


def test_equal_weights_are_nearly_squares() -> None:
    for one in squarified([1] * 12, Frame(0, 0, 400, 300)):
        assert 0.5 <= one.width / one.height <= 2


def test_nothing_has_no_area() -> None:
    assert squarified([], Frame(0, 0, 1, 1)) == []
    assert [one.area for one in squarified([0, 0], Frame(0, 0, 1, 1))] == [0, 0]
    assert [one.area for one in squarified([3], Frame(0, 0, 0, 1))] == [0]
