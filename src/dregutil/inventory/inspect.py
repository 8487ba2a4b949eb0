"""Registry → one image, live: what it stands for now, its children and referrers, and what of it is missing.

Manifests and configs that were read before come from the content database; what is new goes into it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dregutil.errors import DregutilError, NotFoundError
from dregutil.inventory.contents.database import ContentDatabase, needs_config
from dregutil.inventory.contents.read import read_contents
from dregutil.inventory.referrer_tree import Referrer, ReferrerTree
from dregutil.oci.attestation import Attestation, attestations_of
from dregutil.oci.image import ImageConfig, ImageDetails, describe, parse_config
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["LATEST", "InspectedImage", "Referrer", "config_of", "inspect_image"]

LATEST = Tag("latest")
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """An image with all that is known of it. `manifests` holds its own and those of its children.

    `referrers`: what refers to it, by the server's list or by tags that are named for it; `tags` those on its digest.
    `missing` are children that its indexes name, and that the registry does not have: nothing else counts them.
    `trouble` says what could not be read, or is empty. `attestations` are those of its index, which are no platforms.
    `referrers_of` has what refers to children of its index.
    """

    name: str
    repository: Repository
    tags: Sequence[Tag]
    details: ImageDetails
    manifests: Mapping[Digest, Manifest]
    referrers: Sequence[Referrer] = ()
    missing: Sequence[Descriptor] = ()
    trouble: str = ""
    attestations: Sequence[Attestation] = ()
    referrers_of: Mapping[Digest, Sequence[Referrer]] = field(default_factory=dict)

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
    children = [child.digest for manifest in manifests.values() for child in manifest.children]
    company = await _company(registry, repository, found.digest, known, children)
    return InspectedImage(
        str(reference),
        repository,
        company.tags,
        details,
        manifests,
        company.referrers,
        missing,
        _missing_text(missing) or _unread_text(contents.unreadable.get(found.digest)) or company.trouble,
        attestations_of(manifests[found.digest], manifests),
        company.referrers_of,
    )


async def config_of(registry: Registry, reference: Reference) -> bytes | None:
    """The bytes of an image's or artifact's config; None where it is not there. Raises NotFoundError where the manifest
    has none, which is always so for an index."""
    manifest = await registry.manifest(reference.repository, reference.digest or reference.tag or LATEST)
    if manifest is None:
        return None
    if manifest.children:
        images = [child for child in manifest.children if not child.is_attestation]
        named = "; ".join(
            f"{reference.repository}@{child.digest} {child.platform}".strip() for child in images[:_MOST_NAMED]
        )
        more = f"; and {len(images) - _MOST_NAMED} more" if len(images) > _MOST_NAMED else ""
        raise NotFoundError(
            f"{reference} is an index, which has no config", advice=f"name one of its images: {named}{more}"
        )
    if manifest.config is None:
        raise NotFoundError(f"the manifest of {reference} has no config")
    found = await registry.blob(reference.repository, manifest.config.digest, longest=MAX_MANIFEST_BYTES)
    if found is None:
        raise NotFoundError(f"the config of {reference} is missing in the registry: {manifest.config.digest}")
    return found


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


@dataclass(frozen=True, slots=True)
class _Company:
    """The tags on a digest, of those that are known; what refers to it and to its children; and why that may not be
    all."""

    tags: tuple[Tag, ...]
    referrers: tuple[Referrer, ...] = ()
    referrers_of: Mapping[Digest, tuple[Referrer, ...]] = field(default_factory=dict)
    trouble: str = ""


async def _company(
    registry: Registry, repository: Repository, digest: Digest, known: Collection[Tag], children: Iterable[Digest]
) -> _Company:
    tags: dict[Tag, None] = {}
    tree: ReferrerTree | None = None
    trouble = ""

    async def look(tag: Tag) -> None:
        found = await registry.resolve(repository, tag)
        if found is not None and found.digest == digest:
            tags[tag] = None

    try:
        await for_each(known, look)
        tree = ReferrerTree(registry, repository, digest, await registry.tags(repository), children)
        await tree.read()
    except DregutilError as error:
        trouble = f"its tags and referrers were not all read: {error.message}"
    if tree is None:
        return _Company(tuple(tags), trouble=trouble)
    return _Company(tuple(tags), tree.referrers, tree.children, trouble or tree.limit)
