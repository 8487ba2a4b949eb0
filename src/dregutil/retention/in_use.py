"""Images in use → the tags and digests that they are in one registry. A list that matches nothing is refused. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

from dregutil.errors import RefusedError
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.retention.asked import Engine, Kubernetes
from dregutil.retention.image_list import Entry, ImageList, Weight, read_image_list
from dregutil.retention.image_name import ImageName, OwnNames, registry_hosts
from dregutil.retention.policy import InUseList, ParsedProtect
from dregutil.retention.verdict import InUse
from dregutil.select.quantity import age_as_written, duration_as_written

__all__ = ["ListFile", "ListReport", "Lookup", "find_in_use", "images_in", "in_use_of", "refuse_caches_alone"]

Lookup = Callable[[str], Collection[Digest]]
"""The manifests with a digest that begins with these hexadecimal digits, or with such a child or config."""

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list as it was read: its text and its age, which is zero for standard input. `cluster`: the cluster or
    engine that made it, for one that is in no file."""

    entry: InUseList | Kubernetes | Engine
    text: str
    age: timedelta
    cluster: str = ""

    @property
    def name(self) -> str:
        if not isinstance(self.entry, InUseList):
            return self.cluster
        return "standard input" if self.entry.file == "-" else self.entry.file


@dataclass(frozen=True, slots=True)
class ListReport:
    """How many images a list names, and how many of them are in this registry.

    `absent`: images of this registry that do not exist. `doubtful`: entries for this registry that were not understood.
    `elsewhere`: images under the name of another registry that this one has as well: that may be a name of this one.
    `untagged`: how many are named by a digest without a tag. `only_cached`: all that were found are in caches of nodes.
    """

    name: str
    age: timedelta
    images: int
    matched: int
    absent: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    untagged: int = 0
    only_cached: bool = False
    elsewhere: tuple[str, ...] = ()


def find_in_use(
    protect: ParsedProtect,
    lists: Sequence[tuple[ListFile, ImageList]],
    inventory: Inventory,
    address: RegistryAddress,
    lookup: Lookup | None = None,
    *,
    is_whole: bool = True,
) -> tuple[InUse, tuple[ListReport, ...]]:
    """Match lists with a registry's tags. Raises RefusedError if a list matches nothing, or most of it is absent.

    A list that has only IDs is not refused unless `lookup` knows all contents (`is_whole`).
    """
    own = registry_hosts(address, protect.aliases)
    found = _Found(own, address.prefix.strip("/"), inventory, lookup)
    reports = [_report(file, images, found, address, is_whole=is_whole) for file, images in lists]
    return InUse(found.tags, found.digests, found.anywhere), tuple(reports)


def in_use_of(
    protect: ParsedProtect,
    lists: Sequence[tuple[ListFile, ImageList]],
    inventory: Inventory,
    address: RegistryAddress,
    lookup: Lookup | None = None,
) -> InUse:
    """What lists protect of an inventory that is a part of the registry: a list may name nothing in it."""
    found = _Found(registry_hosts(address, protect.aliases), address.prefix.strip("/"), inventory, lookup)
    for file, images in lists:
        _protected(file.name, images, found)
    return InUse(found.tags, found.digests, found.anywhere)


def images_in(file: ListFile, own: OwnNames | None = None) -> ImageList:
    """All images that a list names. Raises RefusedError if it is too old, empty, or cannot be read completely."""
    max_age = file.entry.max_age if isinstance(file.entry, InUseList) else None
    if max_age is not None and file.age > max_age:
        raise RefusedError(
            f"the list {file.name} is {age_as_written(file.age)} old, and max_age is {duration_as_written(max_age)}",
            advice="make it again; nothing was removed",
        )
    # Templates of custom resources (`image: $(params.image)`) are part of a cluster: they are listed.
    return read_image_list(file.text, file.name, own, refuse_variables=isinstance(file.entry, InUseList))


def refuse_caches_alone(reports: Iterable[ListReport]) -> None:
    """Raise RefusedError if the lists have only the caches of nodes: what will run next may not be cached."""
    found = list(reports)
    if found and all(report.only_cached for report in found):
        names = ", ".join(report.name for report in found)
        raise RefusedError(
            f"{names}: the caches of nodes do not contain everything that is in use",
            advice="list what runs and what will run as well: containers, pods, workloads",
        )


class _Here(Enum):
    """Whether an image is in this registry. FOREIGN: it is in another one, or its ID is unknown. UNTAGGED: it is a
    digest in a known repository."""

    FOREIGN = 0
    ABSENT = 1
    UNTAGGED = 2
    THERE = 3


