"""What a service deletes or brings back is checked with the registry, whatever the service says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import pytest

from dregutil.errors import NoListingError, OutcomeUnknownError, RegistryError
from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.native.service import MayReturn
from dregutil.registry.native.writing import ServiceWrites

R = Repository("shop/web")
MINE, OTHER = Digest.of(b"mine"), Digest.of(b"other")
ONE, TWO = Tag("1.0"), Tag("2.0")


@dataclass
class Scripted:
    """A service that says what the test wants. `returning`: the tags of what it may bring back."""

    says: bool = True
    returning: tuple[Tag, ...] = (ONE, TWO)
    fails: Exception | None = None
    restored: list[Digest] = field(default_factory=list)
    name: str = "a service"
    page: int = 1
    reading_counts: bool = False
    keeps_layers_apart: bool = False
    deletes_tags: bool = True
    deletes_manifests: bool = True
    restores: bool = True
    tags_first: bool = False
    deletes_at_once: int = 1

    def writing(self) -> Self:
        return self

    async def listing(self, repository: Repository) -> Listing:
        raise NoListingError(f"{repository} is not there")

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        return self.says

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        return self.says

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        if not await may_return(self.returning):
            return False
        if self.fails is not None:
            raise self.fails
        self.restored.append(digest)
        return True


def writes(service: Scripted, names: dict[Tag | Digest, Digest] | None = None) -> ServiceWrites:
    async def named(_: Repository, reference: Tag | Digest) -> Digest | None:
        return (names or {}).get(reference)

    return ServiceWrites(service, named)


async def test_what_a_service_does_not_find_is_gone_only_if_the_registry_agrees() -> None:
    absent = writes(Scripted(says=False))
    assert not await absent.delete_tag(R, ONE)
    assert not await absent.delete_manifest(R, MINE)
    there = writes(Scripted(says=False), {ONE: MINE, MINE: MINE})
    with pytest.raises(RegistryError, match="does not find it, the registry does"):
        await there.delete_tag(R, ONE)
    with pytest.raises(RegistryError, match="does not list it, the registry does"):
        await there.delete_manifest(R, MINE)


async def test_a_repository_that_the_service_does_not_know_is_not_its_own() -> None:
    found = writes(Scripted())
    with pytest.raises(NoListingError):
        await found.check(R)
    assert not found.repositories


@pytest.mark.parametrize(
    ("names", "tags", "is_restored"),
    [
        ({}, {ONE, TWO}, True),
        ({ONE: MINE}, {ONE, TWO}, True),
        ({ONE: OTHER}, {ONE, TWO}, False),
        ({TWO: OTHER}, {ONE, TWO}, False),
        ({ONE: OTHER}, None, False),
        ({}, {ONE}, False),
        ({}, (), False),
        ({}, None, True),
    ],
)
async def test_no_tag_comes_back_that_names_something_else_or_was_not_asked_for(
    names: dict[Tag | Digest, Digest], tags: set[Tag] | None, is_restored: bool
) -> None:
    service = Scripted()
    assert await writes(service, names).restore(R, MINE, tags) is is_restored
    assert service.restored == [MINE] * is_restored


async def test_an_answer_to_a_restoration_that_is_lost() -> None:
    service = Scripted(fails=OutcomeUnknownError("no answer"))
    assert not await writes(service).restore(R, MINE, None)
    assert await writes(service, {MINE: MINE}).restore(R, MINE, None)


async def test_a_service_that_takes_no_login_restores_nothing() -> None:
    assert not await writes(Scripted(fails=NoListingError("a login is wanted"))).restore(R, MINE, None)
