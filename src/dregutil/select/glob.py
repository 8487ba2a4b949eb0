"""Globs for names of repositories, tags and media types. They always match the whole name. Pure.

`*` matches any characters except `/`, `**` any characters, `**/` also nothing; `?` matches one character except `/`;
`[a-c]` and `[!a-c]` are sets, which never match `/`; `{one,two}` matches either; a backslash escapes a character.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

__all__ = ["Glob", "is_glob", "parse_glob"]

_LONGEST = 1000  # characters of a glob
_MOST_STARS = 5  # no name has enough parts for more
_MOST_PLACES = 2000  # sets of places that are cached
_STARS = re.compile(r"\*+")
_SPECIAL = re.compile(r"[*?\[\]{}\\]")

_NAMES = "abcdefghijklmnopqrstuvwxyz0123456789/-_."  # the characters of repositories' names

_Test = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Glob:
    """A glob. `is_plain`: the text is a name without special characters."""

    text: str
    _places: _Places = field(compare=False, repr=False)
    is_plain: bool = False

    def matches(self, name: str) -> bool:
        return name == self.text if self.is_plain else self._places.match(name)

    def shared(self, other: Glob) -> str:
        """A shortest text that both match, of the characters of repositories' names; empty if there is none."""
        return self._places.shared(other._places)


def is_glob(text: str) -> bool:
    """Whether a text has a special character of globs; no name of a repository or tag has one."""
    return _SPECIAL.search(text) is not None


@lru_cache(maxsize=1024)
def parse_glob(text: str) -> Glob:
    """Parse a glob. Raises ValueError if it is empty or too long, or a bracket is not closed."""
    if not text:
        raise ValueError("an empty glob matches nothing")
    if len(text) > _LONGEST:
        raise ValueError(f"a glob can have at most {_LONGEST:,} characters, not {len(text):,}")
    if len(_STARS.findall(text)) > _MOST_STARS:
        raise ValueError(f"{text!r}: a glob can have at most {_MOST_STARS} wildcards *")
    return Glob(text, _Parser(text).places(), is_plain=not is_glob(text))


def _anything(_: str) -> bool:
    return True


def _in_a_part(sign: str) -> bool:
    return sign != "/"


@dataclass(frozen=True, slots=True)
class _Row:
    """A set of places in a glob that are reached after some characters, and the set after each next character."""

    places: frozenset[int]
    is_end: bool
    following: dict[str, _Row] = field(default_factory=dict)


class _Places:
    """A glob as a nondeterministic automaton. Its states are places, from 0 to `end`.

    A name is read once, with the set of all places that it has reached, so the time is linear in the length of the name
    whatever the number of alternatives. The set after each character is cached.
    """

    def __init__(self, free: dict[int, list[int]], steps: dict[int, list[tuple[_Test, int]]], end: int) -> None:
        self._free, self._steps, self._end = free, steps, end
        self._rows: dict[frozenset[int], _Row] = {}
        self._first = self._row([0])

    def match(self, name: str) -> bool:
        row = self._first
        for sign in name:
            following = row.following.get(sign)
            row = following if following is not None else self._follow(row, sign)
            if not row.places:
                return False
        return row.is_end

    def shared(self, other: _Places) -> str:
        """A shortest text that both match, of the characters of repositories' names; empty if there is none."""
        first = (self._first.places, other._first.places)
        waiting, seen = [(first, "")], {first}
        for (mine, its), text in waiting:  # grows while it is read
            for sign in _NAMES:
                after = (self._after(mine, sign), other._after(its, sign))
                if after[0] and after[1] and after not in seen:
                    seen.add(after)
                    waiting.append((after, text + sign))
                    if self._end in after[0] and other._end in after[1]:
                        return text + sign
        return ""

    def _after(self, places: frozenset[int], sign: str) -> frozenset[int]:
        return self._follow(self._row(places), sign).places

    def _follow(self, row: _Row, sign: str) -> _Row:
        after = (to for place in row.places for test, to in self._steps.get(place, ()) if test(sign))
        row.following[sign] = found = self._row(after)
        return found

    def _row(self, places: Iterable[int]) -> _Row:
        waiting = list(places)
        reached = set(waiting)
        while waiting:
            more = [to for to in self._free.get(waiting.pop(), ()) if to not in reached]
            reached.update(more)
            waiting += more
        found = frozenset(reached)
        if len(self._rows) >= _MOST_PLACES:
            for row in self._rows.values():
                row.following.clear()
            self._rows.clear()
        return self._rows.setdefault(found, _Row(found, self._end in found))


class _Parser:
    """Parses the text of a glob."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._free: dict[int, list[int]] = {}
        self._steps: dict[int, list[tuple[_Test, int]]] = {}
        self._last = self._here = 0
        self._open: list[tuple[int, int]] = []  # for each open brace, the places before and after it

    def places(self) -> _Places:
        place = 0
        while place < len(self._text):
            place = self._read(place)
        if self._open:
            raise ValueError(f"{self._text!r}: '{{' is not closed")
        return _Places(self._free, self._steps, self._here)

    def _read(self, place: int) -> int:
        """Parse the element at `place`; returns where it ends."""
        sign = self._text[place]
        if stars := _STARS.match(self._text, place):
            return self._read_stars(stars)
        if sign == "[":
            test, place = _set(self._text, place)
            self._step(test)
            return place
        if sign == "\\" and place + 1 < len(self._text):
            self._step(self._text[place + 1].__eq__)
            return place + 2
        if sign in "{}" or (sign == "," and self._open):
            self._read_brace(sign)
        else:
            self._step(_in_a_part if sign == "?" else sign.__eq__)
        return place + 1

    def _read_stars(self, stars: re.Match[str]) -> int:
        """Several stars in a row count as `**`; `**/` also matches nothing."""
        before, run = self._here, self._new()
        self._go(before, run)
        self._steps[run] = [(_in_a_part if stars[0] == "*" else _anything, run)]
        self._here = run
        if stars[0] == "**" and self._text.startswith("/", stars.end()):
            self._step("/".__eq__)
            self._go(before, self._here)
            return stars.end() + 1
        return stars.end()

    def _read_brace(self, sign: str) -> None:
        if sign == "{":
            self._open.append((self._here, self._new()))
        elif not self._open:
            raise ValueError(f"{self._text!r}: '}}' has no opening '{{'")
        before, after = self._open[-1]
        if sign != "{":
            self._go(self._here, after)
        if sign == "}":
            self._open.pop()
            self._here = after
        else:
            self._here = self._new()
            self._go(before, self._here)

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _go(self, here: int, there: int) -> None:
        self._free.setdefault(here, []).append(there)

    def _step(self, test: _Test) -> None:
        there = self._new()
        self._steps.setdefault(self._here, []).append((test, there))
        self._here = there


def _set(text: str, place: int) -> tuple[_Test, int]:
    """The test for the set that begins at `place`, and where it ends."""
    first = place + 1 + text.startswith(("!", "^"), place + 1)
    end = text.find("]", first + 1)
    if end < 0:
        raise ValueError(f"{text!r}: '[' is not closed")
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", text[first:end])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = re.compile(f"(?!/)[{'^' if first > place + 1 else ''}{members}]")
    except re.error as error:
        raise ValueError(f"{text!r}: {text[place : end + 1]!r} is not a set of characters: {error}") from error
    return lambda sign: found.match(sign) is not None, end + 1
