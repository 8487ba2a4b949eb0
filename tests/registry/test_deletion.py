"""The meaning of the answer to a DELETE: the statuses of many servers; an unclear answer never counts as done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.registry.deletion import DeleteAnswer, judge_deletion, judge_tag_deletion

CODES = ("UNSUPPORTED", "DENIED", "DIGEST_INVALID", "MANIFEST_UNKNOWN", "PRECONDITION", "TAG_IMMUTABLE", "")
statuses = st.integers(200, 599)
codes = st.frozensets(st.sampled_from(CODES), max_size=3)


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (202, "", DeleteAnswer.ACCEPTED),
        (202, "UNKNOWN", DeleteAnswer.IN_PART),
        (404, "MANIFEST_UNKNOWN", DeleteAnswer.ABSENT),
        (405, "UNSUPPORTED", DeleteAnswer.DISABLED),
        (405, "", DeleteAnswer.READ_ONLY),
        (405, "DENIED", DeleteAnswer.KEPT),
        (409, "TAG_IMMUTABLE", DeleteAnswer.PROTECTED),
        (409, "CONFLICT", DeleteAnswer.REFUSED),
        (412, "PRECONDITION", DeleteAnswer.PROTECTED),
        (412, "DENIED", DeleteAnswer.REFUSED),
        (400, "GOOGLE_MANIFEST_DANGLING_TAG", DeleteAnswer.REFUSED),
        (403, "DENIED", DeleteAnswer.REFUSED),
        (502, "", DeleteAnswer.UNKNOWN),
    ],
)
def test_the_deletion_of_a_digest(status: int, code: str, meaning: DeleteAnswer) -> None:
    assert judge_deletion(status, {code} - {""}) is meaning


@pytest.mark.parametrize(
    ("status", "code", "takes_digests", "meaning"),
    [
        (400, "DIGEST_INVALID", False, DeleteAnswer.NOT_BY_TAG),  # distribution 2.8
        (400, "UNSUPPORTED", False, DeleteAnswer.NOT_BY_TAG),  # Harbor
        (405, "UNSUPPORTED", True, DeleteAnswer.NOT_BY_TAG),  # Azure, Artifactory
        (405, "UNSUPPORTED", False, DeleteAnswer.DISABLED),
        (405, "", True, DeleteAnswer.READ_ONLY),
        (405, "DENIED", True, DeleteAnswer.KEPT),
        (409, "TAG_IMMUTABLE", True, DeleteAnswer.PROTECTED),
        (400, "NAME_INVALID", True, DeleteAnswer.REFUSED),
    ],
)
def test_the_deletion_of_a_tag(status: int, code: str, takes_digests: bool, meaning: DeleteAnswer) -> None:
    assert judge_tag_deletion(status, {code} - {""}, takes_digests=takes_digests) is meaning


@pytest.mark.property
@given(statuses, codes, st.booleans())
def test_an_unclear_answer_never_counts_as_done_and_a_refusal_never_as_unsupported(
    status: int, named: frozenset[str], takes_digests: bool
) -> None:
    found = judge_tag_deletion(status, named, takes_digests=takes_digests)
    assert (found is DeleteAnswer.ACCEPTED) == (status < 300 and not named)
    assert (found is DeleteAnswer.ABSENT) == (status == 404)
    assert (found is DeleteAnswer.UNKNOWN) == (status >= 500)
    if found is DeleteAnswer.NOT_BY_TAG:
        assert status in (400, 405)
        assert takes_digests or status == 400
        assert status == 400 or "DENIED" not in named
    else:
        assert found is judge_deletion(status, named)
