"""`list-repo-names` and `list-tag-names`."""

from __future__ import annotations

import argparse
from itertools import groupby

from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.search import matching_tags
from dregutil.cli.settings import Settings
from dregutil.report.text import pair_lines

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
        found = matching_tags(args, settings, registry)
    tags = [*found]
    if args.reverse_sort:
        tags = [one for _, group in groupby(tags, key=lambda one: one[0]) for one in reversed(list(group))]
    images = [f"{settings.address.name}/{repository}:{tag}" for repository, tag, _ in tags]
    objects = [
        {"repository": repository, "tag": tag, "digest": digest, "image": image}
        for (repository, tag, digest), image in zip(tags, images, strict=True)
    ]
    emit(settings, objects, images if args.image_names else pair_lines([(name, tag) for name, tag, _ in tags]))
    count(settings, "tags", len(tags))
    return found.code
