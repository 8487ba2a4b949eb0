"""Images of several repositories that a file lists, one per line: what `remove-tags --images` selects."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import NotFoundError, UsageError
from dregutil.files import read_stream, read_text
from dregutil.oci.names import Reference, RegistryAddress, Repository, Tag
from dregutil.select.selection import MatchRules, Selection, select_images

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.session.sync import Session

__all__ = ["check_images", "listed_images", "select_listed"]

_ADVICE = "--images needs one image per line, as repository:tag"
_MOST_NAMED = 5
_LONGEST_LIST = 64 * 1024 * 1024  # bytes
_SELECTORS = (
    "repo",
    "tags",
    "regex",
    "exclude",
    "exclude_regex",
    "older_than",
    "newer_than",
    "larger_than",
    "label",
    "platform",
    "media_type",
    "based_on",
)


def check_images(args: argparse.Namespace) -> None:
    """Raises UsageError unless the command line names repositories or a list of images, and not both."""
    if args.images is None:
        if not args.repo:
            raise UsageError(
                "the following arguments are required: --repo/-r", advice="see `dregutil remove-tags --help`"
            )
        return
    given = [name for name in _SELECTORS if getattr(args, name) is not None] + ["full_match"] * args.full_match
    if given:
        option = f"--{given[0].replace('_', '-')}"
        raise UsageError(f"--images and {option} were both given", advice="the list names every image to remove")


def listed_images(path: str, address: RegistryAddress) -> Mapping[Repository, tuple[Tag, ...]]:
    """The tags that a file names, by repository; `-` is standard input. `#` starts a comment.

    Raises UsageError if it cannot be read, names none, or has a line that is not `repository:tag`.
    """
    where = "standard input" if path == "-" else path
    try:
        is_stream = path == "-"
        text = read_stream(sys.stdin, _LONGEST_LIST) if is_stream else read_text(Path(path), _LONGEST_LIST)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"the images cannot be read from {where}: {why}", advice=_ADVICE) from error
    found: dict[Repository, dict[Tag, None]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.partition("#")[0].strip()
        if name:
            try:
                image = Reference.parse(name, registry=address)
            except UsageError as error:
                raise UsageError(f"{where}, line {number}: {error.message}", advice=error.advice) from error
            if image.tag is None or image.digest is not None:
                raise UsageError(f"{where}, line {number}: not repository:tag", advice=_ADVICE)
            found.setdefault(image.repository, {})[image.tag] = None
    if not found:
        raise UsageError(f"{where} names no image", advice=_ADVICE)
    return {name: tuple(tags) for name, tags in found.items()}


def select_listed(
    args: argparse.Namespace, settings: Settings, registry: Session
) -> tuple[CrawlResult, Selection, int]:
    """The selection of the listed images, from the cache or the registry, with its exit code so far. Raises UsageError
    before anything is read, NotFoundError if none of them is there, and IntersectionError if an option asks for it."""
    images = listed_images(args.images, settings.address)
    rules = MatchRules(
        match_all_tags=args.match_all,
        ignore_other_repositories=args.ignore_other_repos,
        raise_intersecting_tag=args.raise_tag,
        raise_intersecting_repository=settings.raise_intersecting_repository,
    )
    source = registry.inventory(only=[*images] if args.ignore_other_repos else None)
    code = _tell_absent(images, source)
    return source, select_images(source.inventory, images, rules), code


def _tell_absent(images: Mapping[Repository, tuple[Tag, ...]], source: CrawlResult) -> int:
    """Name images that are not there; returns the exit code. Raises NotFoundError if none is."""
    inventory = source.inventory
    absent = [
        f"{name}:{tag}"
        for name, tags in images.items()
        if name not in source.failed
        for tag in tags
        if tag not in inventory.tags(name)
    ]
    if absent:
        more = f" and {len(absent) - _MOST_NAMED:,} more" if len(absent) > _MOST_NAMED else ""
        text = f"not in the registry: {', '.join(absent[:_MOST_NAMED])}{more}"
        if len(absent) == sum(map(len, images.values())):
            raise NotFoundError(text, advice="`--refresh` reads the registry again")
        sys.stderr.write(f"dregutil: {text}\n")
    return PARTIAL if absent or source.failed else 0
