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
from dregutil.errors import UsageError
from dregutil.oci.names import Reference, Tag
from dregutil.oci.placeholder import is_placeholder
from dregutil.report.image import image_lines, image_object
from dregutil.report.terminal import width_of, write_bytes

__all__ = ["inspect"]


def inspect(args: argparse.Namespace, settings: Settings) -> int:
    """Resolves the image live; the contents of its digest may come from the content database."""
    if args.raw or args.raw_config:
        return _print_raw(args, settings)
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


def _print_raw(args: argparse.Namespace, settings: Settings) -> int:
    if settings.format != "text":
        raise UsageError(f"--format {settings.format}: --raw and --raw-config print bytes as they are")
    with opened(settings) as registry:
        raw = registry.raw_config(args.image) if args.raw_config else registry.raw_manifest(args.image)
    write_bytes(sys.stdout, raw)
    return 0
