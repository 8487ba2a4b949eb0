"""`inspect`: what is behind an image."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from dregutil.cli.connection import connect_options
from dregutil.cli.contents import open_contents
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.output import emit, note, tag_text
from dregutil.cli.repositories import PARTIAL, absent_image
from dregutil.cli.settings import Settings
from dregutil.errors import CacheError, DregutilError, NotFoundError
from dregutil.inventory.contents.database import ContentDatabase, needs_config
from dregutil.inventory.contents.read import read_contents
from dregutil.oci.image import ImageConfig, describe, parse_config
from dregutil.oci.manifest import Descriptor, Manifest
from dregutil.oci.names import Digest, Reference, Repository, Tag, parse_signature_tag
from dregutil.oci.placeholder import is_placeholder
from dregutil.registry import Registry, connect
from dregutil.registry.workers import for_each
from dregutil.report.image import InspectedImage, Referrer, image_lines, image_object
from dregutil.select.version import tag_order

__all__ = ["inspect"]

_LATEST = Tag("latest")


def inspect(args: argparse.Namespace, settings: Settings) -> int:
    """Asks the registry, live, what the image stands for now; what is behind that may come from the database."""
    reference = Reference.parse(args.image, registry=settings.address)

    known = _known_tags(settings, reference)

    async def read(database: ContentDatabase) -> tuple[InspectedImage, str]:
        async with connect(settings.address, connect_options(settings)) as registry:
            return await _read(registry, reference, database, known)

    with open_contents(settings) as database:
        image, trouble = asyncio.run(read(database))
    image = replace(image, name=f"{settings.address.name}/{reference}")
    emit(settings, [image_object(image)], image_lines(image, datetime.now(UTC), tag_text=tag_text(sys.stdout)))
    if is_placeholder(image.manifests.get(image.details.digest)):
        tag = reference.tag or Tag(image.details.digest)
        trouble = " ".join(left_behind_lines(settings, [(reference.repository, tag, image.details.digest)]))
    if trouble:
        note(settings, trouble)
    return PARTIAL if trouble else 0


async def _read(
    registry: Registry, reference: Reference, database: ContentDatabase, known: Collection[Tag]
) -> tuple[InspectedImage, str]:
    """The image, and what of it could not be read. Raises NotFoundError where it is not there."""
    repository = reference.repository
    asked = reference.digest or reference.tag or _LATEST
    found = await registry.resolve(repository, asked)
    if found is None:
        raise await _absent(registry, reference)
    contents = await read_contents(registry, [(repository, found.digest)], database)
    manifests, missing = await _manifests(registry, repository, found.digest, database)
    details = describe(found.digest, manifests, _configs(manifests.values(), database))
    if details is None:
        raise contents.unreadable.get(found.digest) or NotFoundError(f"{reference} could not be read whole")
    tags, referrers, trouble = await _company(registry, repository, found.digest, known)
    image = InspectedImage(str(reference), repository, tags, details, manifests, referrers, missing)
    return image, _missing_text(missing) or _unread_text(contents.unreadable.get(found.digest)) or trouble


async def _absent(registry: Registry, reference: Reference) -> NotFoundError:
    """The error that an image is not there, with what is; a catalog that cannot be read names nothing."""
    tags = await registry.tags(reference.repository)
    there: list[Repository] = []
    if not tags:
        with suppress(DregutilError):
            there = [name async for name in registry.repositories()]
    return absent_image(reference, tags, there, registry.address)


async def _manifests(
    registry: Registry, repository: Repository, top: Digest, database: ContentDatabase
) -> tuple[Mapping[Digest, Manifest], Sequence[Descriptor]]:
    """The image's manifests, indexes with those of their children that are there now; and the others."""
    found: dict[Digest, Manifest] = {}
    missing: dict[Digest, Descriptor] = {}
    waiting = [top]
    while waiting:
        manifest = database.manifest(waiting.pop())
        if manifest is None:
            continue
        gone = await _gone(registry, repository, manifest.children)
        missing.update((child.digest, child) for child in gone)
        there = tuple(child for child in manifest.children if child not in gone and database.manifest(child.digest))
        found[manifest.digest] = replace(manifest, children=there)
        waiting += [child.digest for child in there if child.digest not in found]
    return found, tuple(missing.values())