@dataclass(slots=True)
class _Found:
    """Collects what lists protect."""

    own: OwnNames
    prefix: str
    inventory: Inventory
    lookup: Lookup | None
    tags: dict[tuple[Repository, Tag], str] = field(default_factory=dict)
    digests: dict[tuple[Repository, Digest], str] = field(default_factory=dict)
    anywhere: dict[Digest, str] = field(default_factory=dict)
    _above: dict[str, tuple[Digest, ...]] = field(default_factory=dict)

    def protect(self, image: ImageName, name: str) -> _Here:
        """Protect everything that an image may be in this registry, for the list `name`; returns whether it exists."""
        if image.repository is None:
            return self._protect_anywhere(image, name)
        places = image.repositories_in(self.own.hosts, self.prefix)
        return max((self._protect_in(place, image, name) for place in places), key=_rank, default=_Here.FOREIGN)

    def _protect_in(self, place: Repository, image: ImageName, name: str) -> _Here:
        there = self.inventory.tags(place)
        if image.tag is None and image.digest is None:
            self.tags.update({(place, tag): self.tags.get((place, tag), name) for tag in there})
            return _Here.THERE if there else _Here.ABSENT
        if image.tag is not None:
            self.tags.setdefault((place, image.tag), name)
        found = _Here.THERE if image.tag in there else _Here.ABSENT
        if image.digest is not None:
            above = (image.digest, *self.above(image.digest.hex))
            for digest in above:
                self.digests.setdefault((place, digest), name)
            if any(self.inventory.names(place, digest) for digest in above):
                found = _Here.THERE
            elif there and found is _Here.ABSENT:
                found = _Here.UNTAGGED
        return found

    def _protect_anywhere(self, image: ImageName, name: str) -> _Here:
        value = image.id if image.digest is None else image.digest.hex
        above = (*self.above(value), *(() if image.digest is None else (image.digest,)))
        for digest in above:
            self.anywhere.setdefault(digest, name)
        return _Here.THERE if any(self.inventory.has(digest) for digest in above) else _Here.FOREIGN

    def above(self, value: str) -> tuple[Digest, ...]:
        if self.lookup is None:
            return ()
        if value not in self._above:
            self._above[value] = tuple(self.lookup(value))
        return self._above[value]


def _rank(here: _Here) -> int:
    return here.value


def _report(
    file: ListFile, images: ImageList, found: _Found, address: RegistryAddress, *, is_whole: bool
) -> ListReport:
    """Protect what a list names, and count it. Raises RefusedError if the list is probably for another registry."""
    counted = _protected(file.name, images, found)
    there = [entry for entry, here in counted.items() if here is _Here.THERE]
    named = {entry: here for entry, here in counted.items() if entry.weight is Weight.NAMED}
    untagged = [entry for entry, here in named.items() if here is _Here.UNTAGGED]
    absent = [entry for entry, here in named.items() if here is _Here.ABSENT and _is_of_here(entry, found)]
    doubtful = [entry for entry in named if not entry.names]
    passing = [entry for entry, here in counted.items() if here is not _Here.THERE and entry.weight is Weight.PASSING]
    report = ListReport(
        file.name,
        file.age,
        len(counted),
        len(there),
        tuple(dict.fromkeys(map(_shown, absent))),
        tuple(dict.fromkeys(entry.text for entry in (*doubtful, *passing))),
        len(untagged),
        only_cached=bool(there) and all(entry.weight is Weight.CACHED for entry in there) and not untagged,
        elsewhere=tuple(dict.fromkeys(_elsewhere(counted, found.inventory))),
    )
    has_ids = any(image.repository is None for entry in counted for image in entry.names)
    if not there and not untagged and not (has_ids and not is_whole):
        _refuse_stranger(report, address)
    missed = sum(any(image.host for image in entry.names) for entry in absent) + len(doubtful)
    known = sum(entry.weight is Weight.NAMED for entry in there) + len(untagged)
    if missed > known and not report.only_cached:
        _refuse_doubtful(report, address, missed, known)
    return report


def _protected(name: str, images: ImageList, found: _Found) -> dict[Entry, _Here]:
    """Protect everything that a list names; returns for each entry whether it exists. Hints count only if they do."""
    counted: dict[Entry, _Here] = {}
    for entry in images.entries:
        here = max((found.protect(image, name) for image in entry.names), key=_rank, default=_Here.FOREIGN)
        for image in entry.also:
            found.protect(image, name)
        if images.registry_alone and here is _Here.FOREIGN:
            # `global.imageRegistry` overrides the registry that an image names itself.
            short = [replace(image, host="") for image in entry.names if image.repository is not None and image.host]
            overridden = max((found.protect(image, name) for image in short), key=_rank, default=here)
            here = overridden if overridden is _Here.THERE else here
        if entry.weight is not Weight.HINT or here is _Here.THERE:
            counted[entry] = here
    return counted


def _elsewhere(counted: Mapping[Entry, _Here], inventory: Inventory) -> Iterator[str]:
    """The images under another registry's name that have the same name, and tag or digest, here."""
    for entry, here in counted.items():
        if here is _Here.FOREIGN:
            for image in entry.names:
                if image.host and image.repository is not None:
                    there = inventory.tags(image.repository)
                    is_here = image.digest is not None and inventory.names(image.repository, image.digest)
                    if is_here or (image.tag is not None and image.tag in there):
                        yield f"{image.host}/{_shown(entry)}"


def _is_of_here(entry: Entry, found: _Found) -> bool:
    """Whether an absent image should exist here: it names this registry or, without a host, a repository of it."""
    return any(
        image.host or found.inventory.tags(place)
        for image in entry.names
        for place in image.repositories_in(found.own.hosts, found.prefix)
    )


def _refuse_stranger(report: ListReport, address: RegistryAddress) -> None:
    raise RefusedError(
        f"the list {report.name} names nothing that is in {address.name} (of {report.images} images)",
        advice="is it for another registry? list other host names of this one in `protect: aliases:`",
    )


def _refuse_doubtful(report: ListReport, address: RegistryAddress, missed: int, known: int) -> None:
    named = ", ".join((*report.absent, *report.doubtful)[:_MOST_NAMED])
    raise RefusedError(
        f"most of what the list {report.name} names of {address.name} is not there or was not understood: "
        f"{missed:,} of {missed + known:,} ({named})",
        advice="is it an old list, or for another registry with this name? nothing was removed",
    )


def _shown(entry: Entry) -> str:
    image = entry.names[0]
    tag = f":{image.tag}" if image.tag is not None else ""
    digest = f"@{image.digest.short}" if image.digest is not None else ""
    return f"{image.repository}{tag}{digest}"
