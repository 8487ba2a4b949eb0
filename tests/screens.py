"""What people see: the tour, and every screen at several widths, from real commands on an invented company's registry.

`tools/record_examples.py` records both; tests compare. `settled` takes out what differs between runs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from documents import HOST, ROOT, blocks, dialogue, settled
from program import PROGRAM, run_on_terminal
from servers import DistributionServer

__all__ = ["PIPED", "SCREENS", "WIDTHS", "fixed", "golden", "replayed", "screen", "tour"]

TOUR = "docs/tour.md"
FOLDER = ROOT / "tests" / "golden"
WIDTHS = (80, 120, 200)
PIPED = ("ls", "du", "find", "plan", "cleanup", "errors")  # without questions
SERVICES = 3  # of the company's ten: enough for every kind of row
POLICY = blocks(TOUR, "yaml")[0]
# Each screen is one or more lines, on the registry as the one before left it; the last ones restore it.
SCREENS: dict[str, Sequence[str]] = {
    "ls": ("ls shop/web", "ls --sort size --top 6 --columns +labels,freed", "ls shop/web -t '>9'"),
    "du": ("du --top 6", "du --by tag --top 3", "du --by namespace", "du --by label=team"),
    "find": ("find shop/web:2.3.1", "inspect shop/web:2.3.1"),
    "plan": (
        "remove-tags -r shop/web shop/api -t '<1.1' 1.3.1 2.3.1 latest --plan-out new.jsonl",
        "remove-tags -r shop/web -t 1.0.0 1.2.0 --plan-out old.jsonl --quiet",
        "plan show new.jsonl",
        "plan diff old.jsonl new.jsonl",
        "apply new.jsonl --dry-run",
    ),
    "cleanup": (
        "policy check policy.yml",
        "cleanup -f policy.yml --dry-run",
        "cleanup -f policy.yml --dry-run --details",
        "why shop/web:1.0.1 -f policy.yml",
    ),
    "removal": (
        "apply new.jsonl",
        "history",
        "undo --list",
        "undo shop/web:1.0.1",
        "hold --list",
        "remove-tags -r shop/web -t 1.0.1",
        "undo",
        "hold shop/web:2.0.0 --for 30d --because 'a customer runs it'",
        "hold --list",
        "hold --end shop/web:2.0.0 shop/web:1.0.1",
    ),
    "errors": (
        "ls shop/wep",
        "remove-tag -r shop/web -t 1.0.0",
        "remove-tags -r shop/web -t '>=1.2' '<1.3' --dry-run",
        "ls --colums tag",
        "inspect shop/web:9.9.9",
        "apply nothing.jsonl",
    ),
    "help": ("--help", "help remove-tags", "help options"),
}
_PROGRESS = re.compile(r"\r\x1b\[K[^\r\n]*(?=\r\x1b\[K)")


def tour() -> Iterator[tuple[str, str]]:
    """The lines of the tour, each with its recorded output."""
    for block in blocks(TOUR, "console"):
        yield from dialogue(block)


def replayed(
    line: str, folder: Path, server: DistributionServer, *, width: int | None = 80, color: bool = False
) -> str:
    """What a command line shows on a terminal, with every question answered by y; without a width, in a pipe."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL", "XDG"))}
    environment = {
        **kept,
        **{f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("STATE", "CACHE", "CONFIG")},
        "REGISTRY": server.url,
        "TERM": "xterm",
        "DREGUTIL_ACTOR": "kim@build",
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
    }
    if not color:
        environment["NO_COLOR"] = "1"
    (folder / "policy.yml").write_text(POLICY)
    command = ["bash", "-c", line.replace(HOST, server.host)]
    if width is None:
        text = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        ).stdout
    else:
        _, text = run_on_terminal(command, folder, {**environment, "COLUMNS": str(width)}, "y", questions=(b"[y/N]",))
    text = _PROGRESS.sub("", text).replace("\r\x1b[K", "").replace("\r", "").replace(str(folder), "/home/you")
    return re.sub(r"[ \t]+$", "", text.replace(server.host, HOST), flags=re.MULTILINE)


def screen(name: str, folder: Path, server: DistributionServer, width: int | None, *, color: bool = False) -> str:
    """All lines of a screen, as on a terminal of a width, or in a pipe."""
    lines = SCREENS[name]
    shown = (
        f"$ dregutil {line}\n{replayed(f'dregutil {line}', folder, server, width=width, color=color)}" for line in lines
    )
    return "\n".join(shown)


def golden(name: str, width: int | None) -> Path:
    """The file that holds a screen."""
    return FOLDER / f"{name}.{width or 'pipe'}.txt"


def fixed(text: str) -> list[str]:
    """`settled`, and without digests and with one age for all that is younger than two minutes: those of the company
    differ from day to day."""
    for pattern, mark in (
        (r"sha256[:-][0-9a-f]+(…[0-9a-f]*)?", "sha256:…"),
        (r"\b[0-9a-f]{12}\b", "000000000000"),
        (r"\b\d+ (s|seconds|minutes?)( old)? ago", "just now"),
        (r"\b\d+(\.\d+)? ?s\b", "1 s"),
        (r"\d+ ms", "1 ms"),
        (r"\d\d:\d\d(:\d\d)?(?= UTC)", "02:00"),
        (r" \d\d:\d\d ", " 02:00 "),
        (r"belongs to '.*", "belongs to a tag"),  # one of several
        (r" +", " "),
    ):
        text = re.sub(pattern, mark, text)
    return settled(text)
