"""Which tags are meant: exact names, version comparisons, regular expressions, and what is excluded."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from dregutil.errors import UsageError
from dregutil.oci.names import Tag, parse_signature_tag
from oracle_2_0_0.version import Version, parse_version

__all__ = ["Comparison", "Every", "Exact", "Pattern", "TagSelector", "parse_selector"]

_COMPARISONS: dict[str, Callable[[Version, Version], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_MISWRITTEN = {"=": "==", "===": "==", "=<": "<=", "=>": ">="}


@dataclass(frozen=True, slots=True)
class Exact:
    """One tag, by its whole name."""

    name: str

    def matches(self, tag: str) -> bool:
        return tag == self.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """`<1.4`: versions with the same word before their numbers, on one side of a version."""

    sign: str
    version: Version

    def matches(self, tag: str) -> bool:
        if parse_signature_tag(tag) is not None:
            return False
        found = parse_version(tag)
        return found is not None and self.holds(found)

    def holds(self, version: Version) -> bool:
        """Whether a version has the same word before its numbers, and is on the right side."""
        return version.word == self.version.word and _COMPARISONS[self.sign](version, self.version)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that matches from the start of the tag, or all of it."""

    expression: re.Pattern[str]
    whole: bool = False

    def matches(self, tag: str) -> bool:
        if parse_signature_tag(tag) is not None:
            return False
        found = self.expression.fullmatch(tag) if self.whole else self.expression.match(tag)
        return found is not None


@dataclass(frozen=True, slots=True)
class Every:
    """Every tag but those of signatures, which are matched by their exact name only."""

    def matches(self, tag: str) -> bool:
        return parse_signature_tag(tag) is None


Selector = Exact | Comparison | Pattern | Every


def parse_selector(text: str) -> Exact | Comparison:
    """Read a tag, or one of `<`, `>`, `<=`, `>=`, `==` and a version. Raises UsageError."""
    for sign in _COMPARISONS:
        if text.startswith(sign):
            version = parse_version(text[len(sign) :].strip())
            if version is None:
                raise UsageError(
                    f"the selector {text!r} has no version after '{sign}'",
                    advice="write a version after it, such as '<1.4', and quote it: the shell takes < and > for itself",
                )
            return Comparison(sign, version)
    if not text:
        raise UsageError("an empty tag selects nothing", advice="name a tag, or a version such as '<1.4'")
    try:
        return Exact(Tag.parse(text))
    except UsageError as error:
        raise UsageError(
            f"{text[:150]!r} is no tag and no version selector", advice=_meant(text) or error.advice
        ) from error


def _meant(text: str) -> str:
    """What somebody may mean by a text that can be no tag."""
    pattern = "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign) if sign in ".+" else sign) for sign in text)
    if re.fullmatch(r"[A-Za-z0-9._*?-]+", text):
        return f"a pattern goes to -re (or -xre): '{pattern}'"
    sign, rest = re.fullmatch(r"([=<>!~^]*)\s*(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if sign in _MISWRITTEN and parse_version(rest) is not None:
        return f"did you mean '{_MISWRITTEN[sign]}{rest}'?"
    if sign and parse_version(rest) is not None:
        return "versions are compared by <, <=, ==, >= and >; -x leaves out what it names"
    if " " in text.strip():
        return "each tag is an argument of its own: -t 1.0 1.1"
    return ""


def parse_pattern(text: str, *, whole: bool = False) -> Pattern:
    """Compile a regular expression. Raises UsageError."""
    try:
        return Pattern(re.compile(text), whole)
    except (re.error, OverflowError, RecursionError) as error:
        raise UsageError(
            f"the regular expression {text!r} does not compile: {error}",
            advice="Python's syntax is meant; quote it for the shell",
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
        """Read selectors as the command line has them. Raises UsageError."""
        return cls(
            (*map(parse_selector, tags), *(parse_pattern(text, whole=full_match) for text in regex)),
            (*map(parse_selector, exclude), *(parse_pattern(text, whole=full_match) for text in exclude_regex)),
        )

    def matches(self, tag: str) -> bool:
        return any(selector.matches(tag) for selector in self.include) and not self.excludes(tag)

    def excludes(self, tag: str) -> bool:
        return any(selector.matches(tag) for selector in self.exclude)
