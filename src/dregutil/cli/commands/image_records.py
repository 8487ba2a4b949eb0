"""`image-records`: prints what the records of this machine say of an image, where reading them takes much memory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from dregutil.cli.recorded import recorded
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.report.terminal import write_data
from dregutil.serve.where.records import Asked, Records, decoded, encoded

__all__ = ["image_records"]


def image_records(args: argparse.Namespace, settings: Settings) -> int:
    try:
        asked = decoded(Path(args.asked).read_bytes(), Asked)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"--asked {args.asked} cannot be read: {error}") from error
    identity = settings.address.identity
    with recorded(settings) as records:
        found = Records(records.folder, identity, records.runs, records.facts(identity)).of(asked)
    write_data(sys.stdout, encoded(found).decode())
    return 0
