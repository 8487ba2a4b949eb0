"""The section `keep` of a policy → keep rules; labels and comparisons as they are written in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any

import yaml

from dregutil.errors import UsageError
from dregutil.retention.policy import (
    All,
    Calendar,
    KeepRule,
    Label,
    LabelRule,
    Last,
    NamedIn,
    Period,
    TagGlobs,
    VersionRule,
    Within,
)
from dregutil.retention.policyfile.tree import Tree, parse_choice, parse_number
from dregutil.retention.pull_rules import PulledWithin
from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.glob import Glob, parse_glob
from dregutil.select.quantity import parse_duration
from dregutil.select.selector import Comparison, parse_comparisons

__all__ = ["KeepReader", "parse_label", "parse_range", "read_labels"]


class KeepReader:
    """Reads the section `keep`."""

    def __init__(self, tree: Tree, regexes: Sequence[BoundedRegex] = ()) -> None:
        """`regexes` are those of the policy's `select`."""
        self.tree = tree
        self.regexes = regexes

    def read(self, node: Any) -> tuple[KeepRule, ...]:
        tree = self.tree
        keys = tree.section(node, "keep")
        none = tree.switch(keys.get("none"), default=False)
        if none and len(keys) > 1:
            tree.wrong(keys["none"], "'none' cannot be combined with other rules")
        elif node is not None and not keys and not getattr(node, "value", None):
            tree.wrong(node, "'keep' is empty: say what to keep, or `none: true` if nothing is")
        elif "none" in keys and not none:
            tree.wrong(keys["none"], "'none: false' keeps nothing: say what to keep")
        rules = self._rules(keys)
        together = tuple(rule for item in self.together(keys) for rule in self._rules(self._rule(item)))
        if together:
            rules = (*rules, All(together, f"all: {' + '.join(rule.text for rule in together)}"))
        return rules

    def together(self, keys: dict[str, Any]) -> Sequence[Any]:
        """The nodes of the rules in `all`."""
        node = keys.get("all")
        return self.tree.items(node) if node is not None else ()

    def _rule(self, node: Any) -> dict[str, Any]:
        keys = self.tree.section(node, "rule")
        if isinstance(node, yaml.MappingNode) and not node.value:
            self.tree.wrong(node, "the rule is empty: say what to keep")
        return keys

    def _rules(self, keys: dict[str, Any]) -> tuple[KeepRule, ...]:
        tree = self.tree
        found: list[KeepRule] = []
        for key, node in keys.items():
            if key == "last":
                number = tree.read(node, parse_number)
                found += [] if number is None else [self._last(number, keys.get("count"))]
            elif key in ("daily", "weekly", "monthly", "yearly"):
                number = tree.read(node, parse_number)
                found += [] if number is None else [Calendar(Period(key), number, f"{key}: {number}")]
            elif key == "within":
                age: timedelta | None = tree.read(node, parse_duration)
                found += [] if age is None else [Within(age, f"within: {node.value}")]
            elif key == "pulled_within":
                lately: timedelta | None = tree.read(node, parse_duration)
                found += [] if lately is None else [PulledWithin(lately, f"pulled_within: {node.value}")]
            elif key == "tags":
                globs: tuple[Glob, ...] = tree.read_all(node, parse_glob)
                found.append(TagGlobs(globs, f"tags: {', '.join(glob.text for glob in globs)}"))
            elif key == "versions":
                ranges = tree.read_all(node, parse_range)
                texts = [str(item.value) for item in tree.items(node)]
                found.append(VersionRule(ranges, f"versions: {', '.join(texts)}"))
            elif key == "label":
                labels = read_labels(tree, node)
                found.append(LabelRule(labels, f"label: {', '.join(label.text for label in labels)}"))
            elif key == "named_in":
                found.append(self._named_in(node, keys.get("by")))
        if "count" in keys and "last" not in keys:
            tree.wrong(keys["count"], "'count' belongs to 'last', which is missing")
        if "by" in keys and "named_in" not in keys:
            tree.wrong(keys["by"], "'by' belongs to 'named_in', which is missing")
        return tuple(found)

    def _last(self, number: int, count: Any) -> Last:
        counts_tags = self.tree.read(count, parse_choice("images", "tags")) == "tags"
        what = f" tag{'' if number == 1 else 's'}" if counts_tags else ""
        return Last(number, f"last: {number}{what}", counts_tags)

    def _named_in(self, node: Any, by: Any) -> NamedIn:
        tree = self.tree
        keys = tree.section(node, "named_in") if isinstance(node, yaml.MappingNode) else {"file": node}
        file = tree.text(keys.get("file")) or ""
        if file == "-":
            tree.wrong(keys["file"], "a list of names is a file, not standard input")
        if by is None:
            tree.wrong(node, "'named_in' needs 'by', a named group of the regex in 'select'")
        everywhere = [set(regex.groupindex) for regex in self.regexes]
        name = tree.text(by) or ""
        if name and not (everywhere and name in set.intersection(*everywhere)):
            tree.wrong(by, f"{name!r} is no named group of every regular expression in 'select'")
        place = keys.get("file", node).start_mark
        return NamedIn(
            file,
            name,
            tuple(self.regexes),
            f"named_in: {file}",
            tree.read(keys.get("max_age"), parse_duration),
            tree.read(keys.get("max_shrink"), parse_share) or Fraction(30, 100),
            line=place.line + 1,
            column=place.column + 1,
        )


def parse_share(text: str) -> Fraction:
    """`30%` as a fraction. Raises ValueError."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if found is None or not 0 < Fraction(found[1]) <= 100:
        raise ValueError(f"{text!r} is not a share, such as 30%")
    return Fraction(found[1]) / 100


def parse_range(text: str) -> tuple[Comparison, ...]:
    """Parse `>=1.0`, or several comparisons that must all match: `>=1.0, <2`. Raises ValueError."""
    try:
        return parse_comparisons(text)
    except UsageError as error:
        raise ValueError(error.message) from error


def parse_label(text: str) -> Label:
    """Parse `key`, or `key=value`. Raises ValueError."""
    key, equals, value = text.partition("=")
    if not key.strip():
        raise ValueError(f"{text!r} has no key; write key, or key=value")
    return Label(key.strip(), value.strip() if equals else None)


def read_labels(tree: Tree, node: yaml.Node | None) -> tuple[Label, ...]:
    """Labels as a mapping (`team: platform`, `team: [platform, web]`), or as texts (`team=platform`, `team`)."""
    if not isinstance(node, yaml.MappingNode):
        return tree.read_all(node, parse_label)
    found: list[Label] = []
    for key, value in node.value:
        name = tree.text(key)
        if name is not None and "=" in name:
            tree.wrong(key, f"{name!r} is not a key of a label: it has a '='")
        if name is not None and any(label.key == name for label in found):
            tree.wrong(key, f"duplicate label {name!r}")
        texts = tree.read_all(value, str)
        found += [Label(name, text) for text in texts if name is not None]
    if not node.value:
        tree.wrong(node, "there is no label; write key: value")
    return tuple(found)
