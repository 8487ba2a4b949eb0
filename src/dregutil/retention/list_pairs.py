"""Images in two parts, such as `newName` and `newTag`: finds the tag or version for a name. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.image_name import ImageName
from dregutil.retention.list_tree import Assignments, Fields, Node, Row

__all__ = ["Place", "completed", "has_version", "plain_key", "versions_beside"]

_MOST_BESIDE = 500  # texts around a name that are examined
_LONGEST_BESIDE = 300  # characters of one of them
_NOT_PLAIN = re.compile(r"[^a-z0-9]")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@:-]*")
_VERSION_ENDS = ("tag", "digest", "sha", "sha256", "semver", "revision")
_VERSIONS = frozenset(
    f"{what}version" for what in ("", "app", "image", "new", "container", "release", "chart", "target")
)
_NAMES, _VALUES = ("name", "key", "parametername", "parameterkey"), ("value", "parametervalue")
_BELOW = frozenset(("chart", "image", "imagename", "name"))
_TAGS = frozenset(("tag", "Tag", "newTag", "imageTag", "image_tag"))
_LATEST = Tag("latest")


@dataclass(frozen=True, slots=True)
class Place:
    """The mapping or sequence that contains a text, and the one that contains that."""

    parent: Node = ""
    grand: Node = ""


@functools.lru_cache(maxsize=4096)
def plain_key(key: str) -> str:
    """Normalize a key: `image-tag`, `imageTag` and `IMAGE_TAG` are equal."""
    return _NOT_PLAIN.sub("", key.lower())


def completed(name: ImageName, place: Place) -> tuple[tuple[ImageName, ...], tuple[ImageName, ...]]:
    """The images that a name without a tag and digest may mean, given the texts next to it; and others to protect.

    The first is empty if the tag or version next to it cannot be used: it is empty, a range or a variable.
    """
    near, is_blank = versions_beside(place.parent)
    bases = [name, *_charts(name, place.parent)]
    latest = [replace(base, tag=_LATEST) for base in bases]
    if near:
        exact = _combined(bases, near)
        is_sure = any(_is_tag(key, place.parent) and _read(value) for key, value in _versions(place.parent))
        others = () if is_sure else (*latest, *_combined(bases, _texts(place.parent)))
        return tuple(dict.fromkeys(exact)), tuple(dict.fromkeys(others))
    if is_blank:
        return (), tuple(dict.fromkeys([*bases, *latest]))
    texts = [*versions_beside(place.grand)[0], *_in_pairs(place.parent), *_texts(place.parent)]
    if isinstance(place.parent, list) or _is_pair(place.parent):
        texts += [*_in_pairs(place.grand), *_texts(place.grand)]
    return tuple(dict.fromkeys([*latest, *_combined(bases, texts)])), ()


def has_version(fields: Node) -> bool:
    """Whether a mapping has a tag, a version or a digest."""
    near, is_blank = versions_beside(fields)
    return bool(near) or is_blank


def versions_beside(node: Node) -> tuple[list[str], bool]:
    """The tags and digests in a mapping's own keys; and whether there are such keys, but none with a usable value."""
    values = [value for _, value in _versions(node)]
    usable = [value for value in values if _read(value) is not None]
    return usable, bool(values) and not usable


def _versions(node: Node) -> Iterator[tuple[str, str]]:
    """The versions in a mapping, including those in `ref: {tag: 1.0}` (Flux)."""
    for key, value in node if isinstance(node, Fields) else ():
        if isinstance(value, str) and _is_version(key):
            yield key, value
        elif isinstance(value, Fields) and key == "ref":
            yield from ((inner, text) for inner, text in value if isinstance(text, str) and _is_version(inner))


@functools.lru_cache(maxsize=4096)
def _is_version(key: str) -> bool:
    plain = plain_key(key)
    return plain.endswith(_VERSION_ENDS) or plain in _VERSIONS or bool(re.search(r"[._-]version$", key.lower()))


def _is_tag(key: str, node: Node) -> bool:
    """Whether a key has the tag of the image next to it, and not of one of several."""
    return not isinstance(node, Assignments) and (key in _TAGS or (key == "TAG" and isinstance(node, Row)))


def _is_pair(node: Node) -> bool:
    """Whether a mapping is an item of a list of pairs: `{name: …, value: …}`."""
    keys = {plain_key(key) for key, _ in node} if isinstance(node, Fields) else set[str]()
    return not keys.isdisjoint(_NAMES) and not keys.isdisjoint(_VALUES)


def _in_pairs(node: Node) -> Iterator[str]:
    """Versions of `{name: image.tag, value: 1.0}`, `image.tag=1.0`, and `--tag 1.0` in a sequence."""
    if not isinstance(node, list):
        return
    before = ""
    for item in islice(node, _MOST_BESIDE):
        if isinstance(item, Fields):
            fields = {plain_key(key): value for key, value in item if isinstance(value, str)}
            named = next((fields[key] for key in _NAMES if key in fields), "")
            value = next((fields[key] for key in _VALUES if key in fields), "")
            if _is_version(named) and _read(value) is not None:
                yield value
        elif isinstance(item, str):
            key, equals, value = item.partition("=")
            found = value if equals and _is_version(key) else item if _is_version(before) else ""
            if found and _read(found) is not None:
                yield found
            before = "" if equals else item


def _charts(name: ImageName, node: Node) -> list[ImageName]:
    """Charts and images whose folder is named separately: `repoURL: host/charts`, `chart: web`; `repository:
    host/shop`, `image: web`."""
    found = []
    for key, value in node if isinstance(node, Fields) else ():
        if plain_key(key) in _BELOW and isinstance(value, str) and name.repository is not None:
            try:
                found.append(replace(name, repository=Repository.parse(f"{name.repository}/{value}")))
            except UsageError:
                continue
    return found


def _texts(node: Node) -> Iterator[str]:
    """The words in a mapping or sequence, and one level below."""
    for text in islice(_below(node, 2), _MOST_BESIDE):
        if len(text) <= _LONGEST_BESIDE:
            yield from dict.fromkeys(_WORD.findall(text.replace("=", " ")))


def _below(node: Node, floors: int) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif floors and isinstance(node, Fields):
        for _, value in islice(node, _MOST_BESIDE):
            yield from _below(value, floors - 1)
    elif floors and isinstance(node, list):
        for value in islice(node, _MOST_BESIDE):
            yield from _below(value, floors - 1)


def _combined(bases: Iterable[ImageName], versions: Iterable[str]) -> list[ImageName]:
    found = [version for version in map(_read, versions) if version is not None]
    return [replace(base, tag=tag, digest=digest) for base in bases for tag, digest in found]


def _read(text: str) -> tuple[Tag | None, Digest | None] | None:
    """Parse a tag, a digest, or `tag@digest` as in the values of charts; None if it is none of these."""
    tag, at, digest = text.strip().rpartition("@")
    if not at and (":" in digest or len(digest) == 64):
        at, tag = "@", ""
    if at and len(digest) == 64:
        digest = f"sha256:{digest}"
    try:
        if at:
            return (Tag.parse(tag) if tag else None), Digest.parse(digest)
        return None if digest in ("null", "~") else (Tag.parse(digest.replace("+", "_")), None)
    except UsageError:
        return None
