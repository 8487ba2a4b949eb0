"""Completion scripts: they are generated from the parser, and a shell accepts them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from completions import completion_script

from dregutil.cli import run
from dregutil.cli.options.after import SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_generated_from_the_parser(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert capsys.readouterr().out == completion_script(shell), "run tools/completions.py"


def test_fish_knows_long_options_with_one_dash() -> None:
    assert " -o xre" in completion_script("fish")
    assert " -s xre" not in completion_script("fish")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["rem"], {"remove-digests", "remove-repos", "remove-tags"}),
        (["query-tags", "--raise"], {"--raise-intersecting-repo", "--raise-intersecting-tag"}),
        (["--format", "json"], {"json", "jsonl"}),
    ],
)
def test_bash_completes(words: list[str], completed: set[str]) -> None:
    typed = " ".join(["dregutil", *words])
    script = f'''source <({sys.executable} -m dregutil completion bash)
        COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_dregutil 2>/dev/null; echo "${{COMPREPLY[@]}}"'''
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == completed
