"""Policies written in Python, in the words of the policy file: same keys, same rules, same mistakes.

    Policy(name="nightly", repositories=["team/*"], select=Select(tags=["nightly-*"]), keep=Keep(last=10, within="30d"))

They become the nodes that a file's text becomes, and the reader of files reads those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Literal, TypeVar

import yaml

from dregutil.retention.policy import InUseList, PolicySet
from dregutil.retention.policyfile.reader import PolicyError, Reader
from dregutil.retention.policyfile.tree import Tree
from dregutil.select.quantity import duration_as_written

__all__ = ["Keep", "Policy", "Protect", "Select", "policy_set"]

_Found = TypeVar("_Found")
_PLACE = -1  # line and column of what no text has


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """What a policy keeps: whatever any of these rules keeps.

    `last`: the newest images, in the policy's order. `daily`, `weekly`, `monthly`, `yearly`: the newest of each of the
    last so many that have any. `within`: what is younger. `tags`: globs. `versions`: comparisons (`>=2.0`). `all`:
    rules that must hold together. `none=True`: nothing, on purpose. A duration is a `timedelta`, or text (`90d`).

    `Policy` checks them. Raises TypeError where one text stands for a list.
    """

    last: int | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    within: timedelta | str | None = None
    tags: Sequence[str] | None = None
    versions: Sequence[str] | None = None
    all: Sequence[Keep] | None = None
    none: bool | None = None

    def __post_init__(self) -> None:
        _take_lists(self, "tags", "versions")
        _take_lists(self, "all", of=Keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Which tags a policy decides about: those that match each of these, and of one any value.

    `tags`: globs. `regex`: expressions of the whole tag. `version`: comparisons; several in one text hold together.
    `label`: `key`, or `key=value`. `untagged=True`, which stands alone: manifests without a tag.

    `Policy` checks them. Raises TypeError where one text stands for a list.
    """

    tags: Sequence[str] | None = None
    regex: Sequence[str] | None = None
    version: Sequence[str] | None = None
    label: Sequence[str] | None = None
    untagged: bool | None = None

    def __post_init__(self) -> None:
        _take_lists(self, "tags", "regex", "version", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to keep of the tags that it selects. The keys and their defaults are those of the policy file.

    `repositories`: globs; `**` crosses `/`. `select`: by default every tag. `group_by`: `major`, `minor`, `variant`, or
    named groups of the regex. `order`: what makes a tag newer. `min_age`: nothing younger goes. `max_remove`: the most
    that may go at once, as a share (`30%`) or a number of tags. `untag`: remove a tag alone where its digest stays.
    `allow_empty`: a repository may be emptied. `unknown_date`: what stands for a missing creation date.

    Raises PolicyError with all mistakes, and TypeError where one text stands for a list.
    """

    name: str
    repositories: Sequence[str]
    keep: Keep
    select: Select | None = None
    group_by: Sequence[str] | None = None
    order: Literal["time", "version"] = "time"
    unknown_date: Literal["keep", "first_seen"] = "keep"
    min_age: timedelta | str = timedelta(days=1)
    max_remove: str | int = "30%"
    untag: bool = False
    allow_empty: bool = False

    def __post_init__(self) -> None:
        _take_lists(self, "repositories", "group_by")
        _take_type(self, "keep", Keep)
        _take_type(self, "select", Select)
        _read(self, self.name, lambda reader, node: reader.policy(node, {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect:
    """What no policy can take: `tags` and `repositories` (globs), and what the lists of images `in_use` name.

    `aliases`: other host names of the registry, for reading those lists.

    `policy_set` checks them. Raises TypeError where one text stands for a list.
    """

    tags: Sequence[str] | None = None
    repositories: Sequence[str] | None = None
    in_use: Sequence[InUseList] | None = None
    aliases: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _take_lists(self, "tags", "repositories", "aliases")
        _take_lists(self, "in_use", of=InUseList)


def policy_set(
    policies: Sequence[Policy],
    *,
    protect: Protect | None = None,
    timezone: str = "UTC",
    name: str = "written in Python",
) -> PolicySet:
    """What `read_policy` returns for a file with these policies.

    The first policy that selects a tag owns it. `timezone` is for the days, weeks, months and years of `keep`; `name`
    is what errors call the whole. Raises PolicyError with all mistakes.
    """
    whole = {"version": 1, "timezone": timezone, "protect": protect, "policies": _listed("policies", policies, Policy)}
    return _read(whole, name, lambda reader, _: reader.policy_set(name))


def _read(value: object, name: str, read: Callable[[Reader, yaml.Node], _Found]) -> _Found:
    node = _node(value, "")
    tree = Tree(node)
    found = read(Reader(tree), node)
    if tree.mistakes:
        raise PolicyError(name, tree.mistakes)
    return found


def _node(value: object, path: str) -> yaml.Node:
    """What the file's text for `value` is read as. Its place is `path`: `policies[0].keep.last`."""
    mark = yaml.Mark(path, 0, _PLACE, _PLACE, None, 0)
    keys = _keys(value)
    if keys is not None:
        inner = path and f"{path}."
        pairs = [(_node(key, path), _node(one, f"{inner}{key}")) for key, one in keys.items() if one is not None]
        return yaml.MappingNode("", pairs, mark)
    if isinstance(value, tuple):
        return yaml.SequenceNode("", [_node(one, f"{path}[{place}]") for place, one in enumerate(value)], mark)
    return yaml.ScalarNode("", _text(value), mark)


def _keys(value: object) -> Mapping[str, object] | None:
    """The keys of a section of the file; None for what is none."""
    if isinstance(value, InUseList):
        return {"file": value.file, "max_age": value.max_age}
    if isinstance(value, Keep | Select | Policy | Protect):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value if isinstance(value, Mapping) else None


def _text(value: object) -> str:
    if isinstance(value, timedelta) and value >= timedelta(0) and not value.microseconds:
        return duration_as_written(value)
    return str(value)


def _take_lists(section: object, *names: str, of: type = str) -> None:
    """Make the lists of a section tuples. Raises TypeError where one is a text, or has something else in it."""
    for name in names:
        value = getattr(section, name)
        if value is not None:
            object.__setattr__(section, name, _listed(name, value, of))


def _listed(name: str, value: Iterable[object], of: type) -> tuple[object, ...]:
    found = () if isinstance(value, str) else tuple(value)
    if isinstance(value, str) or not all(isinstance(one, of) for one in found):
        raise TypeError(f"{name!r} must be a list of {of.__name__}, not {value!r}")
    return found


def _take_type(section: object, name: str, of: type) -> None:
    value = getattr(section, name)
    if not isinstance(value, of | None):
        raise TypeError(f"{name!r} must be a {of.__name__}, not {value!r}")
