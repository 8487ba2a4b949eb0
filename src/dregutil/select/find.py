"""A digest, the beginning of one, or an image → what is meant, and every tag that uses it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dregutil.errors import NotFoundError, PartialError, UsageError
from dregutil.inventory.contents.database import CHILD, CONFIG, FOREIGN, LAYER, ContentDatabase
from dregutil.inventory.contents.search import digests_beginning_with, everything_above, find_users
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.inventory.tag_index import TagIndex
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag, parse_signature_tag
from dregutil.select.absent import absent_image
from dregutil.select.version import tag_order

__all__ = [
    "Use",
    "check_was_read",
    "digest_of_image",
    "find_indexed",
    "tagged_digest",
    "used_digest",
    "uses",
]

LATEST = Tag("latest")
_MOST_NAMED = 5
_UNIQUE = 12  # hexadecimal digits that no two of many million digests share
_PREFIX = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{4,128})")
_ROLES = {CHILD: "child", CONFIG: "config", LAYER: "layer", FOREIGN: "layer, kept elsewhere"}


@dataclass(frozen=True, slots=True)
class Use:
    """A tag that uses a digest, and how; `how` is empty where the tag names it itself."""

    repository: Repository
    tag: Tag
    digest: Digest
    how: str = ""


def uses(digest: Digest, inventory: Inventory | TagIndex, database: ContentDatabase) -> tuple[Use, ...]:
    """Every tag that names a digest, refers to it, or has it as a part, of what `database` has read. Raises
    CacheError."""
    return (*_tags(digest, inventory), *_signatures(digest, inventory), *_users(digest, inventory, database))


def tagged_digest(what: str, found: CrawlResult, address: RegistryAddress) -> Digest | None:
    """The digest that `what` names, if a tag stands for it; None where it may be that of a layer, config or child.

    Raises NotFoundError for an image that is not there, UsageError for what is the beginning of several.
    """
    prefix, inventory = _PREFIX.fullmatch(what), found.shown
    if prefix is None or (prefix[1] is None and inventory.tags(Repository(what))):
        return digest_of_image(Reference.parse(what, registry=address), found, address)
    return _only(what, _tagged(inventory, prefix))


def used_digest(what: str, inventory: Inventory | TagIndex, database: ContentDatabase, *, whole: bool) -> Digest | None:
    """The digest of something behind a tag of this registry: the database has those of other registries, too.

    Raises NotFoundError; where not all could be read (not `whole`), it may be used there, and is None.
    """
    prefix = _PREFIX.fullmatch(what)
    found = None
    if prefix is not None:
        candidates = digests_beginning_with(database, prefix[2], prefix[1])
        found = _only(what, [digest for digest in candidates if any(_users(digest, inventory, database))])
    if found is None and whole:
        raise NotFoundError(f"no tag uses {what}", advice="--refresh reads the registry again")
    return found


def find_indexed(
    what: str, index: TagIndex, database: ContentDatabase, address: RegistryAddress
) -> tuple[Digest, tuple[Use, ...]] | None:
    """As `tagged_digest`, `used_digest` and `uses` together, of an index whose tags were all read into `database`.

    None where only a walk over all tags can answer: for what is not known, and if rows that the answer needs are
    damaged. Raises as they do, and DamagedIndexError.
    """
    prefix = _PREFIX.fullmatch(what)
    if prefix is None or (prefix[1] is None and index.tags(Repository(what))):
        image = Reference.parse(what, registry=address)
        digest = image.digest or index.tags(image.repository).get(image.tag or LATEST)
    else:
        digest = _only(what, _tagged(index, prefix))
        if digest is None:
            candidates = digests_beginning_with(database, prefix[2], prefix[1])
            # A lost row could make a short prefix unique.
            if len(prefix[2]) < _UNIQUE or not all(_was_kept(one, index, database) for one in candidates):
                return None
            digest = used_digest(what, index, database, whole=True) if candidates else None
    if digest is None or not _was_kept(digest, index, database):
        return None
    return digest, uses(digest, index, database)


def _was_kept(digest: Digest, index: TagIndex, database: ContentDatabase) -> bool:
    """Whether every row is sound that says what uses a digest."""
    above = everything_above(database, digest)
    return above is not None and not database.missing(index.holders_of(above))


def _tagged(inventory: Inventory | TagIndex, prefix: re.Match[str]) -> list[Digest]:
    return [digest for digest in inventory.beginning_with(prefix[2]) if prefix[1] in (None, digest.algorithm)]


def _only(what: str, found: list[Digest]) -> Digest | None:
    if len(found) > 1:
        shown = ", ".join(digest.short for digest in sorted(found)[:5])
        raise UsageError(f"{what} is the beginning of {len(found)} digests: {shown}", advice="give more of it")
    return found[0] if found else None


def _tags(digest: Digest, inventory: Inventory | TagIndex) -> Iterator[Use]:
    for repository, tag in sorted(inventory.holders(digest), key=lambda held: (held[0], tag_order(held[1]))):
        yield Use(repository, tag, digest)


def _signatures(digest: Digest, inventory: Inventory | TagIndex) -> Iterator[Use]:
    for repository in sorted({repository for repository, _ in inventory.holders(digest)}):
        for tag, found in inventory.tags(repository).items():
            if (signature := parse_signature_tag(tag)) is not None and signature.names(digest):
                yield Use(repository, tag, found, "refers to it")


def _users(digest: Digest, inventory: Inventory | TagIndex, database: ContentDatabase) -> Iterator[Use]:
    """Tags of images and indexes that have it as a part, as far as they were read."""
    users = find_users(database, digest)
    found = [
        Use(repository, tag, user, f"{_ROLES[how.role]}{' of a child' if how.depth > 1 and how.role != CHILD else ''}")
        for user, holders in inventory.holders_of(users).items()
        for how in (users[user],)
        for repository, tag in holders
    ]
    yield from sorted(found, key=lambda use: (use.repository, tag_order(use.tag)))


def digest_of_image(image: Reference, source: CrawlResult, address: RegistryAddress) -> Digest:
    """The digest of a `repository:tag` (`latest`, if it has none) or of what names one.

    Raises NotFoundError, and PartialError where it may be there and could not be read.
    """
    if image.digest is not None:
        return image.digest
    inventory = source.shown
    found = inventory.tags(image.repository).get(image.tag or LATEST)
    if found is None:
        check_was_read(image, source)
        absent = absent_image(image, inventory.tags(image.repository), inventory.repositories, address)
        absent.advice += "; --refresh reads the registry again"
        raise absent
    return found


def check_was_read(image: Reference, source: CrawlResult) -> None:
    """Raises PartialError where an image is not known because it, or its repository, could not be read."""
    error = source.unread.get(image.repository, {}).get(image.tag or LATEST)
    if error is None and image.repository not in source.unread:
        error = source.failed.get(image.repository)
    if error is not None:
        raise PartialError(f"{image} could not be read: {error.message}", advice=error.advice)
