"""What the index says of one digest, from its contents; and of one tag, from a plan. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from dregutil.oci.image import ImageDetails, known_date
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.policy import PolicySet, applies_to
from dregutil.serve.images.schema import KEEP, REMOVE, Terms

__all__ = ["ImageFacts", "Removals", "Verdicts", "facts_of", "full_chains", "verdicts_of"]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of a digest. `created` is in seconds since 1970, None if it is not plausible. `terms`: its
    properties; `chains`: those of its layers from the base on, and whether they are all layers of an image. `below`:
    its children. Nothing is known of a digest that was not read: `size` is None."""

    created: int | None = None
    size: int | None = None
    platforms: tuple[str, ...] = ()
    terms: frozenset[int] = frozenset()
    chains: Mapping[int, bool] = field(default_factory=dict)
    below: tuple[Digest, ...] = ()


UNREAD = ImageFacts()


def facts_of(details: ImageDetails | None, terms: Terms, now: datetime) -> ImageFacts:
    """The facts of what was read; of None nothing is known."""
    if details is None:
        return UNREAD
    created = known_date(details.created, now)
    images = [*_images(details)]
    chains: dict[int, bool] = {}
    for image in images:
        found = terms.chains(image.layers)
        for number, chain in enumerate(found, 1):
            chains[chain] = chains.get(chain, False) or number == len(found)
    below = tuple(dict.fromkeys(image.digest for image in images if image.digest != details.digest))
    platforms = tuple(name.encode(errors="backslashreplace").decode() for name in details.platforms)
    properties = [
        *(terms.label(key) for key in details.labels),
        *(terms.label(key, value) for key, value in details.labels.items()),
        *map(terms.platform, platforms),
        *(terms.layer(layer) for image in images for layer in image.layers),
        *map(terms.child, below),
    ]
    return ImageFacts(
        None if created is None else int(created.timestamp()),
        details.size,
        platforms,
        frozenset(properties),
        chains,
        below,
    )


def full_chains(facts: ImageFacts) -> list[int]:
    """What stands for all layers of an image, or of each image of an index."""
    return [chain for chain, is_full in facts.chains.items() if is_full]


def _images(details: ImageDetails) -> Iterator[ImageDetails]:
    """What was described, and everything in it."""
    yield details
    for child in details.children:
        yield from _images(child)


_Removed = Mapping[Tag, tuple[Digest, str]]


class Removals(Protocol):
    """What a plan removes in a repository: its tags, each with the digest that it was on, and the reason."""

    def get(self, repository: Repository, default: _Removed, /) -> _Removed: ...


_NOTHING: Mapping[Repository, _Removed] = {}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a plan does with each tag. `is_judged`: whether one of its policies is for a repository."""

    removed: Removals = field(default_factory=lambda: _NOTHING)
    is_judged: Callable[[Repository], bool] = lambda _: False

    def of(self, repository: Repository) -> Callable[[Tag, Digest], tuple[int, str | None]]:
        """The verdict (REMOVE, KEEP, or 0 for none) and the reason of a removal, for the tags of a repository."""
        removed = self.removed.get(repository, {})
        other = KEEP if removed or self.is_judged(repository) else 0

        def verdict(tag: Tag, digest: Digest) -> tuple[int, str | None]:
            found = removed.get(tag)
            return (REMOVE, found[1]) if found is not None and found[0] == digest else (other, None)

        return verdict


def verdicts_of(removed: Removals, policies: PolicySet | None) -> Verdicts:
    """The verdicts of a plan that was made by `policies`; without them only the repositories in which it removes
    something have verdicts."""
    parsed = () if policies is None else policies.policies
    return Verdicts(removed, lambda name: any(applies_to(policy, name) for policy in parsed))
