"""The documents whose commands and examples are tested, and the registry of their examples."""

from __future__ import annotations

import importlib
import os
import random
import re
from pathlib import Path

from dregutil.journal.actor import user_name
from images import Pusher
from program import PROGRAM, run_on_terminal
from servers import DistributionServer

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "docs/connecting.md",
    "docs/search.md",
    "docs/disk-usage.md",
    "docs/removal.md",
    "docs/report.md",
    "docs/library.md",
)
HOST = "registry.example.com"
STORAGE = "/var/lib/registry"
_PROGRESS = re.compile(r"\r\x1b\[K[^\r\n]*(?=\r\x1b\[K)")


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a document with a given language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


def commands(document: str) -> list[str]:
    """The `dregutil` lines of the bash blocks."""
    return [line for block in blocks(document, "bash") for line in block.splitlines() if line.startswith("dregutil")]


def dialogue(block: str) -> list[tuple[str, str]]:
    """The command lines of a console block, each with the output below it."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    assert parts[0] == "", "a console block begins with a command"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def fill(pusher: Pusher) -> None:
    """The registry of the examples: what `./try` shows, and a few repositories with real layers."""
    importlib.import_module("try").fill(pusher)  # `try` is a keyword, so it cannot be imported by a statement
    base = _layer("base", 3_300_000)
    pusher.push_image("base/images", "12", seed="base", layers=[base])
    for version in ("1.0", "1.1", "1.2"):
        pusher.push_image(
            "payments/api", version, seed=f"payments {version}", layers=[base, _layer(version, 1_400_000)]
        )
    pusher.push_image("payments/worker", "1.0", seed="worker", layers=[base, _layer("worker", 1_900_000)])
    pusher.push_image("ml/train", "latest", seed="train", layers=[_layer("train", 9_500_000)])


def _layer(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)


def here(text: str, server: DistributionServer) -> str:
    """The text of a document with the host and storage of a test server."""
    return text.replace(HOST, server.host).replace(STORAGE, str(server.storage))


def shown_on_terminal(line: str, folder: Path, server: DistributionServer) -> tuple[int, str]:
    """Run a line on a terminal of 80 columns, with every question answered by y; return its exit code, and everything
    that stays on the screen, without the progress."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL"))}
    environment |= {"REGISTRY": server.url, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"}
    environment["PATH"] = f"{PROGRAM.parent}{os.pathsep}{environment['PATH']}"
    code, text = run_on_terminal(["bash", "-c", here(line, server)], folder, environment, "y")
    return code, _PROGRESS.sub("", text).replace("\r\x1b[K", "")


def settled(text: str, server: DistributionServer | None = None) -> list[str]:
    """Lines without what differs between runs: the name and time of a run, the checksum of a plan, ages, the length of
    the host."""
    text = text if server is None else text.replace(server.host, HOST)
    for pattern, mark in (
        (r"\d{8}T\d{6}Z-[0-9a-f]{5}", "RUN"),
        (r"\d{4}-\d\d-\d\d", "2026-03-01"),
        (r"\b\d\d:\d\d\b", "02:00"),
        (rf"(?m)^(2026-03-01 02:00 .*)\b{re.escape(user_name())}\b", r"\1root"),  # in history
        (r"sha256:[0-9a-f]{64};", "SUM;"),
        (r"as read \d+ seconds? ago", "as read just now"),
        (r"about \d+ s\b", "about 1 s"),
    ):
        text = re.sub(pattern, mark, text)
    return [" ".join(line.split()) for line in text.splitlines()]
