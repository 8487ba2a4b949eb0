"""A policy file's text → `PolicySet`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, tzinfo
from fractions import Fraction
from typing import Any

import yaml

from dregutil.errors import UsageError, escaped
from dregutil.retention.floor import with_floor
from dregutil.retention.policy import (
    Budget,
    DoomedList,
    Expires,
    Floor,
    Limit,
    Order,
    ParsedPolicy,
    ParsedProtect,
    ParsedSelect,
    PolicySet,
    UnknownDate,
)
from dregutil.retention.policyfile.in_use import read_in_use
from dregutil.retention.policyfile.pulls import read_pull_source
from dregutil.retention.policyfile.rules import KeepReader, parse_label, parse_range, read_labels
from dregutil.retention.policyfile.shape import REMOVING
from dregutil.retention.policyfile.tree import Mistake, Tree, parse_choice
from dregutil.retention.pulled import asks_for_pulls
from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.content_selector import ContentSelector
from dregutil.select.glob import Glob, parse_glob
from dregutil.select.quantity import parse_duration, parse_size

__all__ = ["PolicyError", "Reader", "read_policy"]

_NO_NAME = "a manifest without a tag has no name and no version"
_WORDS = ("repository", "major", "minor", "variant")


class PolicyError(UsageError):
    """A policy with mistakes; `lines` has one line for each."""

    has_lines = True

    def __init__(self, name: str, mistakes: Sequence[Mistake]) -> None:
        self.name = name
        self.mistakes = tuple(sorted(set(mistakes), key=lambda one: (one.file, one)))
        self.lines = tuple(escaped(mistake.shown(name)) for mistake in self.mistakes)
        number = f"{len(self.lines)} mistakes" if len(self.lines) != 1 else "a mistake"
        super().__init__(
            "\n".join((f"the policy {escaped(name)} has {number}", *self.lines)),
            advice="nothing was removed; docs/retention.md explains each key",
        )


def read_policy(text: str, name: str = "policy.yml") -> PolicySet:
    """Parse a policy file. Raises PolicyError with all its mistakes."""
    tree = Tree(text)
    found = Reader(tree).policy_set(name)
    if tree.mistakes:
        raise PolicyError(name, tree.mistakes)
    return found if found.floor is None else with_floor(found, found.floor)


class Reader:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def policy_set(self, name: str) -> PolicySet:
        tree = self.tree
        keys = tree.section(tree.root, "policy file")
        version = tree.text(keys.get("version"))
        if version not in (None, "1"):
            tree.wrong(keys["version"], f"version {version} is not supported, only 1")
        defaults = self._settings(tree.section(keys.get("defaults"), "defaults"), {})
        policies: list[ParsedPolicy] = []
        names: set[str] = set()
        for node in tree.items(keys.get("policies")):
            policy = self.policy(node, defaults)
            if policy.name in names:
                tree.wrong(node, f"two policies are called {policy.name!r}")
            names.add(policy.name)
            policies.append(policy)
        if tree.root is not None and "policies" not in keys and "floor" not in keys:
            tree.wrong(tree.root, "the policy file has no 'policies'")
        zone = tree.read(keys.get("timezone"), _zone)
        protect, floor = self._protect(keys.get("protect")), self._floor(keys.get("floor"))
        found = PolicySet(tuple(policies), protect, zone or UTC, name, floor)
        records = protect.pulls or (floor is not None and floor.protect.pulls)
        if tree.root is not None and asks_for_pulls(found) and not records:
            tree.wrong(tree.root, "'pulled_within' needs `protect: {pulls: …}`, which says what records pulls")
        return found

    def _floor(self, node: Any) -> Floor | None:
        if node is None:
            return None
        tree = self.tree
        keys = tree.section(node, "floor")
        return Floor(
            KeepReader(tree).read(keys["keep"]) if "keep" in keys else (),
            self._protect(keys.get("protect")),
            tree.read(keys.get("min_age"), parse_duration),
            tree.read(keys.get("max_remove"), _limit),
        )

    def _settings(self, keys: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        tree = self.tree
        found = dict(before)
        readers: dict[str, Any] = {
            "unknown_date": lambda text: UnknownDate(parse_choice("keep", "first_seen")(text)),
            "min_age": parse_duration,
            "max_remove": _limit,
        }
        for key, parse in readers.items():
            value = tree.read(keys.get(key), parse)
            if value is not None:
                found[key] = value
        for key in ("untag", "allow_empty"):
            if key in keys:
                found[key] = tree.switch(keys[key], default=False)
        return found

    def _protect(self, node: Any) -> ParsedProtect:
        tree = self.tree
        keys = tree.section(node, "protect")
        return ParsedProtect(
            tree.read_all(keys.get("tags"), parse_glob),
            tree.read_all(keys.get("repositories"), parse_glob),
            tuple(read_in_use(tree, item) for item in tree.items(keys.get("in_use"))),
            tree.read_all(keys.get("aliases"), str),
            read_labels(tree, keys.get("labels")),
            tuple(read_pull_source(tree, item) for item in tree.items(keys.get("pulls"))),
        )

    def policy(self, node: Any, defaults: dict[str, Any]) -> ParsedPolicy:
        tree = self.tree
        keys = tree.section(node, "policy")
        select = self._select(keys.get("select"))
        order, order_by = self._order(keys.get("order"), select)
        if not any(key in keys for key in REMOVING):
            tree.wrong(node, "the policy has no 'keep'")
        if select.untagged:
            self._only_by_time(keys)
        return ParsedPolicy(
            name=tree.text(keys.get("name")) or "",
            repositories=tree.read_all(keys.get("repositories"), parse_glob),
            keep=KeepReader(tree, select.regexes).read(keys.get("keep")),
            select=select,
            group_by=self._group_by(keys.get("group_by"), select),
            order=order,
            order_by=order_by,
            expires=self._expires(keys.get("expires")),
            doomed=tuple(map(self._doomed, tree.items(keys.get("doomed")))),
            keep_under=tree.read(keys.get("keep_under"), _budget),
            line=node.start_mark.line + 1,
            column=node.start_mark.column + 1,
            **self._settings(keys, defaults),
        )

    def _order(self, node: Any, select: ParsedSelect) -> tuple[Order, str]:
        tree = self.tree
        if not isinstance(node, yaml.MappingNode):
            return Order(tree.read(node, parse_choice("time", "version")) or "time"), ""
        group = tree.section(node, "order").get("regex_group")
        name = tree.text(group) or ""
        if (
            group is not None
            and name
            and not (select.regexes and all(name in regex.groupindex for regex in select.regexes))
        ):
            tree.wrong(group, f"{name!r} is no named group of every regular expression in 'select'")
        return Order.GROUP, name

    def _expires(self, node: Any) -> Expires | None:
        tree = self.tree
        if node is None:
            return None
        keys = tree.section(node, "expires")
        label = tree.text(keys.get("label"))
        start = tree.read(keys.get("from"), parse_choice("created", "seen"))
        return Expires(label or "", start == "seen")

    def _doomed(self, node: Any) -> DoomedList:
        keys = self.tree.section(node, "doomed")
        file = self.tree.text(keys.get("file")) or ""
        if file == "-":
            self.tree.wrong(keys["file"], "a list of images to remove is a file, not standard input")
        max_age = self.tree.read(keys.get("max_age"), parse_duration)
        place = keys.get("file", node).start_mark
        return DoomedList(file, max_age, line=place.line + 1, column=place.column + 1)

    def _only_by_time(self, keys: dict[str, Any]) -> None:
        """Note keys that need a tag's name or version: for manifests without a tag they could never keep anything."""
        tree = self.tree
        for key in ("order", "group_by"):
            plain = tree.text(keys.get(key)) if isinstance(keys.get(key), yaml.ScalarNode) else None
            if key in keys and plain not in ("time", "repository"):
                tree.wrong(keys[key], f"{key!r} cannot be used here: {_NO_NAME}")
        kept = tree.section(keys["keep"], "keep") if isinstance(keys.get("keep"), yaml.MappingNode) else {}
        together = [tree.section(item, "rule") for item in KeepReader(tree).together(kept)]
        for rules in (kept, *together):
            for key in ("tags", "versions", "named_in"):
                if key in rules:
                    tree.wrong(rules[key], f"{key!r} keeps nothing here: {_NO_NAME}")

    def _select(self, node: Any) -> ParsedSelect:
        tree = self.tree
        keys = tree.section(node, "select")
        if node is not None and not keys and not tree.mistakes:
            tree.wrong(node, "'select' is empty; leave it out to select every tag")
        untagged = tree.switch(keys.get("untagged"), default=False)
        if untagged and len(keys) > 1:
            tree.wrong(
                keys["untagged"],
                f"'untagged' cannot be combined with other keys: {_NO_NAME}",
            )
        return ParsedSelect(
            tree.read_all(keys.get("tags"), parse_glob),
            tree.read_all(keys.get("regex"), _regex),
            tree.read_all(keys.get("version"), parse_range),
            tree.read_all(keys.get("label"), parse_label),
            untagged,
            ContentSelector(
                older_than=tree.read(keys.get("older_than"), parse_duration),
                larger_than=tree.read(keys.get("larger_than"), parse_size),
                platforms=tree.read_all(keys.get("platform"), str),
                media_types=tree.read_all(keys.get("media_type"), _media_type),
                artifact_types=tree.read_all(keys.get("artifact_type"), _media_type),
            ),
        )

    def _group_by(self, node: Any, select: ParsedSelect) -> tuple[str, ...]:
        named = [set(regex.groupindex) for regex in select.regexes]
        everywhere = set.intersection(*named) if named else set()
        choose = parse_choice(*_WORDS, *sorted(everywhere))

        def read(text: str) -> str:
            if text in set().union(*named) - everywhere:
                lacking = next(regex.pattern for regex in select.regexes if text not in regex.groupindex)
                raise ValueError(f"the group {text!r} must be in every regular expression: {lacking!r} lacks it")
            return choose(text)

        found = self.tree.read_all(node, read)
        return tuple(name for name in found if name != "repository")


def _budget(text: str) -> Budget:
    return Budget(parse_size(text), text)


def _regex(text: str) -> BoundedRegex:
    try:
        return BoundedRegex(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the regular expression {text!r} does not compile: {error}") from error


def _media_type(text: str) -> Glob:
    if "/" not in text and "**" not in text:
        raise ValueError(f"{text!r} can match none: types have a slash, and '*' stops there")
    return parse_glob(text)


def _limit(text: str) -> Limit:
    share = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if share is not None and Fraction(share[1]) <= 100:
        return Limit(share=Fraction(share[1]) / 100)
    if re.fullmatch(r"[0-9]{1,9}", text):
        return Limit(number=int(text))
    raise ValueError(f"{text!r} is not a limit; write a share such as 30%, or a number of tags")


def _zone(text: str) -> tzinfo:
    if text == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        import difflib

        near = difflib.get_close_matches(text, available_timezones(), n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no time zone {text!r}{hint}") from error
