"""The text of a list → its structure: mappings, sequences and words. Knows nothing about images. Pure.

Reads JSON, YAML, tables as printed by runtimes, assignments (environment, units, HCL), or words. Mappings are kept as
pairs, so that no key hides another. The text, its nesting and the expansion of YAML merge keys are limited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dregutil.errors import RefusedError

__all__ = ["DEEPEST", "LONGEST", "Assignments", "Fields", "Line", "Node", "Row", "read_tree", "read_within"]

DEEPEST = 200
LONGEST = 256 << 20  # characters of a list
_MOST_MERGED = 1_000_000
_AGAIN = "make it again; nothing was removed"


class _NoJsonError(RefusedError):
    """The first document is not JSON."""


class Fields:
    """A mapping, as pairs in order."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: Iterable[tuple[str, Node]] = ()) -> None:
        self.pairs = list(pairs)

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        return iter(self.pairs)


class Row(Fields):
    """A row of a table, by the names of its columns."""


class Assignments(Fields):
    """All assignments of a text."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that has only images, with its number from 1."""

    number: int
    words: tuple[str, ...]


Node = str | Line | Fields | list[Any]

_STRUCTURED = re.compile(
    r"^[ \t]*(?:-[ \t]+)?['\"]?(?:apiVersion|kind|services|items|images?|spec|repository|newTag|newName|containers"
    r"|metadata)['\"]?[ \t]*:(?:\s|$)",
    re.MULTILINE,
)
_MAY_BE_YAML = re.compile(r"(?:---|%YAML|(?:-\s+)?['\"]?[A-Za-z_][\w./-]*['\"]?\s*:(?:\s|$)|-\s)")
_SECTION = re.compile(r"\[\[?[A-Za-z][\w .:\"'@/-]*\]\]?\s*(?:[#;].*)?$")
_ASSIGNED = re.compile(r"\s*(?:export\s+|set\s+|ENV\s+|ARG\s+|-\s+)?[\"']?([A-Za-z_][\w.-]*)[\"']?\s*[:+?]?=\s*(.*)$")
_KEYED = re.compile(r"\s*(?:-\s+)?[\"']?([A-Za-z_][\w ./-]*)[\"']?:(?:\s+(.*))?$")
_HEAD = re.compile(r"[A-Z0-9_()/%#-]+")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COMMENT = re.compile(r"(?:^|(?<=\s))(?:#|//\s).*$")
_KNOWN = frozenset(("IMAGE", "IMAGES", "REPOSITORY", "REF", "IMAGE ID", "IMAGEID", "DIGEST", "IMAGE NAME"))
_NOTHING = frozenset(("<none>", "<nil>", "<no value>"))


def read_tree(text: str, name: str) -> Iterator[Node]:
    """The documents, rows and lines of a list. Raises RefusedError if it cannot be read completely."""
    if len(text) > LONGEST:
        raise RefusedError(f"the list {name} is longer than {LONGEST:,} characters", advice=_AGAIN)
    text = _ESCAPE.sub("", text.lstrip("\ufeff")).replace("\ufeff", "")
    if "\0" in text:
        raise RefusedError(f"the list {name} is not text", advice=_AGAIN)
    start = text.lstrip()
    first = start.partition("\n")[0]
    if start.startswith(("{", "[")) and not _SECTION.match(first):
        yield from _json_or_flow(text, name)
    elif _STRUCTURED.search(text) and not _SECTION.match(first):
        for document in _yaml_documents(text, name, strict=True):
            yield _checked(document, name, is_yaml=True)
    else:
        yield from _loose_yaml(start, name) or _from_lines(text)


def _json_or_flow(text: str, name: str) -> list[Node]:
    """Documents in JSON, or in YAML with braces (`{kind: Pod}`). Raises RefusedError."""
    try:
        return [_checked(document, name, is_yaml=False) for document in _json_documents(text, name)]
    except _NoJsonError as error:
        try:
            return [_checked(document, name, is_yaml=True) for document in _yaml_documents(text, name, strict=True)]
        except RefusedError:
            raise error from None


def read_within(text: str) -> list[Node]:
    """JSON or YAML inside a string; empty if there is none."""
    start = text.lstrip()
    try:
        if start.startswith(("{", "[")):
            return [one for one in _json_documents(text, "", strict=False) if not isinstance(one, str)]
        if "\n" in start.rstrip() and _MAY_BE_YAML.match(start):
            found = list(_yaml_documents(text, "", strict=False))
            return found if found and not any(isinstance(one, str) for one in found) else []
    except RefusedError:
        pass
    return []


