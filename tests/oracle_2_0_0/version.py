"""Versions as people write them into tags, and one total order over all tags.

An optional word, an optional `v`, numbers, an optional pre-release, an optional variant: `v1.4-rc1`, `1.4-alpine`,
`release-2.0`. Numbers come first (`1.4` is `1.4.0`), then a pre-release below its release, then the plain version
below its variants. A tag that is no version (`latest`, `main`, a git hash) comes after all that are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dregutil.oci.names import parse_signature_tag

__all__ = ["OrderKey", "Version", "parse_version", "tag_order"]

_HASH = re.compile(r"(?=[0-9]*[a-f])[0-9a-f]{7,40}", re.IGNORECASE)
_VERSION = re.compile(
    r"""
    (?P<word>(?:[A-Za-z][A-Za-z0-9_.-]*?[._-])??)
    v?
    (?P<numbers>[0-9]++(?:\.[0-9]++)*+)
    (?:[._-]?(?P<pre>alpha|beta|preview|pre|rc|dev|snapshot|milestone|a|b|c|m)[._-]?(?P<pre_number>[0-9]*)
       (?=$|[._+-]))?
    (?P<variant>(?:[._+-].+)?)
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Spellings of one stage sort as one; `snapshot` and `dev` are before everything that was meant to be released.
_STAGES = {
    "dev": 0,
    "snapshot": 0,
    "a": 1,
    "alpha": 1,
    "m": 2,
    "milestone": 2,
    "b": 3,
    "beta": 3,
    "c": 4,
    "pre": 4,
    "preview": 4,
    "rc": 4,
}
_RELEASE = 9
_LONGEST = 128  # characters: no tag has more, and Python reads no number of thousands of digits
_DIGITS = re.compile(r"([0-9]+)")

OrderKey = tuple[object, ...]


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """What a tag says of a version; ordered. `word` stands before the numbers (`release-`), in lower case.

    `numbers` are without closing zeros. `stage` and `stage_number` place a pre-release below its release. `variant`
    has its numbers apart, so that `_9` comes before `_10`.
    """

    numbers: tuple[int, ...]
    stage: int
    stage_number: int
    variant: tuple[tuple[int, str], ...]
    word: str = ""


def parse_version(tag: str) -> Version | None:
    """The version that a tag speaks of, or None: for a name, or a git hash (7 to 40 hex digits with a letter)."""
    if len(tag) > _LONGEST or _HASH.fullmatch(tag) or parse_signature_tag(tag) is not None:
        return None
    found = _VERSION.fullmatch(tag)
    if found is None:
        return None
    numbers = [int(number) for number in found["numbers"].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    pre = found["pre"]
    return Version(
        tuple(numbers),
        _RELEASE if pre is None else _STAGES[pre.lower()],
        int(found["pre_number"] or 0),
        _natural(found["variant"]),
        found["word"].lower().rstrip("._-"),
    )


def tag_order(tag: str) -> OrderKey:
    """A key that sorts any tags: versions first, by their word, then as they are ordered; names settle ties."""
    version = parse_version(tag)
    if version is None:
        return (1, _natural(tag), tag)
    return (0, version.word, version, tag)


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    parts = (part for part in _DIGITS.split(text) if part)
    return tuple((int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts)
