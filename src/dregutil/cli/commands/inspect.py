"""`inspect`: an image's platforms, sizes, labels, layers and referrers."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note, tag_text
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.oci.names import Reference, Tag
from dregutil.oci.placeholder import is_placeholder
from dregutil.report.image import image_lines, image_object
from dregutil.report.terminal import width_of

__all__ = ["inspect"]


def inspect(args: argparse.Namespace, settings: Settings) -> int:
    """Resolves the image live; the contents of its digest may come from the content database."""
    with opened(settings) as registry:
        image = registry.inspect(args.image)
    shown = image_lines(image, datetime.now(UTC), tag_text=tag_text(sys.stdout), width=width_of(sys.stdout))
    emit(settings, [image_object(image)], shown)
    trouble, digest = image.trouble, image.details.digest
    if is_placeholder(image.manifests.get(digest)):
        tag = Reference.parse(args.image, registry=settings.address).tag or Tag(digest)
        trouble = " ".join(left_behind_lines(settings, [(image.repository, tag, digest)]))
    if trouble:
        note(settings, trouble)
    return PARTIAL if trouble else 0
