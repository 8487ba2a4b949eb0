"""`find`: everything that uses a digest (of an image, a layer or a config), or the digest of an image."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dregutil.cli.contents import open_contents, read_missing
from dregutil.cli.output import count, emit, note, plural
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.search import digest_of_image
from dregutil.cli.settings import Settings
from dregutil.cli.source import Source, open_source
from dregutil.errors import NotFoundError, PartialError, UsageError
from dregutil.inventory.contents.database import CHILD, CONFIG, FOREIGN, LAYER, ContentDatabase
from dregutil.inventory.contents.search import digests_beginning_with, find_users
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Reference, Repository, Tag, parse_signature_tag
from dregutil.report.text import column_lines
from dregutil.select.version import tag_order

__all__ = ["find"]

_PREFIX = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{4,128})")
_ROLES = {CHILD: "child", CONFIG: "config", LAYER: "layer", FOREIGN: "layer, kept elsewhere"}


@dataclass(frozen=True, slots=True)
class _Use:
    """A tag that uses what was asked for, and how; `how` is empty where the tag stands for it itself."""

    repository: Repository
    tag: Tag
    digest: Digest
    how: str = ""


def find(args: argparse.Namespace, settings: Settings) -> int:
    source = open_source(settings)
    inventory = source.shown
    code = PARTIAL if source.failed else 0
    with open_contents(settings) as database:
        digest = _tagged(args.what, source, settings)
        if digest is None:
            # Only what is behind the tags can tell; where a tag stands for it, that is known without.
            code = PARTIAL if read_missing(settings, database, _holders(inventory)) else code
            digest = _within(args.what, inventory, database, whole=not source.failed and not code)
        elif unread := len(database.missing(held for _, held in _holders(inventory))):
            note(settings, f"{plural(unread, 'digest')} not read yet: an index that holds it may be missing here")
        uses = [*_tags(digest, inventory), *_signatures(digest, inventory), *_users(digest, inventory, database)]
    objects = [
        {
            "repository": use.repository,
            "tag": use.tag,
            "digest": use.digest,
            "image": f"{settings.address.name}/{use.repository}:{use.tag}",
            "how": use.how or "tag",
        }
        for use in uses
    ]
    rows = [(use.repository, use.tag, use.digest, use.how) for use in uses]
    emit(settings, objects, (line.rstrip() for line in column_lines(rows)) if rows else ())
    count(settings, "tags", len(rows))
    return code


def _holders(inventory: Inventory) -> list[tuple[Repository, Digest]]:
    return [(name, digest) for name, tags in inventory.as_mapping().items() for digest in dict.fromkeys(tags.values())]


def _tagged(what: str, source: Source, settings: Settings) -> Digest | None:
    """The digest that was meant, if a tag stands for it; None where it may be that of a layer, config or child.

    Raises NotFoundError for an image that is not there, UsageError for what is the beginning of several.
    """
    prefix, inventory = _PREFIX.fullmatch(what), source.shown
    if prefix is None or (prefix[1] is None and inventory.tags(Repository(what))):
        return digest_of_image(Reference.parse(what, registry=settings.address), source, settings.address)
    known = {digest for tags in inventory.as_mapping().values() for digest in tags.values()}
    return _only(what, [digest for digest in known if _begins(digest, prefix)])


def _within(what: str, inventory: Inventory, database: ContentDatabase, *, whole: bool) -> Digest:
    """The digest of something behind a tag of this registry (the database holds that of others as well).

    Raises NotFoundError; where not all could be read (`whole`), PartialError, since it may be used there.
    """
    prefix = _PREFIX.fullmatch(what)
    found = None
    if prefix is not None:
        candidates = digests_beginning_with(database, prefix[2], prefix[1])
        found = _only(what, [digest for digest in candidates if any(_users(digest, inventory, database))])
    if found is None:
        if not whole:
            raise PartialError(f"no tag that could be read uses {what}", advice="what could not be read is named above")
        raise NotFoundError(f"no tag uses {what}", advice="--refresh reads the registry again")
    return found


def _begins(digest: Digest, prefix: re.Match[str]) -> bool:
    return digest.hex.startswith(prefix[2]) and prefix[1] in (None, digest.algorithm)


def _only(what: str, found: list[Digest]) -> Digest | None:
    if len(found) > 1:
        shown = ", ".join(digest.short for digest in sorted(found)[:5])
        raise UsageError(f"{what} is the beginning of {len(found)} digests: {shown}", advice="give more of it")
    return found[0] if found else None


def _tags(digest: Digest, inventory: Inventory) -> Iterator[_Use]:
    for repository, tag in sorted(inventory.holders(digest), key=lambda held: (held[0], tag_order(held[1]))):
        yield _Use(repository, tag, digest)


def _signatures(digest: Digest, inventory: Inventory) -> Iterator[_Use]:
    for repository in sorted({repository for repository, _ in inventory.holders(digest)}):
        for tag, found in inventory.tags(repository).items():
            if (signature := parse_signature_tag(tag)) is not None and signature.names(digest):
                yield _Use(repository, tag, found, "refers to it")


def _users(digest: Digest, inventory: Inventory, database: ContentDatabase) -> Iterator[_Use]:
    """Tags of images and indexes that have it as a part, as far as they were read."""
    found = [
        _Use(repository, tag, user, f"{_ROLES[how.role]}{' of a child' if how.depth > 1 and how.role != CHILD else ''}")
        for user, how in find_users(database, digest).items()
        for repository, tag in inventory.holders(user)
    ]
    yield from sorted(found, key=lambda use: (use.repository, tag_order(use.tag)))
