"""`find`: everything that uses a digest (of an image, a layer or a config) or an image."""

from __future__ import annotations

import argparse
import sys

from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note, plural
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import PartialError
from dregutil.report.terminal import width_of
from dregutil.report.text import column_lines

__all__ = ["find"]


def find(args: argparse.Namespace, settings: Settings) -> int:
    with opened(settings) as registry:
        found = registry.find(args.what)
    if found.digest is None:
        raise PartialError(
            f"no tag that could be read uses {args.what}", advice="what could not be read is named above"
        )
    if found.not_read:
        note(settings, f"{plural(found.not_read, 'digest')} not read yet: an index that holds it may be missing here")
    objects = [
        {
            "repository": use.repository,
            "tag": use.tag,
            "digest": use.digest,
            "image": f"{settings.address.name}/{use.repository}:{use.tag}",
            "how": use.how or "tag",
        }
        for use in found.uses
    ]
    rows = [(use.repository, use.tag, use.digest, use.how) for use in found.uses]
    emit(settings, objects, (line.rstrip() for line in column_lines(rows, width=width_of(sys.stdout))) if rows else ())
    count(settings, "tags", len(rows))
    return PARTIAL if found.source.failed or found.unreadable else 0