def _checked(document: Node, name: str, *, is_yaml: bool) -> Node:
    """Check that a document is complete, as far as possible. Raises RefusedError."""
    if not isinstance(document, Fields):
        return document
    fields = dict(document)
    # kubectl writes its keys in order: `kind` comes after `items`, so a list that ends within them has none.
    if is_yaml and isinstance(fields.get("items"), list) and "kind" not in fields:
        raise RefusedError(f"the list {name} is truncated: nothing follows its `items`", advice=_AGAIN)
    more = fields.get("metadata")
    marks = [fields.get("nextToken"), fields.get("NextToken")]
    if isinstance(more, Fields) and "items" in fields:
        marks.append(dict(more).get("continue"))
    if any(isinstance(mark, str) and mark for mark in marks):
        raise RefusedError(f"the list {name} is one page of several", advice="ask for all of them in one list")
    return document


def _json_documents(text: str, name: str, *, strict: bool = True) -> Iterator[Node]:
    """Consecutive JSON documents. `strict`: duplicate keys are refused."""

    def fields(pairs: list[tuple[str, Any]]) -> Fields:
        if strict and len({key for key, _ in pairs}) < len(pairs):
            raise _doubled(name, [key for key, _ in pairs])
        return Fields((key, _leaf(value)) for key, value in pairs)

    decoder = json.JSONDecoder(object_pairs_hook=fields, parse_int=str, parse_float=str, parse_constant=str)
    place, began = 0, False
    while place < len(text):
        if text[place].isspace() or text[place] == "\x1e":  # RFC 7464 sets a record separator before each
            place += 1
            continue
        try:
            found, place = decoder.raw_decode(text, place)
            node = _leaf(found)
        except (ValueError, RecursionError) as error:
            kind = RefusedError if began else _NoJsonError
            raise kind(f"the list {name} is truncated, or is not JSON: {error}", advice=_AGAIN) from error
        began = True
        yield node


def _leaf(value: Any) -> Node:
    """A JSON value with scalars as text; null becomes empty."""
    if isinstance(value, list):
        return [_leaf(item) for item in value]
    if value is None:
        return ""
    return value if isinstance(value, str | Fields) else str(value).lower()


def _doubled(name: str, keys: Sequence[str]) -> RefusedError:
    key = next(key for place, key in enumerate(keys) if key in keys[:place])
    return RefusedError(
        f"the list {name} has the key {key[:100]!r} twice in one mapping",
        advice="several documents of YAML need `---` between them",
    )


def _loose_yaml(start: str, name: str) -> list[Node]:
    """The documents of a text that may be YAML; empty if it is not."""
    if not _MAY_BE_YAML.match(start) or any(_ASSIGNED.match(line) for line in start.splitlines()[:50]):
        return []
    try:
        found = [one for one in _yaml_documents(start, name, strict=False) if one]
    except RefusedError:
        return []
    return found if not any(isinstance(one, str) for one in found) else []


def _yaml_documents(text: str, name: str, *, strict: bool) -> Iterator[Node]:
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    builder = _Builder(name, strict=strict)
    try:
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.DocumentEndEvent):
                yield builder.take()
            elif isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                builder.add(event)
    except (yaml.YAMLError, ValueError) as error:
        what = " ".join(str(error).split())
        raise RefusedError(
            f"the list {name} is not YAML: {what[:200]}", advice="templates must be rendered first; nothing was removed"
        ) from error


