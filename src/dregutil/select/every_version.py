"""Selectors that together match every version: usually the two ends of a range, written as two selectors. Pure.

A set of comparisons changes its answer only at the versions that they name. So it matches every version if it matches
the lowest one, each version that it names, and the next one above each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dregutil.select.selector import Comparison, Range, Selector
from dregutil.select.version import Version, read_version

__all__ = ["EVERY_VERSION_ADVICE", "EveryVersion", "every_version"]

EVERY_VERSION_ADVICE = "comparisons in one selector hold together; to select every tag, use the regular expression '.'"

_STAGES = {0: "dev", 1: "alpha", 2: "m", 3: "beta", 5: "rc", 6: "incubating"}
_BARE_DATE = 3  # numbers in a date without a time


@dataclass(frozen=True, slots=True)
class EveryVersion:
    """Selectors, as they were `given`, that together match every version, and the range that was probably `meant`:
    empty if no version matches all of them. `word`: the word before the numbers."""

    given: tuple[str, ...]
    meant: str
    word: str = ""

    def text(self, option: str, verb: str = "select") -> str:
        """The warning, for selectors that were given with `option`, such as `-t`, or with a keyword, such as `tags`."""
        word = f" that begins with '{self.word}'" if self.word else ""
        meant = f"; did you mean {_written(option, (self.meant,))}?" if self.meant else ""
        return f"{_written(option, self.given)} together {verb} every version{word}{meant}"


def every_version(texts: Sequence[str], selectors: Sequence[Selector]) -> EveryVersion | None:
    """The fewest of the `selectors` that together, but not alone, match every version with the same word before its
    numbers; None if there are none. `texts`: the selectors as given.

    Left out of account: a tag that can be read in two ways, and letters, hashes and build metadata after a version.
    """
    by_word: dict[str, dict[str, tuple[Comparison, ...]]] = {}
    for text, selector in zip(texts, selectors, strict=False):
        comparisons = _comparisons(selector)
        words = {one.meant.word for one in comparisons}
        if len(words) == 1:  # a range over two words matches nothing
            by_word.setdefault(words.pop(), {})[text] = comparisons
    for word, given in by_word.items():
        if not _is_every(word, tuple(given.values())):
            continue
        for text in tuple(given):
            fewer = {one: given[one] for one in given if one != text}
            given = fewer if _is_every(word, tuple(fewer.values())) else given
        if len(given) > 1:
            return EveryVersion(tuple(given), _meant(word, given), word)
    return None


def _written(option: str, texts: Sequence[str]) -> str:
    return " ".join((option, *map(repr, texts))) if option.startswith("-") else f"{option}={list(texts)}"


def _comparisons(selector: Selector) -> tuple[Comparison, ...]:
    if isinstance(selector, Range):
        return selector.comparisons
    return (selector,) if isinstance(selector, Comparison) else ()


def _is_every(word: str, ranges: Sequence[Sequence[Comparison]]) -> bool:
    return bool(ranges) and all(any(_takes(one, tag) for one in ranges) for tag in _probes(word, ranges))


def _takes(comparisons: Iterable[Comparison], tag: str) -> bool:
    reading = read_version(tag)
    return all(comparison.takes(reading) for comparison in comparisons)


def _probes(word: str, ranges: Iterable[Iterable[Comparison]]) -> Iterator[str]:
    """The lowest version, each version that a comparison names, and the next above it, as tags."""
    yield _tag(Version((0,), 0, 0, (), word=word))
    for comparison in (one for comparisons in ranges for one in comparisons):
        for version in (comparison.meant, comparison.literal):
            if version is None or version.stage not in (*_STAGES, 9):
                continue
            for tag in (_tag(version), _tag(_next(version))):
                found = read_version(tag)
                is_plain = found.rival is None and not found.is_doubtful
                if is_plain and found.meant is not None and found.meant.word == word:
                    yield tag
            if version.is_bare_date and len(version.numbers) == _BARE_DATE:
                yield "".join(f"{number:02}" for number in version.numbers)


def _next(version: Version) -> Version:
    """The lowest version above: its variant goes on by as little as possible."""
    if not version.variant:
        return replace(version, variant=((-1, "-"), (0, "")))
    is_text = version.variant[-1][0] < 0
    return replace(version, variant=(*version.variant, (0, "") if is_text else (-1, "-")))


def _tag(version: Version) -> str:
    """A version as a tag, without letter, hash and build metadata."""
    word = f"{version.word}-" if version.word else ""
    numbers = ".".join(map(str, version.numbers if len(version.numbers) > 1 else (*version.numbers, 0)))
    stage = f"-{_STAGES[version.stage]}{version.stage_number}" if version.stage in _STAGES else ""
    variant = "".join(text or str(number) for number, text in version.variant)
    return f"{word}{numbers}{stage}{variant}"


def _meant(word: str, given: dict[str, tuple[Comparison, ...]]) -> str:
    """All comparisons in one selector, the lower bounds first; empty if no version matches all of them."""
    texts = sorted(given, key=lambda text: not text.startswith(">"))
    whole = tuple(one for comparisons in given.values() for one in comparisons)
    return " ".join(texts) if any(_takes(whole, tag) for tag in _probes(word, given.values())) else ""
