"""`completion`: prints a shell's script, generated beforehand from the parser by `tools/completions.py`."""

from __future__ import annotations

import argparse
import importlib.resources
import sys

from dregutil.cli.options.after import SHELLS
from dregutil.report.terminal import write_data

__all__ = ["completion"]


def completion(args: argparse.Namespace) -> int:
    scripts = importlib.resources.files("dregutil.cli") / "completions"
    write_data(sys.stdout, (scripts / SHELLS[args.shell]).read_text(encoding="utf-8"))
    return 0
