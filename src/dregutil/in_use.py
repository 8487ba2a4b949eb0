"""Images in use → what they are in one registry. Pure; a list that protects nothing here is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from dregutil.errors import RefusedError
from dregutil.image_list import ImageName, read_image_list, registry_hosts
from dregutil.inventory import Inventory
from dregutil.quantity import age_as_written, duration_as_written
from dregutil.reference import Digest, RegistryAddress, Repository, Tag
from dregutil.retention.policy import InUseList, Protect
from dregutil.retention.verdict import InUse

__all__ = ["ListFile", "ListReport", "find_in_use", "images_in"]


@dataclass(frozen=True, slots=True)
class ListFile:
    """A list as it was read: its text, and how old it is. What came by standard input was made just now."""

    entry: InUseList
    text: str
    age: timedelta

    @property
    def name(self) -> str:
        return "standard input" if self.entry.file == "-" else self.entry.file


@dataclass(frozen=True, slots=True)
class ListReport:
    """How many images a list names, how many of them are in this registry, and which of this registry's are not."""

    name: str
    age: timedelta
    images: int
    matched: int
    absent: tuple[str, ...] = ()


def find_in_use(
    protect: Protect, files: Sequence[ListFile], inventory: Inventory, address: RegistryAddress
) -> tuple[InUse, tuple[ListReport, ...]]:
    """Resolve lists against a registry's tags. Raises RefusedError where one is too old, empty, or matches nothing."""
    hosts = registry_hosts(address, protect.aliases)
    tags: dict[tuple[Repository, Tag], str] = {}
    digests: dict[tuple[Repository, Digest], str] = {}
    anywhere: dict[Digest, str] = {}
    reports: list[ListReport] = []
    for file in files:
        name, images = file.name, images_in(file)
        matched, absent = 0, []
        for image in images:
            places = image.repositories_in(hosts, address.prefix.strip("/"))
            if image.repository is None and image.digest is not None:
                anywhere.setdefault(image.digest, name)
                matched += bool(inventory.holders(image.digest))
            here = [place for place in places if _is_here(image, place, inventory)]
            for place in places:
                if image.tag is not None:
                    tags.setdefault((place, image.tag), name)
                if image.digest is not None:
                    digests.setdefault((place, image.digest), name)
            matched += bool(here)
            if places and not here and image.host:
                absent.append(_shown(image))
        if not matched:
            raise RefusedError(
                f"the list {name} names nothing that is in {address.name} (of {len(images)} images)",
                advice="is it of another registry? other host names of this one belong into `protect: aliases:`",
            )
        reports.append(ListReport(name, file.age, len(images), matched, tuple(absent)))
    return InUse(tags, digests, anywhere), tuple(reports)


def images_in(file: ListFile) -> tuple[ImageName, ...]:
    """All images that a list names. Raises RefusedError where it is too old, empty, or cannot be read whole."""
    max_age = file.entry.max_age
    if max_age is not None and file.age > max_age:
        raise RefusedError(
            f"the list {file.name} is {age_as_written(file.age)} old, and max_age is {duration_as_written(max_age)}",
            advice="make it again; nothing was removed",
        )
    return read_image_list(file.text, file.name)


def _is_here(image: ImageName, repository: Repository, inventory: Inventory) -> bool:
    """Whether an image's tag is there, or its digest; of a digest that no tag names only the repository is known."""
    found: Mapping[Tag, Digest] = inventory.tags(repository)
    return bool(found) and (image.tag in found or image.digest is not None)


def _shown(image: ImageName) -> str:
    tag = f":{image.tag}" if image.tag is not None else ""
    digest = f"@{image.digest.short}" if image.digest is not None else ""
    return f"{image.repository}{tag}{digest}"
