"""`completion`: prints a shell's script, generated beforehand from the parser by `tools/completions.py`."""

from __future__ import annotations

import argparse
import importlib.resources
import sys

from dregutil.cli.options.after import SHELLS
from dregutil.cli.settings import Settings

__all__ = ["completion"]


def completion(args: argparse.Namespace, _settings: Settings) -> int:
    scripts = importlib.resources.files("dregutil.cli") / "completions"
    sys.stdout.write((scripts / SHELLS[args.shell]).read_text(encoding="utf-8"))
    return 0
