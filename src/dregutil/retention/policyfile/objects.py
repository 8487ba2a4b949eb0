"""Policies written in Python, with the keys, the rules and the errors of the policy file.

    Policy(name="nightly", repositories=["team/*"], select=Select(tags=["nightly-*"]), keep=Keep(last=10, within="30d"))

They are converted to the YAML nodes that a file would have, and read by the same reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Literal, TypeAlias, TypeVar

import yaml

from dregutil.retention.asked import Engine, Kubernetes
from dregutil.retention.floor import with_floor
from dregutil.retention.policy import DoomedList, Expires, InUseList, NameList, PolicySet
from dregutil.retention.policyfile.reader import PolicyError, Reader
from dregutil.retention.policyfile.tree import Tree
from dregutil.retention.pull_rules import PullSource
from dregutil.select.quantity import duration_as_written

__all__ = ["Floor", "Keep", "Policy", "Protect", "RegexGroup", "Select", "policy_set"]

Labels: TypeAlias = Mapping[str, str | Sequence[str]] | Sequence[str]
"""Values, or lists of values, by key; or a list of `key` and `key=value`."""

_Found = TypeVar("_Found")
_PLACE = -1  # line and column of a value that is not from a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """The rules of a policy. A tag that any of them keeps stays.

    `last`: the newest images, in the policy's order; with `count="tags"`, the newest tags. `daily`, `weekly`,
    `monthly`, `yearly`: the newest of each of the last so many that have any. `within`: what is younger.
    `pulled_within`: what was pulled or came since then; `protect` says what records pulls. `tags`: globs. `versions`:
    comparisons (`>=2.0`). `all`: rules that must keep a tag together. `label`: labels or annotations that an image has,
    `{"team": "platform"}` or `["team"]`; any of them is enough. `named_in`: groups whose name, the group `by` of the
    regex, is in a list. `none=True`: nothing, explicitly. A duration is a `timedelta` or a string (`90d`).

        The values are checked by `Policy`. Raises TypeError if a list is expected and something else given.
    """

    last: int | None = None
    count: Literal["images", "tags"] | None = None
    daily: int | None = None
    weekly: int | None = None
    monthly: int | None = None
    yearly: int | None = None
    within: timedelta | str | None = None
    pulled_within: timedelta | str | None = None
    tags: Sequence[str] | None = None
    versions: Sequence[str] | None = None
    named_in: str | NameList | None = None
    by: str | None = None
    label: Labels | None = None
    all: Sequence[Keep] | None = None
    none: bool | None = None

    def __post_init__(self) -> None:
        _take_lists(self, "tags", "versions")
        _take_labels(self, "label")
        _take_lists(self, "all", of=Keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """Which tags a policy applies to: those that match all of the given keys, each with any of its values.

    `tags`: globs. `regex`: expressions for the whole tag. `version`: comparisons; several in one string must all
    match. `label`: `key` or `key=value`. `media_type` (or artifact type) and `artifact_type`: globs. `platform`: such
    as `linux/arm64` or `arm64`. `older_than`: by the creation date. `larger_than`: bytes, or `1GB`. `untagged=True`:
    manifests without a tag; cannot be combined with other keys.

    The values are checked by `Policy`. Raises TypeError if a list is expected and something else given.
    """

    tags: Sequence[str] | None = None
    regex: Sequence[str] | None = None
    version: Sequence[str] | None = None
    label: Sequence[str] | None = None
    untagged: bool | None = None
    media_type: Sequence[str] | None = None
    artifact_type: Sequence[str] | None = None
    platform: Sequence[str] | None = None
    older_than: timedelta | str | None = None
    larger_than: int | str | None = None

    def __post_init__(self) -> None:
        _take_lists(self, "tags", "regex", "version", "label", "media_type", "artifact_type", "platform")


@dataclass(frozen=True, slots=True)
class RegexGroup:
    """The order of tags by the number in a named group of the regex."""

    regex_group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What to keep of the tags that it selects. The keys and their defaults are those of the policy file.

    `repositories`: globs; `**` also matches `/`. `select`: by default every tag. `group_by`: `major`, `minor`,
    `variant`, or named groups of the regex. `order`: what makes a tag newer. `min_age`: nothing younger is removed.
    `max_remove`: the most that may be removed at once, as a share (`30%`) or a number of tags. `untag`: remove a tag
    alone if its digest stays. `allow_empty`: a repository may be emptied. `unknown_date`: what replaces a missing
    creation date. `keep_under`: of what nothing keeps, the oldest is removed until the rest refers to less than so many
    bytes (`2TB`). `expires`: only what has expired is removed; `keep` is optional then. `doomed`: as
    `expires`, for what is in a list.

    Raises PolicyError with all mistakes, and TypeError if a list, `Keep` or `Select` is expected and something else
    given.
    """

    name: str
    repositories: Sequence[str]
    keep: Keep | None = None
    select: Select | None = None
    group_by: Sequence[str] | None = None
    order: Literal["time", "version"] | RegexGroup = "time"
    unknown_date: Literal["keep", "first_seen"] = "keep"
    min_age: timedelta | str = timedelta(days=1)
    max_remove: str | int = "30%"
    untag: bool = False
    allow_empty: bool = False
    expires: Expires | None = None
    doomed: Sequence[DoomedList] | None = None
    keep_under: str | int | None = None

    def __post_init__(self) -> None:
        _take_lists(self, "repositories", "group_by")
        _take_type(self, "keep", Keep)
        _take_type(self, "select", Select)
        _take_type(self, "expires", Expires)
        _take_lists(self, "doomed", of=DoomedList)
        _read(self, self.name, lambda reader, node: reader.policy(node, {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect:
    """What no policy can remove: `tags` and `repositories` (globs), and the images `in_use`: of lists, and of
    Kubernetes clusters.

    `labels`: labels or annotations of images, as in `Keep`. `aliases`: other host names of the registry, for reading
    those lists.

    The values are checked by `policy_set`. Raises TypeError if a list is expected and something else given.
    """

    tags: Sequence[str] | None = None
    repositories: Sequence[str] | None = None
    in_use: Sequence[InUseList | Kubernetes | Engine] | None = None
    aliases: Sequence[str] | None = None
    labels: Labels | None = None
    pulls: Sequence[PullSource] | None = None

    def __post_init__(self) -> None:
        _take_lists(self, "tags", "repositories", "aliases")
        _take_lists(self, "pulls", of=PullSource)
        _take_labels(self, "labels")
        _take_lists(self, "in_use", of=(InUseList, Kubernetes, Engine))


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What no policy can go below: rules, protection, and the safer of each value of `min_age` and `max_remove`.

    The values are checked by `policy_set`. Raises TypeError if something else is given for `keep` or `protect`.
    """

    keep: Keep | None = None
    protect: Protect | None = None
    min_age: timedelta | str | None = None
    max_remove: str | int | None = None

    def __post_init__(self) -> None:
        _take_type(self, "keep", Keep)
        _take_type(self, "protect", Protect)


def policy_set(
    policies: Sequence[Policy],
    *,
    protect: Protect | None = None,
    floor: Floor | None = None,
    timezone: str = "UTC",
    name: str = "written in Python",
) -> PolicySet:
    """The policies as `read_policy` returns them for a file.

    The first policy that selects a tag owns it. `timezone` is for the days, weeks, months and years of `keep`; `name`
    is used in errors. Raises PolicyError with all mistakes, and TypeError if `policies` has anything else.
    """
    whole: dict[str, object] = {"version": 1, "timezone": timezone, "protect": protect, "floor": floor}
    whole["policies"] = _listed("policies", policies, Policy)
    found = _read(whole, name, lambda reader, _: reader.policy_set(name))
    return found if found.floor is None else with_floor(found, found.floor)


def _read(value: object, name: str, read: Callable[[Reader, yaml.Node], _Found]) -> _Found:
    node = _node(value, "")
    tree = Tree(node)
    found = read(Reader(tree), node)
    if tree.mistakes:
        raise PolicyError(name, tree.mistakes)
    return found


def _node(value: object, path: str) -> yaml.Node:
    """The YAML node of `value`. `path` is its place in errors, such as `policies[0].keep.last`."""
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
    """The keys of a section of the file, or None if `value` is not a section."""
    if isinstance(value, InUseList | DoomedList):
        return {"file": value.file, "max_age": value.max_age}
    if isinstance(value, Engine):
        return {value.name: "true"}
    if isinstance(value, Kubernetes):
        contexts = None if value.contexts is None else _listed("contexts", value.contexts, str)
        ignore = _listed("ignore", value.ignore, str)
        return {"kubernetes": {"contexts": contexts, "finished": value.finished, "ignore": ignore or None}}
    if isinstance(value, PullSource):
        since = None if value.since is None else value.since.isoformat()
        files = _listed("files", value.files, str)
        found: dict[str, object] = {value.kind.value: "true"}
        found |= {"log": files} if files else {}
        return {**found, "line_format": value.line_format, "since": since, "max_gap": value.max_gap}
    if isinstance(value, NameList):
        return {"file": value.file, "max_age": value.max_age, "max_shrink": value.max_shrink}
    if isinstance(value, Expires):
        return {"label": value.label, "from": "seen" if value.from_seen else "created"}
    if isinstance(value, Keep | Select | Policy | Protect | RegexGroup | Floor):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value if isinstance(value, Mapping) else None


def _text(value: object) -> str:
    if isinstance(value, timedelta) and not value.microseconds:
        return duration_as_written(value)
    return str(value)


def _take_lists(section: object, *names: str, of: type | tuple[type, ...] = str) -> None:
    """Turn lists of a section into tuples. Raises TypeError if one is a string or has items of another type."""
    for name in names:
        value = getattr(section, name)
        if value is not None:
            object.__setattr__(section, name, _listed(name, value, of))


def _take_labels(section: object, name: str) -> None:
    """Turn labels of a section into a tuple of `key=value`. Raises TypeError for another type."""
    value = getattr(section, name)
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) or "=" in key for key in value):
            raise TypeError(f"{name!r} must be a mapping of keys without '=', not {value!r}")
        pairs = ((key, (one,) if isinstance(one, str) else one) for key, one in value.items())
        value = [f"{key}={text}" for key, texts in pairs for text in _listed(name, texts, str)]
        object.__setattr__(section, name, value)
    _take_lists(section, name)


def _listed(name: str, value: object, of: type | tuple[type, ...]) -> tuple[object, ...]:
    found = tuple(value) if isinstance(value, Iterable) else ()
    if isinstance(value, str) or not isinstance(value, Iterable) or not all(isinstance(one, of) for one in found):
        names = " or ".join(one.__name__ for one in (of if isinstance(of, tuple) else (of,)))
        raise TypeError(f"{name!r} must be a list of {names}, not {value!r}")
    return found


def _take_type(section: object, name: str, of: type) -> None:
    value = getattr(section, name)
    if not isinstance(value, of | None):
        raise TypeError(f"{name!r} must be a {of.__name__}, not {value!r}")
