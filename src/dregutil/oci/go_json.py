"""JSON as Go's `encoding/json` decodes it into a struct. Most registries and their clients are written in Go. Pure.

Go matches keys to fields without regard to case, with `ſ` and the Kelvin sign equal to `s` and `k`; of two keys for one
field the last one wins. Other decoders match names exactly. Most documents are the same for both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Struct", "other_readings"]

_LONGEST_NUMBER = 20  # digits; no size or version has more, and parsing a million digits takes long


@dataclass(frozen=True)
class Struct:
    """A struct's fields, each with the struct of its value, or None for a value without known fields.

    A list has the struct of its items. A map (annotations, labels) is None: its keys are data and are never folded.
    """

    fields: Mapping[str, Struct | None]
    folded: Mapping[str, str] = field(init=False)
    plain: json.JSONDecoder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folded", {_fold(name): name for name in self.fields})
        object.__setattr__(self, "plain", _plain_decoder(self.names()))

    def names(self) -> frozenset[str]:
        """The names of its fields, and of those of the structs in them."""
        below = (struct.names() for struct in self.fields.values() if struct is not None)
        return frozenset(self.fields).union(*below)


class _Object(list[tuple[str, Any]]):
    """An object's members in order, duplicates included."""


class _MayBeAmbiguousError(Exception):
    """An object has a key twice, or one that differs from a field's name in case only."""


def other_readings(raw: bytes, struct: Struct) -> tuple[Mapping[str, Any], ...]:
    """The other ways to decode `raw`, a JSON object: with folded keys, and the last or the first of duplicates.

    Empty if every decoder finds the same. Raises ValueError and RecursionError if `raw` cannot be decoded.
    """
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")  # as json.loads
    try:
        struct.plain.decode(text)
    except _MayBeAmbiguousError:
        return _readings(_whole.decode(text), struct)
    return ()


def _readings(found: Any, struct: Struct) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(found, _Object) or not _is_ambiguous(found, struct):
        return ()
    return (_folded(found, struct, last=True), _folded(found, struct, last=False))


def _plain_decoder(names: Set[str]) -> json.JSONDecoder:
    """A decoder that decodes nothing: it raises _MayBeAmbiguousError unless every decoder reads the same. It takes half
    the time of a look into each struct."""
    folds = Counter(map(_fold, names))
    certain = {name for name in names if folds[_fold(name)] == 1}

    def check(members: list[tuple[str, Any]]) -> None:
        keys = dict(members).keys()
        if len(keys) < len(members):
            raise _MayBeAmbiguousError
        if not certain.issuperset(keys) and any(_fold(key) in folds for key in keys - certain):
            raise _MayBeAmbiguousError

    return json.JSONDecoder(object_pairs_hook=check, parse_int=str)


def _fold(key: str) -> str:
    return key.replace("\u017f", "s").replace("\u212a", "k").lower()


def _integer(text: str) -> int:
    return int(text) if len(text) <= _LONGEST_NUMBER else 0


_whole = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_integer)


def _is_ambiguous(value: Any, struct: Struct | None) -> bool:
    if struct is None:
        return False
    if isinstance(value, _Object):
        fields = struct.fields
        seen: set[str] = set()
        for key, below in value:
            name = key if key in fields else struct.folded.get(_fold(key))
            if name is None:
                continue
            if name != key or name in seen or _is_ambiguous(below, fields[name]):
                return True
            seen.add(name)
        return False
    return isinstance(value, list) and any(_is_ambiguous(one, struct) for one in value)


def _folded(value: Any, struct: Struct | None, *, last: bool) -> Any:
    if isinstance(value, _Object):
        members: Sequence[tuple[str, Any]] = value if last else value[::-1]
        if struct is None:
            return {key: _folded(below, None, last=last) for key, below in members}
        names = ((struct.folded.get(_fold(key)), below) for key, below in members)
        return {name: _folded(below, struct.fields[name], last=last) for name, below in names if name is not None}
    if isinstance(value, list):
        return [_folded(one, struct, last=last) for one in value]
    return value