async def _gone(registry: Registry, repository: Repository, children: Collection[Descriptor]) -> Sequence[Descriptor]:
    """Those of an index's children that the registry does not have now, whatever is known of them."""
    gone: set[Digest] = set()

    async def look(child: Descriptor) -> None:
        if await registry.resolve(repository, child.digest) is None:
            gone.add(child.digest)

    await for_each(children, look)
    return [child for child in children if child.digest in gone]


def _configs(manifests: Collection[Manifest], database: ContentDatabase) -> Mapping[Digest, ImageConfig]:
    found: dict[Digest, ImageConfig] = {}
    for manifest in manifests:
        raw = database.config(manifest.config.digest) if manifest.config and needs_config(manifest) else None
        if manifest.config is not None and raw is not None:
            found[manifest.config.digest] = parse_config(raw)
    return found


def _missing_text(missing: Sequence[Descriptor]) -> str:
    if not missing:
        return ""
    names = ", ".join(" ".join(part for part in (child.platform, child.digest.short) if part) for child in missing)
    what = "a child of this index is" if len(missing) == 1 else f"{len(missing)} children of this index are"
    return f"{what} missing in the registry: {names}; whoever pulls it fails, push it again"


def _unread_text(error: DregutilError | None) -> str:
    return "" if error is None else f"not all of it could be read: {error.message}"


async def _company(
    registry: Registry, repository: Repository, digest: Digest, known: Collection[Tag]
) -> tuple[tuple[Tag, ...], tuple[Referrer, ...], str]:
    """The tags on a digest, of those that are known; what refers to it; and why that may not be all."""
    tags: dict[Tag, None] = {}
    referrers: dict[Digest, Referrer] = {}

    async def look(tag: Tag) -> None:
        found = await registry.resolve(repository, tag)
        if found is not None and found.digest == digest:
            tags[tag] = None

    try:
        await for_each(known, look)
        for tag in await registry.tags(repository):
            signature = parse_signature_tag(tag)
            if signature is not None and signature.names(digest):
                found = await registry.manifest(repository, tag)
                if found is not None and found.digest != digest:
                    referrers.update(
                        (one.digest, one) for one in await _named(registry, repository, tag, found, digest)
                    )
        listed = await registry.referrers(repository, digest) or ()
        for one in await _referring(registry, repository, [descriptor.digest for descriptor in listed], digest):
            referrers.setdefault(one.digest, one)
    except DregutilError as error:
        return tuple(tags), tuple(referrers.values()), f"its tags and referrers were not all read: {error.message}"
    return tuple(sorted(tags, key=tag_order)), tuple(referrers.values()), ""


async def _named(
    registry: Registry, repository: Repository, tag: Tag, found: Manifest, subject: Digest
) -> Sequence[Referrer]:
    """What a tag named for the subject stands for; the fallback tag (without a suffix) is a list of referrers."""
    if found.children:
        return await _referring(registry, repository, [child.digest for child in found.children], subject)
    return (Referrer(found.digest, _type(found), tag),)


async def _referring(
    registry: Registry, repository: Repository, digests: Collection[Digest], subject: Digest
) -> Sequence[Referrer]:
    """Those of `digests` that name the subject themselves."""
    found: list[Referrer] = []

    async def read(digest: Digest) -> None:
        manifest = await registry.manifest(repository, digest)
        if manifest is not None and manifest.subject is not None and manifest.subject.digest == subject:
            found.append(Referrer(digest, _type(manifest)))

    await for_each(digests, read)
    return sorted(found, key=lambda one: one.digest)


def _type(manifest: Manifest) -> str:
    return manifest.artifact_type or ("" if manifest.config is None else manifest.config.media_type)


def _known_tags(settings: Settings, reference: Reference) -> tuple[Tag, ...]:
    """Tags that the cache file has on the same digest: asked for again before they are shown."""
    named = {reference.tag or _LATEST} if reference.digest is None else {reference.tag} - {None}
    try:
        cached = settings.cache.read() if settings.cache is not None else None
    except CacheError:
        cached = None
    tags = {} if cached is None else cached.tags(reference.repository)
    digests = {reference.digest, *(tags.get(tag) for tag in named if tag is not None)} - {None}
    return tuple(dict.fromkeys([*(t for t in named if t), *(tag for tag, found in tags.items() if found in digests)]))
