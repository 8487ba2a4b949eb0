"""Durations and sizes as people write them."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.select.quantity import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "days"), [("90d", 90), ("2w", 14), ("48h", 2), ("1d12h", 1.5), ("1y", 365), ("720m", 0.5), ("0s", 0)]
)
def test_durations(text: str, days: float) -> None:
    assert parse_duration(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "d", "x90d", "90", "-1d", "1.5d", "90 d", "90D", "٣d", "999999999y", "1001y"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500", 500),
        ("500B", 500),
        ("1GB", 10**9),
        ("1gb", 10**9),
        ("1 G", 10**9),
        ("1GiB", 2**30),
        ("1.5 MB", 1_500_000),
        ("0.5KiB", 512),
        ("3TB", 3 * 10**12),
        ("2p", 2 * 10**15),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1XB", "1e9", "1,000", "1ib", "9999999P", "٣", "1_000", "nan", "inf"])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@pytest.mark.property
@given(st.text() | st.text("0123456789.smhdwykMGTPiB "))
def test_anything_is_a_quantity_or_a_usage_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        with contextlib.suppress(UsageError):
            parse(text)
