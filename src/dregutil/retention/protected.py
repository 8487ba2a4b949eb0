"""What a policy protects by now → holds on what a saved plan would remove. Pure.

Days may pass between a plan and its run: an image that has come into use since, or that the policy protects since, is
held while the run is at work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from dregutil.errors import DregutilError, NotFoundError
from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.holds import Hold
from dregutil.retention.policy import ParsedProtect
from dregutil.retention.verdict import InUse

__all__ = ["protected_by"]


class _Doomed(Protocol):
    """What goes: a digest, with the tags that go."""

    @property
    def repository(self) -> Repository: ...
    @property
    def digest(self) -> Digest: ...
    @property
    def tags(self) -> tuple[Tag, ...]: ...


def protected_by(
    protect: ParsedProtect,
    used: InUse,
    doomed: Iterable[_Doomed],
    unread: Mapping[Digest, DregutilError],
    now: datetime,
    details: Callable[[Digest], ImageDetails | None],
    since: Mapping[tuple[Repository, Digest], Mapping[Tag | None, str]] | None = None,
) -> Iterator[Hold]:
    """A hold for each of `doomed` that the policy protects, that is in use, or of which that is not known, because it
    is `unread`; and for those with a reason to stay `since` the plan was made: by tag, or None for the digest. What is
    not there any more needs no hold. `details` returns what was read, for labels."""
    for one in doomed:
        later = (since or {}).get((one.repository, one.digest), {})
        why = _protects_digest(protect, used, one, unread) or _protects_label(protect, details, one.digest)
        why = why or later.get(None, "")
        if why:
            # Its tags as well: where the digest cannot be read, they stay all the same.
            yield Hold(one.repository, now, digest=one.digest, protected=why)
        for tag in one.tags:
            held = why or _protects_tag(protect, used, one.repository, tag) or later.get(tag)
            if held:
                yield Hold(one.repository, now, tag, protected=held)


def _protects_digest(protect: ParsedProtect, used: InUse, one: _Doomed, unread: Mapping[Digest, DregutilError]) -> str:
    if any(glob.matches(one.repository) for glob in protect.repositories):
        return "its repository is protected by now"
    listed = used.digests.get((one.repository, one.digest)) or used.anywhere.get(one.digest)
    if listed:
        return f"in use by now: {listed}"
    error = unread.get(one.digest)
    if error is None or isinstance(error, NotFoundError):
        return ""
    return f"whether it is in use is not known, because it was not read: {error.message}"


def _protects_label(protect: ParsedProtect, details: Callable[[Digest], ImageDetails | None], digest: Digest) -> str:
    content = details(digest) if protect.labels else None
    found = [label.text for label in protect.labels if content is not None and label.marks(content)]
    return f"protected by now: label {found[0]}" if found else ""


def _protects_tag(protect: ParsedProtect, used: InUse, repository: Repository, tag: Tag) -> str:
    glob: Sequence[str] = [glob.text for glob in protect.tags if glob.matches(tag)]
    listed = used.tags.get((repository, tag))
    return f"protected by now: {glob[0]}" if glob else f"in use by now: {listed}" if listed else ""
