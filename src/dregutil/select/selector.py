"""Tag selectors: exact names, version comparisons and ranges, regular expressions, and exclusions.

A selector sees one tag at a time. What needs the other tags of a repository belongs in `selection`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from dregutil.errors import UsageError
from dregutil.oci.names import Tag, as_tag, parse_signature_tag
from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.version import Reading, Version, read_version

__all__ = [
    "Comparison",
    "Every",
    "Exact",
    "Pattern",
    "Range",
    "Selector",
    "TagSelector",
    "parse_comparisons",
    "parse_selector",
]

_COMPARISONS: dict[str, Callable[[Version, Version], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_MISWRITTEN = {"=": "==", "===": "==", "=<": "<=", "=>": ">="}
_BETWEEN = re.compile(r"(?<=[,\s])(?=[<>=])")
_NO_VERSION = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Exact:
    """One tag, by its whole name."""

    name: str

    def matches(self, tag: str) -> bool:
        return tag == self.name

    may_match = matches  # a name is never doubtful


@dataclass(frozen=True, slots=True)
class Comparison:
    """`<1.4`: the versions on one side of a version, with the same word before their numbers.

    If a tag can be read in two ways, it *takes* the tag only if every reading in doubt is on that side, and *may take*
    it if any reading is.
    """

    sign: str
    meant: Version
    literal: Version | None
    is_doubtful: bool

    def matches(self, tag: str) -> bool:
        return self.takes(read_version(tag))

    def may_match(self, tag: str) -> bool:
        return self.may_take(read_version(tag))

    def takes(self, reading: Reading) -> bool:
        """Whether a version is certainly on this side; decides what is removed."""
        found = reading.meant
        if found is None or not self._holds(found, self.meant):
            return False
        if found.is_bare_date and not self.meant.is_date:
            return False
        is_read_as_date = self.meant.is_date and self.meant != self.literal  # `2024-06-01`, and `2024-lts` beside it
        is_doubtful = reading.is_doubtful or self.is_doubtful or (is_read_as_date and not found.is_date)
        return not is_doubtful or self._holds(reading.literal, self.literal)

    def may_take(self, reading: Reading) -> bool:
        """Whether a version may be on this side; decides what is kept."""
        return self._holds(reading.meant, self.meant) or self._holds(reading.literal, self.literal)

    def _holds(self, found: Version | None, against: Version | None) -> bool:
        if found is None or against is None or found.word != against.word:
            return False
        return _COMPARISONS[self.sign](found if against.build else found.without_build(), against)


@dataclass(frozen=True, slots=True)
class Range:
    """`>=1.2 <1.3`: the versions that all `comparisons` match."""

    comparisons: tuple[Comparison, ...]

    def matches(self, tag: str) -> bool:
        reading = read_version(tag)
        return all(comparison.takes(reading) for comparison in self.comparisons)

    def may_match(self, tag: str) -> bool:
        reading = read_version(tag)
        return all(comparison.may_take(reading) for comparison in self.comparisons)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that matches from the start of the tag, or all of it."""

    expression: BoundedRegex
    whole: bool

    def matches(self, tag: str) -> bool:
        if parse_signature_tag(tag) is not None:
            return False
        found = self.expression.fullmatch(tag) if self.whole else self.expression.match(tag)
        return found is not None

    may_match = matches


@dataclass(frozen=True, slots=True)
class Every:
    """Every tag except signature tags, which are matched only by their exact name."""

    def matches(self, tag: str) -> bool:
        return parse_signature_tag(tag) is None

    may_match = matches


Selector = Exact | Comparison | Range | Pattern | Every


def parse_selector(text: str) -> Exact | Comparison | Range:
    """Parse a tag, or comparisons that must all match. Raises UsageError."""
    if text.startswith(tuple(_COMPARISONS)):
        comparisons = parse_comparisons(text)
        return comparisons[0] if len(comparisons) == 1 else Range(comparisons)
    if not text:
        raise UsageError("an empty tag selects nothing", advice="name a tag, or a version such as '<1.4'")
    try:
        return Exact(Tag.parse(as_tag(text)))
    except UsageError as error:
        raise UsageError(
            f"{text[:150]!r} is neither a tag nor a version selector", advice=_meant(text) or error.advice
        ) from error


