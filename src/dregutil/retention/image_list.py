"""Lists of images in use → the images that they name. Pure.

Any text that names the registry is an entry, wherever it is and whether or not it is understood: to protect one image
too many costs nothing, to miss one may break a cluster. In addition, images of any registry are read from the places
where tools write them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from itertools import islice
from typing import Any

from dregutil.errors import RefusedError, UsageError
from dregutil.oci.names import Tag
from dregutil.retention.image_name import ImageName, Mention, OwnNames, bare_id, parse_image_name
from dregutil.retention.list_pairs import Place, completed, has_version, plain_key, versions_beside
from dregutil.retention.list_tree import DEEPEST, Fields, Line, Node, read_tree, read_within

__all__ = ["Entry", "ImageList", "Weight", "read_image_list"]

_IMAGE_KEY = re.compile(r"(?:images?|imageids?|imagenames?|imageref|imagereference|imageuri|imageurl|ref|reference)$")
_CACHE_KEYS = ("repotags", "repodigests")
_CACHED = (
    {"names", "sizebytes"},
    {"repository", "tag", "imageid"},
    {"repository", "tag", "id", "size"},
    {"image", "tag", "imageid"},
    {"image", "id", "diskusage"},
    {"ref", "type", "digest"},
)
_REPOSITORIES = ("repository", "image", "imagename", "repo")
_HINT = re.compile(r"(?<![\w./:@+-])[a-z0-9][a-z0-9._/-]*(?::\w[\w.+-]{0,127})?(?:@sha\d{3}:[0-9a-f]+)?(?![\w:])")
_HEX = re.compile(r"(?<![0-9A-Za-z_-])(?:sha\d{3}:)?[0-9a-f]{12,128}(?![0-9A-Za-z_-])")
_MOST_WITHIN = 4  # levels of JSON inside strings
_MOST_BESIDE = 50  # texts next to a registry without an image
_LONGEST_BESIDE = 300  # characters of one of them
_MOST_COMBINED = 1_000_000  # names combined from two parts
_MOST_SHARED = 200_000  # visits to nodes shared by YAML aliases; after that, each is visited once


class Weight(Enum):
    """How certain it is that an entry is an image in use. PASSING: a URL of the registry. CACHED: an image in the cache
    of a node. HINT: a text that counts only if it matches an image."""

    NAMED = "named"
    PASSING = "passing"
    CACHED = "cached"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Entry:
    """An image in a list. It exists if one of `names` does; `also` is protected in addition.

    Without `names` it was not understood.
    """

    text: str
    names: tuple[ImageName, ...]
    also: tuple[ImageName, ...] = ()
    weight: Weight = Weight.NAMED


@dataclass(frozen=True, slots=True)
class ImageList:
    """All entries of a list, without duplicates. `registry_alone`: it names the registry without an image, as
    `global.imageRegistry` does, so images of other registries may be meant for this one."""

    entries: tuple[Entry, ...]
    registry_alone: bool = False

    @property
    def understood(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.names and entry.weight is not Weight.HINT)

    @property
    def doubtful(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if not entry.names)


def read_image_list(text: str, name: str, own: OwnNames | None = None, *, refuse_variables: bool = True) -> ImageList:
    """All images in a list. Raises RefusedError if it cannot be read completely, or names none.

    `own`: the host names of the registry; without them only the places where tools write images are read.
    Without `refuse_variables`, an image that is a variable is an entry that was not understood.
    """
    reader = _ListReader(own or OwnNames(), name, refuse_variables=refuse_variables)
    for document in read_tree(text, name):
        key = "image" if isinstance(document, list) else ""
        reader.visit(document, key, Place())
    if not reader.entries:
        raise RefusedError(f"the list {name} names no image", advice="an empty list protects nothing: make it again")
    return ImageList(tuple(reader.entries), reader.registry_alone)


class _ListReader:
    """Reads one list."""

    def __init__(self, own: OwnNames, name: str, *, refuse_variables: bool) -> None:
        self.own = own
        self.name = name
        self.refuse_variables = refuse_variables
        self.entries: dict[Entry, None] = {}
        self.registry_alone = False
        self._visits: Counter[int] = Counter()
        self._shared = 0
        self._path: set[int] = set()
        self._within = 0
        self._cached = 0
        self._combined = 0
        self._hints: set[str] = set()
        self._empty: set[str] = set()  # texts, mostly keys, that name nothing

    def visit(self, node: Node, key: str, place: Place) -> None:
        """Read a node and all below it."""
        if isinstance(node, str):
            self._text(node, key, place)
        elif isinstance(node, Line):
            self._line(node)
        elif self._may_enter(node):
            self._path.add(id(node))
            if isinstance(node, Fields):
                self._fields(node, place)
            else:
                for item in node:
                    self.visit(item, key, Place(node, place.parent))
            self._path.remove(id(node))

    def _may_enter(self, node: Node) -> bool:
        """Whether to visit a node: not in a cycle, and not too often if YAML aliases share it."""
        if id(node) in self._path:
            return False
        if len(self._path) >= DEEPEST:
            raise RefusedError(f"the list {self.name} is nested too deep to be read")
        self._visits[id(node)] += 1
        if self._visits[id(node)] > 1:
            self._shared += 1
        return self._visits[id(node)] == 1 or self._shared < _MOST_SHARED

    def _fields(self, fields: Fields, place: Place) -> None:
        keys = {plain_key(key) for key, _ in fields}
        is_cached = any(key in keys for key in _CACHE_KEYS) or any(
            known <= keys and "container" not in keys for known in _CACHED
        )
        self._cached += is_cached
        inner = Place(fields, place.parent)
        done = self._composed(fields, inner)
        for key, value in fields:
            if key:
                self._passing(key, inner)
            if key not in done:
                self.visit(value, key, inner)
        self._cached -= is_cached

    def _composed(self, fields: Fields, place: Place) -> set[str]:
        """Read `{registry, repository, tag}` and similar keys as one image; returns the keys that were used."""
        texts = {plain_key(key): (key, value) for key, value in fields if isinstance(value, str) and value}
        registry = next((found for plain, found in texts.items() if plain.endswith("registry")), None)
        parts = (*_REPOSITORIES, "name") if has_version(fields) else _REPOSITORIES
        part = next((texts[plain] for plain in parts if plain in texts), None)
        if registry is None or part is None or self.own.is_named_in(part[1]):
            return set()
        self._image(f"{registry[1].rstrip('/')}/{part[1].lstrip('/')}", part[0], place)
        return {registry[0], part[0]}

    def _text(self, text: str, key: str, place: Place) -> None:
        if self._within < _MOST_WITHIN and len(text) > 1 and (documents := read_within(text)):
            self._within += 1
            for document in documents:
                self.visit(document, key, Place())
            self._within -= 1
        elif self._is_image(key, place):
            self._image(text, key, place)
        else:
            self._passing(text, place)
            if plain_key(key) in ("name", "newname") and has_version(place.parent):
                self._pair(text, place)

    def _is_image(self, key: str, place: Place) -> bool:
        plain = plain_key(key)
        is_name = plain in _CACHE_KEYS or (plain == "names" and self._cached)
        is_repository = plain.endswith(("repository", "repo")) and has_version(place.parent)
        return bool(_IMAGE_KEY.search(plain)) or bool(is_name) or is_repository

    def _image(self, text: str, key: str, place: Place) -> None:
        """Read a text where an image, or a list of images, is expected."""
        for part in re.split(r"[\s,]+", text.strip()):
            mentions = list(dict.fromkeys(self.own.mentions(part)))
            is_variable = ("$" in part or "{{" in part) and plain_key(key) in ("image", "imageid")
            if is_variable and self.refuse_variables and not self._within:
                raise RefusedError(
                    f"{self.name}: the image {text[:100]!r} contains a variable, so it is not known which image it is",
                    advice="give the rendered form: `docker compose config`, `helm template`, `kubectl get … -o json`",
                )
            for mention in mentions:
                self._mention(mention, place, is_image=True)
            if is_variable and not self.refuse_variables and not mentions:
                self._add(Entry(part[:_LONGEST_BESIDE], (), weight=Weight.PASSING))
            elif part and not mentions:
                try:
                    self._other(part, place)
                except UsageError:
                    self._hint(part)  # an unrelated field called `image`: no cluster can run this

    def _other(self, text: str, place: Place) -> None:
        """Read an image ID, a short name, or an image of another registry. Raises UsageError if it is none of these."""
        found = bare_id(text)
        if found is not None:
            short = () if found.digest is not None else (parse_image_name(text),)
            self._add(Entry(text, (found, *short)))
            return
        name = parse_image_name(text)
        if name.tag != "latest" or text.endswith(":latest") or name.digest is not None:
            self._add(Entry(text, (name,)))
            return
        near, _ = versions_beside(place.parent)
        names, also = completed(replace(name, tag=None), place) if near else ((name,), ())
        self._add(Entry(text, names or (name,), also))

    def _passing(self, text: str, place: Place) -> None:
        if text in self._empty:
            return
        before = len(self.entries), len(self._hints)
        mentions = dict.fromkeys(self.own.mentions(text))
        for mention in mentions:
            self._mention(mention, place, is_image=False)
        self._hint(text)
        if not mentions and len(text) < _LONGEST_BESIDE and before == (len(self.entries), len(self._hints)):
            self._empty.add(text)

    def _mention(self, mention: Mention, place: Place, *, is_image: bool) -> None:
        """Add an entry for a place that names this registry."""
        weight = Weight.NAMED if is_image or not mention.is_url else Weight.PASSING
        if mention.is_untagged:
            base = replace(mention.names[-1], tag=None, digest=None)
            names, also = self._completed(base, place)
            if not is_image and not versions_beside(place.parent)[0]:
                weight = Weight.PASSING
            self._add(Entry(mention.text, names, also, weight))
        elif mention.names:
            self._add(Entry(mention.text, mention.names))
        elif "/" in mention.text:
            self._add(Entry(mention.text, (), () if mention.repository is None else self._any(mention, place), weight))
        else:
            self.registry_alone = True
            self._add(Entry(mention.text, tuple(_beside(mention.text, place)), weight=Weight.PASSING))

    def _any(self, mention: Mention, place: Place) -> tuple[ImageName, ...]:
        """All tags of a repository whose tag was not understood, and the names that may complete it."""
        if mention.repository is None:
            return ()
        base = replace(mention.repository, tag=None, digest=None)
        names, also = self._completed(base, place)
        return tuple(dict.fromkeys((base, *names, *also)))

    def _completed(self, base: ImageName, place: Place) -> tuple[tuple[ImageName, ...], tuple[ImageName, ...]]:
        """As `completed`; the whole repository if the list has more combinations than any real one."""
        if self._combined > _MOST_COMBINED:
            return (), (base,)
        names, also = completed(base, place)
        self._combined += len(names) + len(also)
        return names, also

    def _pair(self, text: str, place: Place) -> None:
        """Read a short name with its tag next to it, as a hint."""
        try:
            name = parse_image_name(text)
        except UsageError:
            return
        names, _ = completed(replace(name, tag=None), place)
        if names:
            self._add(Entry(text, names, weight=Weight.HINT))

    def _hint(self, text: str) -> None:
        """Read words that look like an image or an ID, as hints."""
        for found in (*_HINT.finditer(text), *_HEX.finditer(text)):
            word = found.group()
            if word in self._hints:
                continue
            self._hints.add(word)
            name = bare_id(word)
            if name is None and ":" not in word:
                continue
            try:
                name = name or parse_image_name(word)
            except UsageError:
                continue
            if not name.host or name.host in self.own.hosts:
                self._add(Entry(word, (name,), weight=Weight.HINT))

    def _line(self, line: Line) -> None:
        """Read a line of images. Raises RefusedError if a word cannot be one."""
        words = line.words
        if len(words) > 2 and "/" not in words[0] and self.own.is_named_in(words[0]):
            words = (f"{words[0]}/{words[1]}", *words[2:])  # columns: registry, repository, tag
        skip = False
        for place, word in enumerate(words):
            if skip:
                skip = False
                self._hint(f"{word}:latest")
                continue
            tag = _plain_tag(words[place + 1 : place + 2])
            beside = Place(Fields([("version", tag)] if len(words) == 2 and tag else [("", tag)]))
            mentions = list(dict.fromkeys(self.own.mentions(word)))
            for mention in mentions:
                self._mention(mention, beside, is_image=True)
            try:
                if not mentions:
                    self._other(word, beside)
            except UsageError as error:
                where = f"{self.name}:{line.number}"
                raise RefusedError(f"{where}: {word[:100]!r} is not an image: {error.message}") from error
            skip = len(words) == 2 and bool(tag) and not _has_version(word)

    def _add(self, entry: Entry) -> None:
        if self._cached and entry.weight is not Weight.HINT:
            # An image that lost its tag on a node (`<none>`) has only an ID there.
            entry = replace(entry, weight=Weight.CACHED, also=entry.also if entry.names else ())
        self.entries.setdefault(entry)


def _plain_tag(words: tuple[str, ...]) -> str:
    """The first word, if it may be the tag of the image before it; otherwise empty."""
    try:
        return Tag.parse(words[0]) if words else ""
    except UsageError:
        return ""


def _has_version(text: str) -> bool:
    return any(sign in text.rpartition("/")[2] for sign in ":@")


def _beside(host: str, place: Place) -> Iterator[ImageName]:
    """The images of a registry that is named separately (`REGISTRY`, `IMAGE`, `TAG`), from the words next to it."""
    seen = 0
    for node in (place.parent, place.grand):
        for value in () if isinstance(node, str | Line) else _values(node):
            seen += 1
            if seen > _MOST_BESIDE:
                return
            try:
                name = parse_image_name(value)
            except UsageError:
                continue
            if not name.host and name.repository is not None and ("/" in value or has_version(node)):
                base = replace(name, host=host)
                yield from [base] if _has_version(value) else completed(replace(base, tag=None), place)[0]


def _values(node: Fields | list[Any]) -> Iterator[str]:
    """The texts in a mapping, or in a sequence and its mappings, that are short enough for a name."""
    for item in islice((value for _, value in node) if isinstance(node, Fields) else node, _MOST_BESIDE):
        if isinstance(item, str) and len(item) <= _LONGEST_BESIDE:
            yield item
        elif isinstance(item, Fields) and isinstance(node, list):
            yield from (
                value for _, value in islice(item, _MOST_BESIDE) if isinstance(value, str) and len(value) <= 300
            )
