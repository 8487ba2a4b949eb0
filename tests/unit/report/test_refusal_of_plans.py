"""Why a cleanup would refuse a plan that waits in a store."""

from __future__ import annotations

import pytest

from dregutil.report.stored_plans import refusal_of


@pytest.mark.parametrize(
    ("stays", "refusal"),
    [
        (None, ""),
        (b"", ""),
        (b"{}", ""),
        (b'{"refused": null, "kept": []}', ""),
        (b'{"refused": "more than max_remove would go"}', "more than max_remove would go"),
        (b'{"refused": 3}', ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b'{"refused"', ""),
    ],
)
def test_what_is_beside_a_plan_says_why_a_cleanup_refuses_it(stays: bytes | None, refusal: str) -> None:
    assert refusal_of(stays) == refusal
