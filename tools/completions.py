"""`python tools/completions.py`: regenerates the shells' completion scripts from the parser (with shtab)."""

from __future__ import annotations

import re
from pathlib import Path

import shtab

from dregutil.cli.options.after import SHELLS
from dregutil.cli.parser import build_parser

FOLDER = Path(__file__).parents[1] / "src" / "dregutil" / "cli" / "completions"


def completion_script(shell: str) -> str:
    """The script for a shell. fish needs `-o` for a long option with one dash, but shtab writes `-s`."""
    script: str = shtab.complete(build_parser(), shell)
    if shell == "fish":
        script = re.sub(r" -s (\w{2,})", r" -o \1", script)
    return f"{script.rstrip()}\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for shell, name in SHELLS.items():
        (FOLDER / name).write_text(completion_script(shell))


if __name__ == "__main__":
    main()
