"""What is typed into the search box → what is searched for. Pure.

    shop 1.4 label:team=web older:90d is:remove

Everything must hold. A word is a part of `repository:tag`, in any case of letters. Quotation marks keep spaces
together (`label:"team=web shop"`); a term that begins with one is a word, whatever it looks like (`"is:held"`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference, RegistryAddress
from dregutil.select.content_selector import Label
from dregutil.select.quantity import duration_as_written, parse_duration, parse_size

__all__ = ["DigestPrefix", "Query", "parse_query"]

_LONGEST = 20_000  # characters
_MOST = 16  # terms: each may look at a million names
_KEY = re.compile(r"([a-z0-9]+):(.*)", re.DOTALL)
_PREFIX = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{4,128})")
_ALGORITHMS = ("sha256", "sha384", "sha512")
_PLAIN = re.compile(r'[^\s"\\]+')
_STATES = ("held", "remove", "keep")
_KEYS = "digest:, label:, base:, layer:, platform:, older:, larger: and is:"


@dataclass(frozen=True, slots=True)
class DigestPrefix:
    """The first hexadecimal digits of a digest, four or more. `algorithm` is empty for any."""

    hex: str
    algorithm: str = ""

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}" if self.algorithm else self.hex


@dataclass(frozen=True, slots=True)
class Query:
    """Everything must hold: each of `words` (lower case) is in `repository:tag`, the digest of the tag begins with each
    of `digests`, and so on. `states` are of "held", "remove" and "keep"; an image is older than each of `older`, and
    larger than each of `larger`, in bytes."""

    words: tuple[str, ...] = ()
    digests: tuple[DigestPrefix, ...] = ()
    labels: tuple[Label, ...] = ()
    bases: tuple[Reference, ...] = ()
    layers: tuple[Digest, ...] = ()
    platforms: tuple[str, ...] = ()
    older: tuple[timedelta, ...] = ()
    larger: tuple[int, ...] = ()
    states: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether every image is meant."""
        return self == Query()

    @property
    def text(self) -> str:
        """As it can be typed: parsed again, it is the same query."""
        terms = [_quoted(word) for word in self.words]
        terms += [f"digest:{one}" for one in self.digests]
        terms += [_term("label", one.key if one.value is None else f"{one.key}={one.value}") for one in self.labels]
        terms += [f"base:{one}" for one in self.bases]
        terms += [f"layer:{one}" for one in self.layers]
        terms += [_term("platform", one) for one in self.platforms]
        terms += [f"older:{duration_as_written(one)}" for one in self.older]
        terms += [f"larger:{one}" for one in self.larger]
        terms += [f"is:{one}" for one in self.states]
        return " ".join(terms)


def parse_query(text: str, registry: RegistryAddress | None = None) -> Query:
    """Read what was typed. The registry's own name in front of an image is removed. Raises UsageError, with what to
    write instead."""
    if len(text) > _LONGEST:
        raise UsageError(f"a search of {len(text):,} characters is too long", advice=f"at most {_LONGEST:,}")
    values: dict[str, list[Any]] = {one.name: [] for one in fields(Query)}
    found = _Found(values, registry)
    for number, (term, is_word) in enumerate(_terms(text), 1):
        if number > _MOST:
            raise UsageError(f"a search has at most {_MOST} terms", advice="leave some of them out")
        found.take(term, is_word=is_word)
    return Query(**{name: tuple(dict.fromkeys(some)) for name, some in values.items()})


@dataclass(frozen=True, slots=True)
class _Found:
    """The values of each field of a query, as they are read."""

    values: Mapping[str, list[Any]]
    registry: RegistryAddress | None

    def take(self, term: str, *, is_word: bool) -> None:
        split = None if is_word else _KEY.fullmatch(term)
        key, value = ("", term) if split is None else (split[1], split[2])
        if key in _ALGORITHMS:
            self._add("digests", _digest_prefix(term))
        elif key in _READ:
            name, read = _READ[key]
            if not value:
                raise UsageError(f"{key}: without a value", advice=f'write it behind the colon; "{key}:" is a word')
            self._add(name, read(value))
        elif key == "base":
            self._add("bases", self._image(value))
        elif term:
            self._add("words", term.lower())

    def _add(self, name: str, value: object) -> None:
        self.values[name].append(value)

    def _image(self, text: str) -> Reference:
        try:
            return Reference.parse(text, registry=self.registry)
        except UsageError as error:
            raise UsageError(f"base:{text[:100]} names no image", advice="such as base:shop/base:1.0") from error


def _terms(text: str) -> Iterator[tuple[str, bool]]:
    """The terms, and whether each began with a quotation mark. Raises UsageError for one that does not end."""
    at, end = 0, len(text)
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        parts, is_word = [], text[at] == '"'
        while at < end and not text[at].isspace():
            if text[at] == '"':
                part, at = _in_quotes(text, at + 1)
                parts.append(part)
            else:
                parts.append(text[at])
                at += 1
        yield "".join(parts), is_word


def _in_quotes(text: str, at: int) -> tuple[str, int]:
    """What is between quotation marks, from `at`, and where it goes on. `\\"` and `\\\\` are a mark and a backslash."""
    parts: list[str] = []
    while at < len(text):
        if text[at] == '"':
            return "".join(parts), at + 1
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        parts.append(text[at])
        at += 1
    raise UsageError("a quotation mark is not closed", advice='write "…" around what has spaces in it')


def _quoted(text: str) -> str:
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def _term(key: str, value: str) -> str:
    return f"{key}:{value}" if _PLAIN.fullmatch(value) else f"{key}:{_quoted(value)}"


def _digest_prefix(text: str) -> DigestPrefix:
    found = _PREFIX.fullmatch(text.lower())
    if found is None:
        raise UsageError(
            f"{text[:100]!r} is not the beginning of a digest",
            advice="write four or more of its hexadecimal digits, such as sha256:0a1b",
        )
    return DigestPrefix(found[2], found[1] or "")


def _layer(text: str) -> Digest:
    try:
        return Digest.parse(text.lower())
    except UsageError as error:
        raise UsageError(
            f"layer:{text[:100]} names no layer", advice="give its whole digest, sha256: and 64 hexadecimal digits"
        ) from error


def _label(text: str) -> Label:
    key, equals, value = text.partition("=")
    if not key:
        raise UsageError(
            f"label:{text[:100]} does not name a label", advice="write label:KEY or label:KEY=VALUE, such as label:team"
        )
    return Label(key, value if equals else None)


def _platform(text: str) -> str:
    return text


def _state(text: str) -> str:
    if text.lower() not in _STATES:
        raise UsageError(f"is:{text[:100]} is not known", advice=f"write {', '.join(f'is:{one}' for one in _STATES)}")
    return text.lower()


_READ: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "digest": ("digests", _digest_prefix),
    "label": ("labels", _label),
    "layer": ("layers", _layer),
    "platform": ("platforms", _platform),
    "older": ("older", parse_duration),
    "larger": ("larger", parse_size),
    "is": ("states", _state),
}
