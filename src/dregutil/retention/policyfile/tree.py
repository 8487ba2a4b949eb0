"""YAML as a tree of nodes with their places, and parsers for scalars. Implicit types are off: `1.10` stays `1.10`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import yaml

from dregutil.errors import UsageError
from dregutil.retention.policyfile.shape import KEYS, REQUIRED

__all__ = ["Mistake", "Tree", "is_switch"]

_Found = TypeVar("_Found")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """What is wrong, and where. Lines and columns count from 1; for a policy written in Python both are 0, and `path`
    is the place (`keep.last`). `file`: which of several files, if there are."""

    line: int
    column: int
    text: str
    path: str = ""
    file: str = ""

    def shown(self, name: str) -> str:
        """The mistake with its place; `name` is the file's, unless it has one of its own."""
        name = self.file or name
        place = f"{self.line}:{self.column}" if self.line else f" {self.path}"
        return f"{name}:{place}: {self.text}"


class Tree:
    """A document, given as text or as a node. Mistakes are collected while it is read."""

    def __init__(self, document: str | yaml.Node) -> None:
        self.mistakes: list[Mistake] = []
        self.root = self._compose(document) if isinstance(document, str) else document

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            root = yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
            self.mistakes.append(Mistake(*place, f"this is not YAML: {error.problem or error.context}"))
            return None
        except (yaml.YAMLError, RecursionError) as error:
            self.mistakes.append(Mistake(1, 1, f"this is not YAML: {str(error).partition(chr(10))[0]}"))
            return None
        if root is None:
            self.mistakes.append(Mistake(1, 1, "the policy is empty"))
        return root

    def wrong(self, node: yaml.Node, text: str) -> None:
        mark = node.start_mark
        place = (mark.line + 1, mark.column + 1)
        self.mistakes.append(Mistake(*place, text) if mark.line >= 0 else Mistake(*place, text, mark.name))

    def section(self, node: yaml.Node | None, name: str) -> dict[str, yaml.Node]:
        """The values of a mapping by key. Unknown, duplicate and missing keys are mistakes."""
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.wrong(node, f"{_named(name)} must be a mapping of keys, not {_kind(node)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            text = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if text not in KEYS[name]:
                self.wrong(key, f"unknown key {text!r} in {_named(name)}{_nearest(text, KEYS[name])}")
            elif text in found:
                self.wrong(key, f"duplicate key {text!r} in {_named(name)}")
            else:
                found[text] = value
        for key in REQUIRED.get(name, ()):
            if key not in found:
                self.wrong(node, f"{_named(name)} has no {key!r}")
        return found

    def items(self, node: yaml.Node | None) -> list[yaml.Node]:
        """The items of a list; a single value counts as a list of one."""
        if node is None:
            return []
        if isinstance(node, yaml.SequenceNode):
            if not node.value:
                self.wrong(node, "the list is empty")
            return list(node.value)
        return [node]

    def text(self, node: yaml.Node | None) -> str | None:
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip():
            self.wrong(node, f"a string is expected here, not {_kind(node)}")
            return None
        return str(node.value)

    def read(self, node: yaml.Node | None, parse: Callable[[str], _Found]) -> _Found | None:
        """A scalar, parsed with `parse`, whose error becomes the mistake. None if it is missing or wrong."""
        text = self.text(node)
        if text is None or node is None:
            return None
        try:
            return parse(text)
        except UsageError as error:
            self.wrong(node, f"{error.message}: {error.advice}")
        except ValueError as error:
            self.wrong(node, str(error))
        return None

    def read_all(self, node: yaml.Node | None, parse: Callable[[str], _Found]) -> tuple[_Found, ...]:
        found = (self.read(item, parse) for item in self.items(node))
        return tuple(value for value in found if value is not None)

    def switch(self, node: yaml.Node | None, *, default: bool) -> bool:
        found = self.read(node, parse_switch)
        return default if found is None else found


def is_switch(text: str) -> bool:
    """Whether a text says true or false."""
    return text.lower() in (*_TRUE, *_FALSE)


def parse_switch(text: str) -> bool:
    if is_switch(text):
        return text.lower() in _TRUE
    raise ValueError(f"{text!r} is neither true nor false")


def parse_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise ValueError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def parse_choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}{_nearest(text, choices)}")
        return text

    return parse


def _named(section: str) -> str:
    return f"the {section}" if section in ("policy file", "policy", "rule") else repr(section)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else f"{node.value!r}" if node.value else "nothing"


def _nearest(text: str, names: Collection[str]) -> str:
    """A suggestion for an unknown key. `keep-last`, as in restic and borg, means `last`."""
    bare = re.sub(r"^keep[-_]", "", text.lower()).replace("-", "_")
    for spelled in (bare, text):
        near = difflib.get_close_matches(spelled, names, n=1, cutoff=0.5)
        if near:
            return f": did you mean {near[0]!r}?"
    return f": there are {', '.join(names)}"
