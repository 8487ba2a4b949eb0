"""Selectors of tags and of contents, as a program names them → what is searched for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

from dregutil.errors import UsageError
from dregutil.oci.names import Reference, RegistryAddress
from dregutil.select.content_selector import ContentSelector, Label
from dregutil.select.every_version import EveryVersion, every_version
from dregutil.select.glob import Glob, parse_glob
from dregutil.select.quantity import parse_duration, parse_size
from dregutil.select.search import Search
from dregutil.select.selector import Every, TagSelector

__all__ = ["Query", "Selectors", "parse_media_type", "read_selectors"]

_Value = TypeVar("_Value")


class Selectors(TypedDict, total=False):
    """Which tags are meant: any of `tags` and `regex`, none of `exclude` and `exclude_regex`, and all of the rest.

    `tags` and `exclude` are names, or comparisons of versions such as `<1.4`, or several that hold together, such
    as `>=1.2 <1.3`; the regular expressions match from the start of a tag, `full_match` also to its end. The others
    ask what is behind a tag: `older_than` and `newer_than` a timedelta or a text such as `90d`, by the creation
    date of the image, `larger_than` bytes or a text such as `1GiB`, `labels` the values of labels (None: any
    value), `platforms` such as `linux/arm64` or `arm64`, `media_types` globs, `based_on` images whose layers the
    images begin with.
    """

    tags: Collection[str]
    regex: Collection[str]
    exclude: Collection[str]
    exclude_regex: Collection[str]
    full_match: bool
    older_than: timedelta | str
    newer_than: timedelta | str
    larger_than: int | str
    labels: Mapping[str, str | None]
    platforms: Collection[str]
    media_types: Collection[str]
    based_on: Collection[str]


@dataclass(frozen=True, slots=True)
class Query:
    """Selectors, read. `selects`: something says which tags are meant. `every`: those that together match every
    version. `given`: those that include, as texts."""

    tags: TagSelector
    contents: Search
    every: EveryVersion | None = None
    given: tuple[str, ...] = ()

    @property
    def selects(self) -> bool:
        return self.contents.is_asked or self.tags.include != (Every(),)


def read_selectors(given: Selectors, address: RegistryAddress) -> Query:
    """Raises UsageError for what cannot be meant, and TypeError for a text where a list is."""
    for name in ("tags", "regex", "exclude", "exclude_regex", "platforms", "media_types", "based_on"):
        value: object = given.get(name)
        if isinstance(value, str):
            raise TypeError(f"{name} is a list: [{value!r}]")
    unknown = given.keys() - Selectors.__annotations__.keys()
    if unknown:
        raise TypeError(f"no selector is called {sorted(unknown)[0]!r}")
    tags = TagSelector.build(
        given.get("tags", ()),
        given.get("regex", ()),
        given.get("exclude", ()),
        given.get("exclude_regex", ()),
        full_match=given.get("full_match", False),
    )
    if not (given.get("tags") or given.get("regex")):
        tags = replace(tags, include=(Every(),))
    by_content = ("older_than", "newer_than", "larger_than", "labels", "platforms", "media_types", "based_on")
    texts = (*given.get("tags", ()), *given.get("regex", ()))
    every = every_version(tuple(given.get("tags", ())), tags.include)
    if not any(given.get(name) not in (None, (), [], {}) for name in by_content):
        return Query(tags, Search(), every, texts)
    selector = ContentSelector(
        older_than=_read(given.get("older_than"), parse_duration),
        newer_than=_read(given.get("newer_than"), parse_duration),
        larger_than=_read(given.get("larger_than"), parse_size),
        labels=tuple(Label(key, value) for key, value in given.get("labels", {}).items()),
        platforms=tuple(given.get("platforms", ())),
        media_types=tuple(map(parse_media_type, given.get("media_types", ()))),
    )
    bases = tuple(Reference.parse(base, registry=address) for base in given.get("based_on", ()))
    return Query(tags, Search(selector, bases), every, texts)


def parse_media_type(text: str) -> Glob:
    """A glob of media types. Raises UsageError for one that can match none."""
    if "/" not in text and "**" not in text:
        raise UsageError(
            f"--media-type {text!r} can match none: types have a slash, and '*' stops there",
            advice=f"write '**{text.strip('*')}**', or 'application/*{text.strip('*')}*'",
        )
    try:
        return parse_glob(text)
    except ValueError as error:
        raise UsageError(f"--media-type: {error}", advice="such as 'application/*helm*'; '*' stops at '/'") from error


def _read(value: Any, parse: Callable[[str], _Value]) -> _Value | None:
    """A text is parsed; what is read already is taken as it is."""
    found: _Value | None = parse(value) if isinstance(value, str) else value
    return found
