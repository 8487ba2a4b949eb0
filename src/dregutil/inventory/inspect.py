"""Registry → one image, live: what it stands for now, its children and referrers, and what of it is missing.

Manifests and configs that were read before come from the content database; what is new goes into it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from dregutil.errors import DregutilError, NotFoundError
from dregutil.inventory.contents.database import ContentDatabase, needs_config
from dregutil.inventory.contents.read import read_contents
from dregutil.oci.image import ImageConfig, ImageDetails, describe, parse_config
from dregutil.oci.manifest import Descriptor, Manifest
from dregutil.oci.names import Digest, Reference, Repository, Tag, parse_signature_tag
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["LATEST", "InspectedImage", "Referrer", "inspect_image"]

LATEST = Tag("latest")


@dataclass(frozen=True, slots=True)
class Referrer:
    """What refers to an image: its artifact's type, and the tag that is named for the image, if one led to it."""

    digest: Digest
    type: str
    tag: str = ""


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """An image with all that is known of it. `manifests` holds its own and those of its children.

    `referrers`: what refers to it, by the server's list or by tags that are named for it; `tags` those on its digest.
    `missing` are children that its indexes name, and that the registry does not have: nothing else counts them.
    `trouble` says what could not be read, or is empty.
    """

    name: str
    repository: Repository
    tags: Sequence[Tag]
    details: ImageDetails
    manifests: Mapping[Digest, Manifest]
    referrers: Sequence[Referrer] = ()
    missing: Sequence[Descriptor] = ()
    trouble: str = ""

    @property
    def manifest(self) -> Manifest:
        return self.manifests[self.details.digest]


async def inspect_image(
    registry: Registry, reference: Reference, database: ContentDatabase, known: Collection[Tag] = ()
) -> InspectedImage | None:
    """The image that `reference` names, `latest` where it names neither tag nor digest; None where it is not there.

    `known` are tags that may be on its digest, too: each is asked for. Raises NotFoundError where its manifests cannot
    be read whole, and what reading raises.
    """
    repository = reference.repository
    found = await registry.resolve(repository, reference.digest or reference.tag or LATEST)
    if found is None:
        return None
    contents = await read_contents(registry, [(repository, found.digest)], database)
    manifests, missing = await _manifests(registry, repository, found.digest, database)
    details = describe(found.digest, manifests, _configs(manifests.values(), database))
    if details is None:
        raise contents.unreadable.get(found.digest) or NotFoundError(f"{reference} could not be read whole")
    tags, referrers, trouble = await _company(registry, repository, found.digest, known)
    trouble = _missing_text(missing) or _unread_text(contents.unreadable.get(found.digest)) or trouble
    return InspectedImage(str(reference), repository, tags, details, manifests, referrers, missing, trouble)


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
    return f"{what} missing in the registry: {names}; pulling them fails; push it again"


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
    return tuple(tags), tuple(referrers.values()), ""


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
