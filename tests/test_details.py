"""Dates that can be believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dregutil.details import EARLIEST_DATE, known_date

NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "created",
    [
        None,
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1980, 1, 1, 0, 0, 1, tzinfo=UTC),
        EARLIEST_DATE - timedelta(microseconds=1),
        NOW + timedelta(seconds=1),
    ],
)
def test_a_date_that_nobody_can_believe_is_unknown(created: datetime | None) -> None:
    assert known_date(created, NOW) is None


@pytest.mark.parametrize("created", [EARLIEST_DATE, datetime(2025, 3, 2, tzinfo=UTC), NOW])
def test_other_dates_are_known(created: datetime) -> None:
    assert known_date(created, NOW) == created
