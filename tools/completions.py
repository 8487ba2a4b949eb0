"""`python tools/completions.py`: regenerates the shells' completion scripts from the parser (with shtab).

For names of repositories, tags, images, runs and registries they call `dregutil __complete`: what an argument is called
shows which of them it takes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import shtab

from dregutil.cli.grammar import Parser
from dregutil.cli.options.after import SHELLS
from dregutil.cli.parser import COMMANDS, build_parser

FOLDER = Path(__file__).parents[1] / "src" / "dregutil" / "cli" / "completions"
KIND_OF = {
    "REPO": "repositories",
    "TAG": "tags",
    "IMAGE": "images",
    "DIGEST|IMAGE": "images",
    "RUN": "runs",
    "RUN|IMAGE": "runs-or-images",
    "HOST": "registries",
}
BASH = r"""
# Words that a colon does not end: bash takes it for the end of one.
_dregutil() {
  local line="${COMP_LINE:0:COMP_POINT}"
  local -a COMP_WORDS
  read -ra COMP_WORDS <<<"$line"
  [[ "$line" == *[[:space:]] ]] && COMP_WORDS+=("")
  local COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
  local word="${COMP_WORDS[COMP_CWORD]}"
  _shtab_dregutil 2>/dev/null
  if [[ "$word" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
    local before="${word%"${word##*:}"}" number
    for number in "${!COMPREPLY[@]}"; do
      COMPREPLY[number]="${COMPREPLY[number]#"$before"}"
    done
  fi
}
"""
_BASH_VALUES = """
_dregutil_KIND() {
  command "${COMP_WORDS[0]}" __complete KIND "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$1" 2>/dev/null
}
"""
_ZSH_VALUES = """
# The whole line: of a command's options, `words` has only those after the command.
_dregutil_values() {
  local -a line found
  line=(${(z)LBUFFER})
  [[ -n "$PREFIX" ]] && line=(${line[1,-2]})
  found=(${(f)"$(command ${line[1]} __complete $1 ${line[2,-1]} "$PREFIX" 2>/dev/null)"})
  compadd -- $found
}
"""
_FISH_VALUES = """
function _dregutil_values
  set -l words (commandline -opc)
  command $words[1] __complete $argv[1] $words[2..-1] (commandline -ct) 2>/dev/null
end
"""


def completion_script(shell: str) -> str:
    """The script for a shell. fish needs `-o` for a long option with one dash, but shtab writes `-s`."""
    parser = build_parser()
    for action in _actions(parser):
        if isinstance(action.metavar, str) and action.metavar in ("FILE", "DIR"):
            action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.dest == "topic":
            action.choices = (*COMMANDS, "options")
        elif isinstance(action.metavar, str) and action.metavar in KIND_OF:
            action.complete = _values(KIND_OF[action.metavar])  # type: ignore[attr-defined]
    script: str = shtab.complete(parser, shell)
    if shell == "fish":
        script = re.sub(r" -s (\w{2,})", r" -o \1", script)
    if shell == "bash":
        script = re.sub(
            r"\ncomplete .*\n?$", f"\n{BASH}\ncomplete -o bashdefault -F _dregutil dregutil\n", script.rstrip()
        )
    return f"{script.rstrip()}\n"


def _actions(parser: Parser) -> Iterator[argparse.Action]:
    for one in (parser, *parser.command_parsers().values()):
        for _, _, actions in one.groups():
            yield from actions


def _values(kind: str) -> dict[str, object]:
    name = kind.replace("-", "_")
    return {
        "bash": f"_dregutil_{name}",
        "zsh": f"{{_dregutil_values {kind}}}",
        "fish": f"(_dregutil_values {kind})",
        "preamble": {
            "bash": _BASH_VALUES.replace("_KIND", f"_{name}").replace("KIND", kind),
            "zsh": _ZSH_VALUES,
            "fish": _FISH_VALUES,
        },
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for shell, name in SHELLS.items():
        (FOLDER / name).write_text(completion_script(shell))


if __name__ == "__main__":
    main()
