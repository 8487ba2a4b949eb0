"""`list-repo-names` and `list-tag-names`."""

from __future__ import annotations

import argparse

from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import PARTIAL, expand
from dregutil.cli.search import read_search, search_contents
from dregutil.cli.settings import Settings
from dregutil.report.text import pair_lines
from dregutil.select.named import parse_named
from dregutil.select.selector import Every
from dregutil.select.version import tag_order
from dregutil.session.sync import Session

__all__ = ["list_repo_names", "list_tag_names"]


def list_repo_names(_args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as registry:
        source = registry.inventory()
    shown = source.shown
    names = sorted({*shown.repositories, *source.unread})
    if not names and not source.failed:
        note(settings, f"{settings.address.name} has no repository with tags")
    counts = {name: len(shown.tags(name)) + len(source.unread.get(name, ())) for name in names}
    emit(settings, [{"repository": name, "tags": counts[name]} for name in names], names)
    count(settings, "repositories", len(names))
    return PARTIAL if source.failed else 0


def list_tag_names(args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as registry:
        return _list_tags(args, settings, registry)


def _list_tags(args: argparse.Namespace, settings: Settings, registry: Session) -> int:
    named = parse_named(args.repo, settings.address)
    search = read_search(args, settings)
    source = registry.inventory(only=search.with_bases(named.only))
    inventory = source.shown
    found, code = expand(named, inventory, source.failed)
    if not named.names:
        found, code = tuple(inventory.repositories), PARTIAL if source.failed else 0
    rows = [
        (repository, tag)
        for repository in found
        for tag in sorted(inventory.tags(repository), key=tag_order, reverse=args.reverse_sort)
    ]
    if search.is_asked:
        every = Every()
        tags = [(name, tag, inventory.tags(name)[tag]) for name, tag in rows if every.matches(tag)]
        digests, searched = search_contents(registry, settings, source, search, tags)
        rows = [(name, tag) for name, tag, digest in tags if digest in digests]
        code = max(code, searched)
    if not rows and search.is_asked:
        note(settings, "no tag is selected")
    elif not rows and not source.failed:
        note(settings, f"{settings.address.name} has no tags")
    images = [f"{settings.address.name}/{repository}:{tag}" for repository, tag in rows]
    objects = [
        {"repository": repository, "tag": tag, "digest": inventory.tags(repository)[tag], "image": image}
        for (repository, tag), image in zip(rows, images, strict=True)
    ]
    emit(settings, objects, images if args.image_names else pair_lines(rows))
    count(settings, "tags", len(rows))
    return code