def parse_comparisons(text: str) -> tuple[Comparison, ...]:
    """Parse `>=1.2`, or several comparisons with spaces or commas between them: `>=1.2 <1.3`. Raises UsageError."""
    return tuple(_comparison(part.rstrip(", \t\r\n")) for part in _BETWEEN.split(text.strip(", ")))


def _comparison(text: str) -> Comparison:
    sign = next(filter(text.startswith, _COMPARISONS), None)
    if sign is None:
        raise UsageError(f"{text!r} is not a comparison of versions, such as '>=1.0'")
    version = as_tag(text[len(sign) :].strip())
    reading = read_version(version)
    meant = reading.meant or reading.literal  # after an operator, 4829103 is a version
    if meant is None or _NO_VERSION.search(version):
        advice = "write a version after it, such as '<1.4', and quote it: < and > are special in the shell"
        if re.search(r"[<>=]", version):
            advice = "write a space between comparisons that hold together, such as '>=1.2 <1.3'"
        raise UsageError(f"the selector {text!r} has no version after '{sign}'", advice=advice)
    return Comparison(sign, meant, reading.literal, reading.is_doubtful)


def _meant(text: str) -> str:
    """What the user may have meant by a text that cannot be a tag."""
    if "/" in text and not text.startswith(tuple(_COMPARISONS)):
        return "no tag has a slash; if it is a repository, name it before the selectors"
    pattern = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign) if sign in ".+" else sign) for sign in text)
    if re.fullmatch(r"[A-Za-z0-9._*?-]+", text):
        return f"for a pattern, use -re (or -xre): '{pattern}'"
    sign, rest = re.fullmatch(r"([=<>!~^]*)\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if sign in _MISWRITTEN and _is_version(rest):
        return f"did you mean '{_MISWRITTEN[sign]}{rest}'?"
    if sign and _is_version(rest):
        return "versions are compared with <, <=, ==, >= and >; -x excludes tags"
    if " " in text.strip():
        return "write each tag as a separate argument: -t 1.0 1.1"
    return ""


def _is_version(text: str) -> bool:
    reading = read_version(text)
    return reading.meant is not None or reading.literal is not None


def parse_pattern(text: str, *, whole: bool = False) -> Pattern:
    """Compile a regular expression. Raises UsageError."""
    try:
        return Pattern(BoundedRegex(text), whole)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"the regular expression {text!r} does not compile: {error}",
            advice="the syntax is that of Python; quote it for the shell",
        ) from error


@dataclass(frozen=True, slots=True)
class TagSelector:
    """A tag is selected when one of `include` matches it and none of `exclude` does."""

    include: tuple[Selector, ...]
    exclude: tuple[Selector, ...] = ()

    @classmethod
    def build(
        cls,
        tags: Iterable[str] = (),
        regex: Iterable[str] = (),
        exclude: Iterable[str] = (),
        exclude_regex: Iterable[str] = (),
        *,
        full_match: bool = False,
    ) -> Self:
        """Parse selectors as on the command line, each a list. Raises UsageError, and TypeError for a string."""
        for given in (tags, regex, exclude, exclude_regex):
            if isinstance(given, str):
                raise TypeError(f"expected a list of selectors, such as [{given!r}]")
        return cls(
            (*map(parse_selector, tags), *(parse_pattern(text, whole=full_match) for text in regex)),
            (*map(parse_selector, exclude), *(parse_pattern(text, whole=full_match) for text in exclude_regex)),
        )

    def matches(self, tag: str) -> bool:
        return any(selector.matches(tag) for selector in self.include) and not self.excludes(tag)

    def excludes(self, tag: str) -> bool:
        return any(selector.may_match(tag) for selector in self.exclude)
