"""`hold`: keeps images whatever a removal or a policy asks, shows what is held, or ends that."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.report.holds import hold_lines, hold_object
from dregutil.report.terminal import width_of
from dregutil.retention.holds import Hold
from dregutil.session.sync import Session

__all__ = ["hold"]


def hold(args: argparse.Namespace, settings: Settings) -> int:
    _check(args)
    with opened(settings) as registry:
        if args.list:
            return _list(args, settings, registry)
        if args.end:
            ended = registry.end_hold(*args.images)
            for image in dict.fromkeys(name for one in ended for name in one.images):
                note(settings, f"no longer held: {image}")
            emit(settings, [hold_object(one) for one in ended], ())
            return 0
        made = [registry.hold(image, for_=args.for_, because=args.because or "") for image in args.images]
    for one in made:
        until = "without end" if one.until is None else f"until {one.until:%Y-%m-%d %H:%M} UTC"
        note(settings, f"held {until}: {one.image}; {settings.advised(f'hold --end {one.image}')} ends it")
    _emit(settings, made)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises UsageError."""
    if args.list and args.end:
        raise UsageError("--list and --end were both given", advice="give one of them")
    if (args.list or args.end) and (args.for_ is not None or args.because is not None):
        raise UsageError("--for and --because belong to a new hold", advice="leave out --list and --end")
    if not args.list and not args.images:
        raise UsageError("no image was named", advice="name images: repository:tag or repository@digest; or --list")


def _list(args: argparse.Namespace, settings: Settings, registry: Session) -> int:
    found = [one for one in registry.holds() if not args.images or {one.image, one.repository} & {*args.images}]
    if not found:
        note(settings, "nothing is held")
    _emit(settings, found)
    return 0


def _emit(settings: Settings, holds: Sequence[Hold]) -> None:
    emit(settings, [hold_object(one) for one in holds], hold_lines(holds, width=width_of(sys.stdout)))
