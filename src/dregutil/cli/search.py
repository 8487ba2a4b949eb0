"""Search by content: the selectors of the command line, carried out on what is behind tags."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dregutil.cli.output import note, plural
from dregutil.cli.repositories import PARTIAL, absent_image
from dregutil.cli.settings import Settings
from dregutil.cli.source import Source
from dregutil.errors import NotFoundError, PartialError, UsageError
from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag
from dregutil.select.glob import Glob, parse_glob
from dregutil.select.quantity import parse_duration, parse_size

if TYPE_CHECKING:
    from dregutil.inventory.contents.database import ContentDatabase
    from dregutil.select.content_selector import ContentSelector

__all__ = ["Search", "check_was_read", "digest_of_image", "read_search", "search_contents"]

_LATEST = Tag("latest")
_ARCHITECTURES = frozenset({"386", "aarch64", "amd64", "arm", "arm64", "armhf", "i386", "loong64", "mips64le"}) | {
    "ppc64le",
    "riscv64",
    "s390x",
    "x86_64",
}


@dataclass(frozen=True, slots=True)
class Search:
    """`selector` without its bases, which `bases` names: they can only be read once the registry's tags are known.

    None where nothing was asked for: then nothing is read, and the libraries for it are not even imported.
    """

    selector: ContentSelector | None = None
    bases: tuple[Reference, ...] = ()

    @property
    def is_asked(self) -> bool:
        return self.selector is not None

    def with_bases(self, only: Sequence[Repository] | None) -> tuple[Repository, ...] | None:
        """The repositories to read, with those of the bases; None where all must be."""
        return None if only is None else (*only, *(base.repository for base in self.bases))


def read_search(args: argparse.Namespace, settings: Settings) -> Search:
    """The selectors by content that were given. Raises UsageError."""
    given = (args.older_than, args.newer_than, args.larger_than, args.label, args.platform, args.media_type)
    if not any(value is not None for value in (*given, args.based_on)):
        return Search()
    from dregutil.select.content_selector import ContentSelector, Label

    selector = ContentSelector(
        older_than=None if args.older_than is None else parse_duration(args.older_than),
        newer_than=None if args.newer_than is None else parse_duration(args.newer_than),
        larger_than=None if args.larger_than is None else parse_size(args.larger_than),
        labels=tuple(map(Label.parse, args.label or ())),
        platforms=tuple(map(_platform, _not_empty("--platform", args.platform))),
        media_types=tuple(map(_media_type, _not_empty("--media-type", args.media_type))),
    )
    return Search(selector, tuple(Reference.parse(base, registry=settings.address) for base in args.based_on or ()))


def _platform(text: str) -> str:
    if text.lower() in _ARCHITECTURES:
        raise UsageError(
            f"--platform {text}: an architecture without its system", advice=f"write it with both, such as linux/{text}"
        )
    return text


def _media_type(text: str) -> Glob:
    if "/" not in text and "**" not in text:
        raise UsageError(
            f"--media-type {text!r} can match none: types have a slash, and '*' stops there",
            advice=f"write '**{text.strip('*')}**', or 'application/*{text.strip('*')}*'",
        )
    try:
        return parse_glob(text)
    except ValueError as error:
        raise UsageError(f"--media-type: {error}", advice="such as 'application/*helm*'; '*' stops at '/'") from error


def search_contents(
    settings: Settings,
    source: Source,
    search: Search,
    tags: Collection[tuple[Repository, Tag, Digest]],
) -> tuple[Set[Digest], int]:
    """The digests, of those of `tags`, that are meant; and the exit code that follows.

    Reads what is behind them, and is not known yet. What cannot be read is not meant, and said; so is how many tags
    are left out because their date is not known. Raises NotFoundError and UsageError for a base that cannot be one.
    """
    from dregutil.cli.content_hints import ContentHints
    from dregutil.cli.contents import open_contents, read_missing
    from dregutil.select.content_selector import Match

    holders = {(repository, digest): None for repository, _, digest in tags}
    bases = [(base.repository, digest_of_image(base, source, settings.address)) for base in search.bases]
    with open_contents(settings) as database:
        unreadable = read_missing(settings, database, (*holders, *bases))
        selector = _with_bases(search, database, [digest for _, digest in bases])
        hints, now = ContentHints(selector), datetime.now(UTC)
        found: dict[Digest, Match] = {}
        for digest in {digest: None for _, digest in holders if digest not in unreadable}:
            details = database.details(digest)
            if details is not None:
                found[digest] = selector.match(details, now)
                hints.add(details)
    for line in hints.lines():
        note(settings, line)
    undated = sum(found.get(digest) is Match.DATE_UNKNOWN for _, _, digest in tags)
    if undated:
        note(settings, f"{plural(undated, 'tag')} left out: date unknown")
    unread = sum(digest not in found for _, _, digest in tags)
    if unread:
        note(settings, f"{plural(unread, 'tag')} left out: not read")
    return {digest for digest, match in found.items() if match is Match.YES}, PARTIAL if unread else 0


def digest_of_image(image: Reference, source: Source, address: RegistryAddress) -> Digest:
    """The digest of a `repository:tag` (`latest`, if it has none) or of what names one.

    Raises NotFoundError, and PartialError where it may be there and could not be read.
    """
    if image.digest is not None:
        return image.digest
    inventory = source.shown
    found = inventory.tags(image.repository).get(image.tag or _LATEST)
    if found is None:
        check_was_read(image, source)
        absent = absent_image(image, inventory.tags(image.repository), inventory.repositories, address)
        absent.advice += "; --refresh reads the registry again"
        raise absent
    return found


def check_was_read(image: Reference, source: Source) -> None:
    """Raises PartialError where an image is not known because it, or its repository, could not be read."""
    error = source.unread.get(image.repository, {}).get(image.tag or _LATEST)
    if error is None and image.repository not in source.unread:
        error = source.failed.get(image.repository)
    if error is not None:
        raise PartialError(f"{image} could not be read: {error.message}", advice=error.advice)


def _with_bases(search: Search, database: ContentDatabase, digests: Sequence[Digest]) -> ContentSelector:
    from dregutil.select.content_selector import ContentSelector, base_layers

    bases: list[tuple[Digest, ...]] = []
    for base, digest in zip(search.bases, digests, strict=True):
        details = database.details(digest)
        if details is None:
            raise NotFoundError(f"--based-on {base}: what is behind it could not be read")
        layers = base_layers(details)
        if not layers:
            raise UsageError(f"--based-on {base}: it has no layers, so everything would be based on it")
        bases += layers
    return replace(search.selector or ContentSelector(), bases=tuple(bases))


def _not_empty(option: str, values: Sequence[str] | None) -> Sequence[str]:
    if values is not None and not all(value.strip("/ ") for value in values):
        raise UsageError(f"{option} without a value")
    return [value.strip("/ ") for value in values or ()]
