"""`find`: everything that uses a digest, or the digest of an image."""

from __future__ import annotations

import argparse
import re

from dregutil.cli.output import count, emit
from dregutil.cli.settings import Settings
from dregutil.cli.source import open_source
from dregutil.errors import NotFoundError, UsageError
from dregutil.inventory import Inventory
from dregutil.reference import Digest, Reference, RegistryAddress, parse_signature_tag
from dregutil.report.text import column_lines
from dregutil.version import tag_order

__all__ = ["find"]

_PREFIX = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{4,128})")


def find(args: argparse.Namespace, settings: Settings) -> int:
    source = open_source(settings)
    digest = _digest(args.what, source.inventory, settings.address)
    holders = sorted(source.inventory.holders(digest), key=lambda held: (held[0], tag_order(held[1])))
    objects = [
        {"repository": repository, "tag": tag, "digest": digest, "image": f"{settings.address.name}/{repository}:{tag}"}
        for repository, tag in holders
    ]
    signatures = [
        {"repository": repository, "tag": tag, "digest": found, "image": f"{settings.address.name}/{repository}:{tag}"}
        for repository in dict.fromkeys(repository for repository, _ in holders)
        for tag, found in source.inventory.tags(repository).items()
        if (signature := parse_signature_tag(tag)) is not None and signature.names(digest)
    ]
    rows = [(str(found["repository"]), str(found["tag"]), str(found["digest"])) for found in (*objects, *signatures)]
    emit(settings, [*objects, *signatures], column_lines(rows) if rows else ())
    count(settings, "tags", len(rows))
    return 0


def _digest(what: str, inventory: Inventory, address: RegistryAddress) -> Digest:
    """The digest that was meant. Raises NotFoundError, and UsageError where a prefix is not unique."""
    prefix = _PREFIX.fullmatch(what)
    known = {digest for tags in inventory.as_mapping().values() for digest in tags.values()}
    if prefix is not None:
        algorithm, value = prefix.groups()
        matching = sorted(
            digest for digest in known if digest.hex.startswith(value) and algorithm in (None, digest.algorithm)
        )
        if len(matching) > 1:
            shown = ", ".join(digest.short for digest in matching[:5])
            raise UsageError(f"{what} is the beginning of {len(matching)} digests: {shown}", advice="give more of it")
        if matching:
            return matching[0]
        if algorithm is not None:
            raise NotFoundError(f"no tag has {what}", advice="--refresh reads the registry again")
    reference = Reference.parse(what, registry=address)
    tags = inventory.tags(reference.repository)
    found = reference.digest or (tags.get(reference.tag) if reference.tag is not None else None)
    if found is None:
        raise NotFoundError(
            f"there is no {what}", advice="name repository:tag or a digest; --refresh reads the registry again"
        )
    return found
