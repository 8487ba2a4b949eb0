"""Versions in tags, how certain each reading is, and a total order of all tags.

A tag is read once, into a `Reading`: the version that it *means* by convention, and the one that it states *literally*:
an optional word, an optional `v`, numbers, an optional pre-release, an optional variant (`v1.4-rc1`, `1.4-alpine`,
`release-2.0`). Mostly both are the same. If they differ and the reading is doubtful, a selector matches only if both
do, while an exclusion or a keep rule matches if either does.

The order: numbers first (`1.4` equals `1.4.0`, dates in any form are year, month, day), then a pre-release below its
release, then the plain version below its variants. Tags that are not versions (`latest`, `main`, a git hash) come last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache

from dregutil.oci.names import parse_signature_tag

__all__ = ["OrderKey", "Reading", "Version", "parse_version", "read_version", "tag_order"]

_VERSION = re.compile(
    r"""
    (?P<word>(?:[A-Za-z][A-Za-z0-9_.-]*?[._-])??)
    (?P<body>v?
    (?P<numbers>[0-9]++(?:\.[0-9]++)*+)
    (?:(?P<pre_sign>[._-]?)(?P<pre>alpha|beta|preview|pre|rc|dev|snapshot|milestone|a|b|c|m)[._-]?(?P<pre_number>[0-9]*)
       (?=$|[._+-]))?
    (?P<variant>(?:[._+-].+)?))
    """,
    re.VERBOSE | re.IGNORECASE,
)
# All spellings of a stage are equal; `snapshot` and `dev` come before every pre-release.
_STAGES = {
    "dev": 0,
    "snapshot": 0,
    "a": 1,
    "alpha": 1,
    "ea": 1,
    "eap": 1,
    "m": 2,
    "milestone": 2,
    "b": 3,
    "beta": 3,
    "c": 5,
    "cr": 5,
    "pre": 5,
    "preview": 5,
    "rc": 5,
    "incubating": 6,
}
_SNAPSHOT, _PREVIEW, _ROLLING, _RELEASE = 0, 4, 8, 9
_LONGEST = 128  # characters, the most that a tag can have; Python refuses numbers with thousands of digits
_DIGITS = re.compile(r"([0-9]+)")
_END = r"(?=$|[._+-])"

_HASH = re.compile(r"[0-9a-f]{7,40}", re.IGNORECASE)
_SHORTEST_HASH = 7
_FIRST_DATE = 1970_01_01
_LAST_DAY = (12, 31)
_HASH_FIRST = re.compile(r"([0-9a-f]{7,40})(?=$|[_+-]|\.(?![0-9]))", re.IGNORECASE)
_HASH_INSIDE = re.compile(rf"[._+-](?:g|(?=[0-9]*[a-f])(?=[a-f]*[0-9]))[0-9a-f]{{7,40}}{_END}", re.IGNORECASE)
_BARE_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?")
_DATE = re.compile(
    rf"v?([0-9]{{4}})([_-])([0-9]{{2}})(?:\2([0-9]{{1,2}})(?=$|[._+-]|T[0-9])|{_END})(.*)", re.IGNORECASE
)
_GROUPS = re.compile(rf"v?(?:([0-9]+(?:_[0-9]+){{2,}}){_END}([^_].*)?|([0-9]+(?:-[0-9]+){{2,}}))", re.IGNORECASE)
_MOVING = re.compile(rf"v?[0-9]+(?:\.[0-9]+)*[._-]x{_END}.*", re.IGNORECASE)
_LETTER = re.compile(
    rf"(?P<word>(?:[A-Za-z][A-Za-z0-9_.-]*?[._-])??)v?(?P<numbers>[0-9]++(?:\.[0-9]++)++)(?P<letter>[a-wyz]){_END}"
    r"(?P<variant>.*)",
    re.IGNORECASE,
)
_FIRST_WORD = re.compile(r"[._-]([a-z]+)", re.IGNORECASE)
_WORD_ALONE = re.compile(rf"[._-][a-z]+{_END}(.*)", re.IGNORECASE)
_NUMBERED_WORD = re.compile(rf"[._-][a-z]+[._-]?([0-9]*){_END}(.*)", re.IGNORECASE)
_MAVEN_SNAPSHOT = re.compile(rf"-[0-9]{{8}}\.[0-9]{{6}}-[0-9]+{_END}")
_ROLLING_BUILDS = frozenset({"ci", "nightly", "canary", "unstable", "edge", "next", "insider", "insiders"})
_RELEASED = frozenset({"final", "ga", "release"})
_BUILD = re.compile(r"([a-z]*)[._-]?([0-9].*)", re.IGNORECASE)

OrderKey = tuple[object, ...]
_Natural = tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version; ordered. `word` precedes the numbers (`release-`), in lower case.

    `numbers` have no trailing zeros. `stage` and `stage_number` order a pre-release below its release. `variant` has
    its numbers split off, so that `_9` comes before `_10`. `letter` is that of `1.0.2a`, `commit` a git hash after the
    version, `build` the build metadata that Helm writes after `+`. `is_bare_date`: written without separators,
    `20240501`.
    """

    numbers: tuple[int, ...]
    stage: int
    stage_number: int
    variant: _Natural
    letter: str = ""
    commit: str = ""
    build: tuple[object, ...] = ()
    word: str = ""
    is_bare_date: bool = field(default=False, compare=False)

    @property
    def place(self) -> OrderKey:
        """The part that ranks a tag: letters, hashes and build metadata do not tell which image is newer."""
        return (self.numbers, self.stage, self.stage_number, self.variant)

    @property
    def is_date(self) -> bool:
        """Whether its numbers can be a date, with at least a year and a month."""
        return len(self.numbers) > 1 and _is_date(*self.numbers[:2])

    def without_build(self) -> Version:
        return replace(self, build=()) if self.build else self


