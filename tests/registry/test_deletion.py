"""What the answer to a DELETE means: the statuses of many servers, and that nothing unclear counts as done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.registry.deletion import Verdict, judge_deletion, judge_tag_deletion

CODES = ("UNSUPPORTED", "DENIED", "DIGEST_INVALID", "MANIFEST_UNKNOWN", "PRECONDITION", "TAG_IMMUTABLE", "")
statuses = st.integers(200, 599)
codes = st.frozensets(st.sampled_from(CODES), max_size=3)


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (202, "", Verdict.ACCEPTED),
        (202, "UNKNOWN", Verdict.IN_PART),
        (404, "MANIFEST_UNKNOWN", Verdict.ABSENT),
        (405, "UNSUPPORTED", Verdict.DISABLED),
        (405, "", Verdict.READ_ONLY),
        (405, "DENIED", Verdict.KEPT),
        (409, "TAG_IMMUTABLE", Verdict.PROTECTED),
        (409, "CONFLICT", Verdict.REFUSED),
        (412, "PRECONDITION", Verdict.PROTECTED),
        (412, "DENIED", Verdict.REFUSED),
        (400, "GOOGLE_MANIFEST_DANGLING_TAG", Verdict.REFUSED),
        (403, "DENIED", Verdict.REFUSED),
        (502, "", Verdict.UNKNOWN),
    ],
)
def test_of_a_digest(status: int, code: str, verdict: Verdict) -> None:
    assert judge_deletion(status, {code} - {""}) is verdict


@pytest.mark.parametrize(
    ("status", "code", "takes_digests", "verdict"),
    [
        (400, "DIGEST_INVALID", False, Verdict.NOT_BY_TAG),  # distribution 2.8
        (400, "UNSUPPORTED", False, Verdict.NOT_BY_TAG),  # Harbor
        (405, "UNSUPPORTED", True, Verdict.NOT_BY_TAG),  # Azure, Artifactory
        (405, "UNSUPPORTED", False, Verdict.DISABLED),
        (405, "", True, Verdict.READ_ONLY),
        (405, "DENIED", True, Verdict.KEPT),
        (409, "TAG_IMMUTABLE", True, Verdict.PROTECTED),
        (400, "NAME_INVALID", True, Verdict.REFUSED),
    ],
)
def test_of_a_tag(status: int, code: str, takes_digests: bool, verdict: Verdict) -> None:
    assert judge_tag_deletion(status, {code} - {""}, takes_digests=takes_digests) is verdict


@pytest.mark.property
@given(statuses, codes, st.booleans())
def test_nothing_unclear_counts_as_done_and_no_refusal_as_another_way(
    status: int, named: frozenset[str], takes_digests: bool
) -> None:
    found = judge_tag_deletion(status, named, takes_digests=takes_digests)
    assert (found is Verdict.ACCEPTED) == (status < 300 and not named)
    assert (found is Verdict.ABSENT) == (status == 404)
    assert (found is Verdict.UNKNOWN) == (status >= 500)
    if found is Verdict.NOT_BY_TAG:
        assert status in (400, 405)
        assert takes_digests or status == 400
        assert status == 400 or "DENIED" not in named
    else:
        assert found is judge_deletion(status, named)
