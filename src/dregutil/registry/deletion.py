"""What the answer to a DELETE means. Pure.

Servers differ most here, and a status means something else for a tag than for a digest. An unclear answer is a refusal.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

__all__ = ["DeleteAnswer", "judge_deletion", "judge_tag_deletion"]

_NOT_BY_TAG = frozenset(("DIGEST_INVALID", "UNSUPPORTED"))  # distribution 2.8; Harbor


class DeleteAnswer(enum.Enum):
    ACCEPTED = "accepted"
    IN_PART = "accepted, and then an error"  # distribution 3, where untagging failed
    ABSENT = "it is not there"
    NOT_BY_TAG = "not by tag, on this server"
    KEPT = "a child of an index that stays"  # zot
    PROTECTED = "immutable, or referred to"
    DISABLED = "deletion is disabled"
    READ_ONLY = "the registry is read-only"
    UNKNOWN = "whether it was carried out is not known"
    REFUSED = "refused for another reason"


def judge_deletion(status: int, codes: Collection[str]) -> DeleteAnswer:
    """What the answer to the DELETE of a digest means. `codes` are those of the error body, if it has any."""
    if 200 <= status < 300:
        return DeleteAnswer.IN_PART if codes else DeleteAnswer.ACCEPTED
    if status == 404:
        return DeleteAnswer.ABSENT
    if status >= 500:
        return DeleteAnswer.UNKNOWN
    if status == 405 and "DENIED" in codes:
        return DeleteAnswer.KEPT
    if status == 405:
        return DeleteAnswer.DISABLED if codes else DeleteAnswer.READ_ONLY
    is_immutable = any("IMMUTABLE" in code for code in codes)
    if "DENIED" not in codes and (status == 412 or (status == 409 and is_immutable)):
        return DeleteAnswer.PROTECTED
    return DeleteAnswer.REFUSED


def judge_tag_deletion(status: int, codes: Collection[str], *, takes_digests: bool) -> DeleteAnswer:
    """What the answer to the DELETE of a tag by its name means.

    `takes_digests`: the server accepted a DELETE of a digest in the same repository before. Then "disabled" (405) means
    tags only, as on Azure and Artifactory.
    """
    found = judge_deletion(status, codes)
    if found is DeleteAnswer.DISABLED and takes_digests:
        return DeleteAnswer.NOT_BY_TAG
    return DeleteAnswer.NOT_BY_TAG if status == 400 and not _NOT_BY_TAG.isdisjoint(codes) else found