@dataclass(frozen=True, slots=True)
class Reading:
    """The version in a tag, by convention and literally; each is None if it is not a version.

    `rival`: another version by which it may be ranked, if any. `is_doubtful`: either of the two readings may be right.
    """

    meant: Version | None
    literal: Version | None
    rival: Version | None = None
    is_doubtful: bool = False


_NO_VERSION = Reading(None, None)


def parse_version(tag: str) -> Version | None:
    """The version that a tag most likely means; None for a name or a git hash."""
    return read_version(tag).meant


@lru_cache(maxsize=1 << 14)  # a tag is read several times: to select it, to judge it, to sort it
def read_version(tag: str) -> Reading:
    """Read the version in a tag."""
    if len(tag) > _LONGEST or tag.isalpha() or parse_signature_tag(tag) is not None:
        return _NO_VERSION
    if _HASH.fullmatch(tag) and not tag.isdecimal():
        return _NO_VERSION
    found = _VERSION.fullmatch(tag)
    if found is None:
        return _lettered(tag)
    literal = _literal(found)
    body = found["body"]
    if _is_hash(body):
        return Reading(None, literal, is_doubtful=True)
    if body == found["numbers"] and literal.numbers[0] < _FIRST_DATE:
        return Reading(literal, literal)  # such as 1.4.2, the most common form
    if _MOVING.fullmatch(body):
        return Reading(None, literal)
    return _dated(found, literal) or _grouped(body, literal) or _conventional(found, literal)


def tag_order(tag: str) -> OrderKey:
    """A sort key for all tags: versions first, by their word and then by their order; ties are sorted by name."""
    version = parse_version(tag)
    if version is None:
        return (1, _natural(tag), tag)
    return (0, version.word, version, tag)


def _literal(found: re.Match[str]) -> Version:
    pre = found["pre"]
    return Version(
        _numbers(found["numbers"].split(".")),
        _RELEASE if pre is None else _STAGES[pre.lower()],
        int(found["pre_number"] or 0),
        _natural(found["variant"]),
        word=_word(found),
    )


def _is_hash(body: str) -> bool:
    """Whether the part after the word begins with 7 to 40 hex digits that are not a date."""
    found = _HASH_FIRST.match(body) if len(body) >= _SHORTEST_HASH else None
    return found is not None and _bare_date(found[1]) is None


def _dated(found: re.Match[str], literal: Version) -> Reading | None:
    """Read a date in any form: `20240828`, `20240828.1`, `202408281530`, `2024-08-28`, `2024_08`."""
    first, *more = found["numbers"].split(".")
    numbers = _bare_date(first)
    if numbers is not None:
        numbers = _numbers([*map(str, numbers), *more])
        return _with_commit(replace(literal, numbers=numbers, is_bare_date=True), found["variant"], literal)
    dashed = _DATE.fullmatch(found["body"])
    if dashed is None:
        return None
    year, _, month, day, variant = dashed.groups()
    numbers = tuple(int(part) for part in (year, month, day) if part)
    if not _is_date(*numbers):
        return None
    return _with_commit(Version(numbers, _RELEASE, 0, _natural(variant), word=literal.word), variant, literal)


def _grouped(body: str, literal: Version) -> Reading | None:
    """Read three or more groups of digits: `1_9_0`, `1-9-0`. Those with `_` may have a variant (`1_9_0-alpine`)."""
    found = _GROUPS.fullmatch(body)
    if found is None:
        return None
    numbers = _numbers(re.split("[_-]", found[1] or found[3]))
    return Reading(Version(numbers, _RELEASE, 0, _natural(found[2] or ""), word=literal.word), literal)


