"""Globs over names: of repositories, of tags, of media types. They match the whole name, always. Pure.

`*` is any run of characters but `/`, `**` any run at all, `**/` also nothing; `?` is one character but `/`; `[a-c]` and
`[!a-c]` are sets, of which `/` is never one; `{one,two}` is either. A backslash takes the next character as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Glob", "is_glob", "parse_glob"]

_MOST_STARS = 5  # runs of any length: each multiplies the time that one name may take
_STARS = re.compile(r"\*+")
_SPECIAL = re.compile(r"[*?\[\]{}\\]")


@dataclass(frozen=True, slots=True)
class Glob:
    """`is_plain`: the text is a name, with nothing special in it."""

    text: str
    expression: re.Pattern[str]
    is_plain: bool = False

    def matches(self, name: str) -> bool:
        return name == self.text if self.is_plain else self.expression.fullmatch(name) is not None


def is_glob(text: str) -> bool:
    """Whether anything in a text is special in a glob: no name of a repository or tag has any of it."""
    return _SPECIAL.search(text) is not None


@lru_cache(maxsize=1024)
def parse_glob(text: str) -> Glob:
    """Read a glob. Raises ValueError where a bracket is not closed, nothing stands there, or too many stars do."""
    if not text:
        raise ValueError("an empty glob matches nothing")
    if len(_STARS.findall(text)) > _MOST_STARS:
        raise ValueError(f"{text!r}: more than {_MOST_STARS} wildcards *")
    return Glob(text, re.compile(_expression(text)), is_plain=not is_glob(text))


def _expression(text: str) -> str:
    found: list[str] = []
    place, open_braces = 0, 0
    while place < len(text):
        sign = text[place]
        if stars := _STARS.match(text, place):
            # A row of stars is one run of characters: each for itself would be tried at every length.
            place = stars.end()
            is_path = stars[0] == "**" and text.startswith("/", place)
            found.append("(?:.*/)?" if is_path else "[^/]*" if stars[0] == "*" else ".*")
            place += is_path
            continue
        if sign == "[":
            part, place = _set(text, place)
            found.append(part)
            continue
        if sign == "\\" and place + 1 < len(text):
            place += 1
            found.append(re.escape(text[place]))
        elif sign in "{}" or (sign == "," and open_braces):
            open_braces += {"{": 1, "}": -1}.get(sign, 0)
            if open_braces < 0:
                raise ValueError(f"{text!r}: '}}' closes nothing")
            found.append({"{": "(?:", "}": ")", ",": "|"}[sign])
        else:
            found.append("[^/]" if sign == "?" else re.escape(sign))
        place += 1
    if open_braces:
        raise ValueError(f"{text!r}: '{{' is not closed")
    return "".join(found)


def _set(text: str, place: int) -> tuple[str, int]:
    """The set that begins at `place`, and where it ends."""
    first = place + 1 + text.startswith(("!", "^"), place + 1)
    end = text.find("]", first + 1)
    if end < 0:
        raise ValueError(f"{text!r}: '[' is not closed")
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", text[first:end])
    part = f"(?!/)[{'^' if first > place + 1 else ''}{members}]"
    try:
        re.compile(part)
    except re.error as error:
        raise ValueError(f"{text!r}: {text[place : end + 1]!r} is no set: {error}") from error
    return part, end + 1