class _Builder:
    """YAML events → nodes. Aliases stay shared; the keys of `<<` are added to those of the mapping."""

    def __init__(self, name: str, *, strict: bool) -> None:
        self.name = name
        self.strict = strict
        self._stack: list[Fields | list[Any]] = []
        self._keys: list[Node | None] = []
        self._anchors: dict[str, Node] = {}
        self._root: Node = ""
        self._merged = 0

    def take(self) -> Node:
        found, self._root, self._anchors = self._root, "", {}
        return found

    def add(self, event: Any) -> None:
        import yaml

        if isinstance(event, yaml.CollectionEndEvent):
            done = self._stack.pop()
            self._keys.pop()
            if isinstance(done, Fields):
                self._finish(done)
            return
        node: Node
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise ValueError(f"found undefined alias {event.anchor!r}")
            self._put(self._anchors[event.anchor])
            return
        node = str(event.value) if isinstance(event, yaml.ScalarEvent) else _container(event)
        if event.anchor:
            self._anchors[event.anchor] = node
        self._put(node)
        if not isinstance(node, str):
            if len(self._stack) >= DEEPEST:
                raise RefusedError(f"the list {self.name} is nested too deep to be read")
            self._stack.append(node)
            self._keys.append(None)

    def _put(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if not isinstance(top, Fields):
            top.append(node)
        elif self._keys[-1] is None:
            self._keys[-1] = node
        else:
            key, self._keys[-1] = self._keys[-1], None
            top.pairs.append((key, node) if isinstance(key, str) else ("", [key, node]))

    def _finish(self, fields: Fields) -> None:
        keys = [key for key, _ in fields]
        own = set(keys)
        if self.strict and len(own) < len([key for key in keys if key not in ("<<", "")]) + len(own & {"<<", ""}):
            raise _doubled(self.name, [key for key in keys if key not in ("<<", "")])
        if "<<" not in own:
            return
        for base in [value for key, value in fields if key == "<<"]:
            for one in base if isinstance(base, list) else [base]:
                pairs = [pair for pair in one if pair[0] not in own] if isinstance(one, Fields) else []
                self._merged += len(pairs)
                if self._merged > _MOST_MERGED:
                    raise RefusedError(f"the list {self.name} becomes too large by its merge keys")
                fields.pairs.extend(pairs)


def _container(event: Any) -> Fields | list[Any]:
    import yaml

    return Fields() if isinstance(event, yaml.MappingStartEvent) else []


def _from_lines(text: str) -> Iterator[Node]:
    lines = [(number, _COMMENT.sub("", line).rstrip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line.strip()]
    if lines and not _is_head(lines[0][1]) and any(_is_free(line) for _, line in lines):
        yield Assignments(_assignments(line for _, line in lines))
        return
    head: list[tuple[str, int]] = []
    for number, line in lines:
        if _is_head(line):
            head = _columns(line)
        elif head:
            yield _row(head, line)
        else:
            yield Line(number, tuple(_words(line)))


def _is_free(line: str) -> bool:
    """Whether a line is an assignment, a section or a block: then the text is not a plain list of images."""
    bare = line.strip()
    is_block = bare.endswith(("{", "[", "(")) or not bare.strip("])},")
    return is_block or bool(_ASSIGNED.match(line) or _SECTION.match(bare) or _KEYED.match(line))


def _assignments(lines: Iterable[str]) -> Iterator[tuple[str, Node]]:
    """`key = value` in environment files, units and HCL, with continued lines joined; other lines have an empty key."""
    whole = ""
    for line in lines:
        whole += line.removesuffix("\\") if not whole else f" {line.strip().removesuffix(chr(92))}"
        if line.endswith("\\"):
            continue
        found = _ASSIGNED.match(whole) or _KEYED.match(whole)
        yield (found.group(1), _unquoted(found.group(2) or "")) if found else ("", whole.strip())
        whole = ""
    if whole:
        yield "", whole.strip()


def _unquoted(value: str) -> str:
    value = value.strip().rstrip(",;")
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


def _words(line: str) -> Iterator[str]:
    for word in re.split(r"[\s,;]+", line.strip().removeprefix("- ")):
        bare = word.strip("\"'")
        if bare and bare not in _NOTHING:
            yield bare


def _is_head(line: str) -> bool:
    words = line.split()
    if words[0][:1].isalpha() and all(map(_HEAD.fullmatch, words)):
        return True
    is_plain = line == line.lower() or re.search("[/:=.]", line)
    return not is_plain and not _KNOWN.isdisjoint(name for name, _ in _columns(line))


def _columns(line: str) -> list[tuple[str, int]]:
    """The names of a table's columns, and where each starts."""
    line = line.expandtabs(8)
    return [(found.group().upper(), found.start()) for found in re.finditer(r"\S+(?: \S+)*", line)]


def _row(head: Sequence[tuple[str, int]], line: str) -> Fields:
    """Split a row by the columns of its header; if that does not fit, by blanks, or not at all."""
    line = line.expandtabs(8)
    starts = [start for _, start in head]
    names = [name for name, _ in head]
    straight = all(start == 0 or start > len(line) or line[start - 1 : start] in (" ", "") for start in starts)
    cells = [line[start:end].strip() for start, end in zip(starts, [*starts[1:], len(line)], strict=True)]
    if not straight:
        for divide in _DIVIDERS:
            cells = divide(line.strip())
            if len(cells) == len(names):
                break
        else:
            return Fields([("", line.strip())])
    kept: list[tuple[str, Node]] = [
        (name if len(names) > 1 or name in _KNOWN else "IMAGE", "" if cell in _NOTHING else cell)
        for name, cell in zip(names, cells, strict=True)
    ]
    return Row(kept)


_DIVIDERS: tuple[Callable[[str], list[str]], ...] = (lambda line: re.split(r" {2,}", line), str.split)
