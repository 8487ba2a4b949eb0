"""Runs the console examples of the documents, the tour and the screens, and writes down what they print.

    python tools/record_examples.py [DOCUMENT | docs/tour.md | screens ...]

An output that differs only in what differs between runs (times, names of runs, checksums) is left as it is.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

from company import fill_company  # noqa: E402
from documents import DOCUMENTS, HOST, STORAGE, blocks, dialogue, fill, settled, shown_on_terminal  # noqa: E402
from images import Pusher  # noqa: E402
from screens import PIPED, SCREENS, SERVICES, TOUR, WIDTHS, fixed, golden, replayed, screen  # noqa: E402
from servers import DistributionServer  # noqa: E402


def main() -> int:
    for document in sys.argv[1:] or (*DOCUMENTS, TOUR, "screens"):
        if document in (TOUR, "screens"):
            _record_company(document)
            continue
        path = ROOT / document
        text = path.read_text()
        for block in blocks(document, "console"):
            text = text.replace(f"```console\n{block}```", f"```console\n{_recorded(block)}```")
        if text != path.read_text():
            path.write_text(text)
            print(f"{document} has changed")
    return 0


def _record_company(what: str) -> None:
    """The tour, or all screens, on the registry of the company."""
    with tempfile.TemporaryDirectory() as folder, DistributionServer(Path(folder) / "registry") as server:
        with Pusher(server.url) as pusher:
            fill_company(pusher, SERVICES)
        if what == TOUR:
            text = (ROOT / TOUR).read_text()
            recorded: list[tuple[str, str]] = []
            is_same = True
            for block in blocks(TOUR, "console"):
                parts = []
                for line, output in dialogue(block):
                    shown = replayed(line, Path(folder), server)
                    is_same = is_same and fixed(shown) == fixed(output)
                    parts.append(f"$ {line}\n{shown}")
                recorded.append((block, "".join(parts)))
            for block, shown in [] if is_same else recorded:  # all of it: the digests of one line stand in others
                text = text.replace(f"```console\n{block}```", f"```console\n{shown}```")
            (ROOT / TOUR).write_text(text)
            return
        for width in (*WIDTHS, None):
            place = Path(folder) / str(width)
            place.mkdir()
            for name in PIPED if width is None else SCREENS:
                path = golden(name, width)
                path.parent.mkdir(exist_ok=True)
                shown = screen(name, place, server, width)
                if not path.exists() or fixed(path.read_text()) != fixed(shown):
                    path.write_text(shown)


def _recorded(block: str) -> str:
    with tempfile.TemporaryDirectory() as folder, DistributionServer(Path(folder) / "registry") as server:
        with Pusher(server.url) as pusher:
            fill(pusher)
        parts: list[str] = []
        for line, output in dialogue(block):
            code, shown = shown_on_terminal(line, Path(folder), server)
            if code:
                sys.exit(f"{line}: exit code {code}\n{shown}")
            shown = shown.replace(server.host, HOST).replace(str(server.storage), STORAGE).replace("\r", "")
            shown = re.sub(r"[ \t]+$", "", shown, flags=re.MULTILINE)
            blank = "\n" if output.endswith("\n\n") else ""
            if settled(shown) != settled(output):
                output = f"{shown.rstrip()}\n{blank}"
            parts.append(f"$ {line}\n{output}")
        return "".join(parts)


if __name__ == "__main__":
    sys.exit(main())
