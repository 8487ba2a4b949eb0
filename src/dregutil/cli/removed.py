"""`undo --list`: what can still come back."""

from __future__ import annotations

import argparse
import sys

from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note, plural
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.journal.collections import collected_by
from dregutil.plan.collection import named
from dregutil.report.removed import removed_lines, removed_object
from dregutil.report.runs import damage_text
from dregutil.report.terminal import width_of
from dregutil.session.sync import Session

__all__ = ["list_removed"]


def list_removed(args: argparse.Namespace, settings: Settings) -> int:
    """Show the removed images; with --check, whether the registry still has what they need. Returns the exit code."""
    if args.dry_run:
        raise UsageError("--list and --dry-run were both given", advice="--list only shows; --check asks the registry")
    with opened(settings) as registry:
        images = registry.removed_images(*args.images, run=args.run, check=args.check)
        code = _note_damage(settings, registry)
        collected = collected_by(registry.collections()) if images and not args.check else {}
    if not images:
        note(settings, f"no recorded removal on {settings.address.identity} is left to undo")
    elif args.check:
        able = sum(image.can_come_back is True for image in images)
        note(settings, f"{plural(able, 'image')} of {len(images):,} can be put back now")
    else:
        note(settings, "can be put back until the registry collects its garbage; --check asks the registry")
        runs = list(dict.fromkeys(image.run for image in images if image.run in collected))
        if runs:
            note(settings, f"garbage was collected since these runs, and not all may be left: {named(runs)}")
    emit(settings, map(removed_object, images), removed_lines(images, checked=args.check, width=width_of(sys.stdout)))
    return code


def _note_damage(settings: Settings, registry: Session) -> int:
    """Name the runs whose record is damaged: something of theirs may not be listed."""
    damaged = registry.damaged_runs()
    for record in damaged:
        note(settings, damage_text(record))
    return PARTIAL if damaged else 0
