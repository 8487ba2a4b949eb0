"""`list-repo-names` and `list-tag-names`."""

from __future__ import annotations

import argparse

from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import PARTIAL, parse_repositories, tell_absent
from dregutil.cli.settings import Settings
from dregutil.cli.source import open_source
from dregutil.report.text import pair_lines
from dregutil.version import tag_order

__all__ = ["list_repo_names", "list_tag_names"]


def list_repo_names(_args: argparse.Namespace, settings: Settings) -> int:
    source = open_source(settings)
    names = source.inventory.repositories
    if not names:
        note(settings, f"{settings.address.name} has no repository with tags")
    emit(settings, [{"repository": name, "tags": len(source.inventory.tags(name))} for name in names], names)
    count(settings, "repositories", len(names))
    return PARTIAL if source.failed else 0


def list_tag_names(args: argparse.Namespace, settings: Settings) -> int:
    named = parse_repositories(args.repo)
    source = open_source(settings, named or None)
    inventory = source.inventory
    code = tell_absent(inventory, named, source.failed) if named else PARTIAL if source.failed else 0
    rows = [
        (repository, tag)
        for repository in named or inventory.repositories
        for tag in sorted(inventory.tags(repository), key=tag_order, reverse=args.reverse_sort)
    ]
    if not rows:
        note(settings, f"{settings.address.name} has no tags")
    images = [f"{settings.address.name}/{repository}:{tag}" for repository, tag in rows]
    objects = [
        {"repository": repository, "tag": tag, "digest": inventory.tags(repository)[tag], "image": image}
        for (repository, tag), image in zip(rows, images, strict=True)
    ]
    emit(settings, objects, images if args.image_names else pair_lines(rows))
    count(settings, "tags", len(rows))
    return code