def _conventional(found: re.Match[str], literal: Version) -> Reading:
    """Read the words and signs after the numbers by convention."""
    pre, variant = found["pre"], found["variant"]
    if pre is not None:
        if len(pre) == 1 and not found["pre_sign"] and not found["pre_number"]:
            return Reading(replace(literal, stage=_RELEASE, letter=pre.lower()), literal, literal, is_doubtful=True)
        if pre.lower() in ("pre", "preview"):
            return Reading(replace(literal, stage=_PREVIEW), literal, literal, is_doubtful=True)
    elif variant:
        reading = _worded(variant, literal)
        if reading is not None:
            return reading
    if variant[:1] in ("_", "+"):
        plain = replace(literal, variant=())
        if "." not in found["numbers"] and variant[1:2].isdecimal():
            return Reading(literal, literal, plain)  # `1_9` may mean 1.9, so a selector for 1 does not match it
        return Reading(replace(plain, build=_build(variant[1:])), literal, literal)
    if variant and len(literal.numbers) == 1 and _is_date(*literal.numbers, 1):
        # `2024-lts` may be the newest of its year.
        return Reading(literal, literal, replace(literal, numbers=(*literal.numbers, *_LAST_DAY)))
    return _with_commit(literal, variant, literal)


def _worded(variant: str, literal: Version) -> Reading | None:
    """Read the first word after the numbers of a release."""
    found = _FIRST_WORD.match(variant)
    if found is None:
        if _MAVEN_SNAPSHOT.match(variant):
            return Reading(replace(literal, stage=_SNAPSHOT), literal)
        return None
    word = found[1].lower()
    if word in _ROLLING_BUILDS:
        return Reading(replace(literal, stage=_ROLLING), literal, literal, is_doubtful=True)
    if word in _RELEASED and (released := _WORD_ALONE.fullmatch(variant)):
        return Reading(replace(literal, variant=_natural(released[1])), literal)
    if word in _STAGES and (later := _NUMBERED_WORD.fullmatch(variant)):
        number, rest = int(later[1] or 0), _natural(later[2])
        return Reading(replace(literal, stage=_STAGES[word], stage_number=number, variant=rest), literal)
    return None


def _with_commit(version: Version, variant: str, literal: Version) -> Reading:
    """Split off a git hash in the variant: it does not tell which version is newer."""
    commit = _HASH_INSIDE.search(variant) if len(variant) > _SHORTEST_HASH else None
    if commit is None:
        return Reading(version, literal)
    rest = _natural(variant[: commit.start()] + variant[commit.end() :])
    return Reading(replace(version, variant=rest, commit=commit[0].lower()), literal, version)


def _lettered(tag: str) -> Reading:
    """Read `1.0.2k`: a letter that is not a pre-release is a patch."""
    found = _LETTER.fullmatch(tag)
    if found is None:
        return _NO_VERSION
    numbers = _numbers(found["numbers"].split("."))
    meant = Version(numbers, _RELEASE, 0, _natural(found["variant"]), found["letter"].lower(), word=_word(found))
    return Reading(meant, None)


def _bare_date(digits: str) -> tuple[int, ...] | None:
    """The numbers of `YYYYMMDD`, `YYYYMMDDhhmm` or `YYYYMMDDhhmmss`; None if these digits are not a date."""
    found = _BARE_DATE.fullmatch(digits)
    if found is None:
        return None
    numbers = tuple(int(part) for part in found.groups() if part is not None)
    is_time = all(number < limit for number, limit in zip(numbers[3:], (24, 60, 60), strict=False))
    return numbers if is_time and _is_date(*numbers[:3]) else None


def _is_date(year: int, month: int, day: int = 1) -> bool:
    if not 1970 <= year < 2100:
        return False
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _build(text: str) -> tuple[object, ...]:
    """A sort key for build metadata: as a version, if it has one (`up0.7.0-rc.1`)."""
    found = _BUILD.fullmatch(text)
    version = None if found is None else _VERSION.fullmatch(found[2])
    if found is None or version is None:
        return (1, _natural(text))
    return (0, found[1].lower(), _literal(version))


def _word(found: re.Match[str]) -> str:
    return found["word"].lower().rstrip("._-")


def _numbers(parts: list[str]) -> tuple[int, ...]:
    numbers = [int(number) for number in parts]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _natural(text: str) -> _Natural:
    parts = (part for part in _DIGITS.split(text) if part)
    return tuple((int(part), "") if part.isdecimal() else (-1, part.lower()) for part in parts)
