"""`python tools/diagrams.py`: draws the Mermaid blocks of the documents for the site, in docs/diagrams.

The drawings are committed, so that building the site needs neither Node nor a browser. Run it after a change of a
block; it fetches Mermaid with npm, and draws in Chromium. Colours become those of the page, light or dark.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "diagrams"
MERMAID = "mermaid@11.17.2"
BLOCK = re.compile(r"^```mermaid\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
_COLOURS = {  # that Mermaid is told, and that a page of Furo has
    "#010203": "var(--color-foreground-primary)",
    "#040506": "var(--color-background-secondary)",
    "#070809": "var(--color-foreground-muted)",
}
_DRAW = """async ([text, name, [ink, box, line]]) => {
  const inks = ['primaryTextColor', 'textColor', 'titleColor', 'actorTextColor', 'signalTextColor', 'noteTextColor',
    'labelTextColor', 'loopTextColor'];
  const boxes = ['primaryColor', 'mainBkg', 'clusterBkg', 'edgeLabelBackground', 'actorBkg', 'noteBkgColor',
    'labelBoxBkgColor'];
  const lines = ['primaryBorderColor', 'lineColor', 'nodeBorder', 'clusterBorder', 'actorBorder', 'signalColor',
    'noteBorderColor'];
  const coloured = (names, colour) => Object.fromEntries(names.map(name => [name, colour]));
  mermaid.initialize({startOnLoad: false, theme: 'base', htmlLabels: false, deterministicIds: true,
    fontFamily: 'sans-serif',
    flowchart: {htmlLabels: false, wrappingWidth: 560, rankSpacing: 22, padding: 9},
    themeVariables: {...coloured(inks, ink), ...coloured(boxes, box), ...coloured(lines, line)}});
  return (await mermaid.render(name, text)).svg;
}"""


def blocks() -> Iterator[tuple[str, str]]:
    """The text of each block, and the name of its drawing."""
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
        for text in BLOCK.findall(page.read_text()):
            yield text, name_of(text)


def name_of(text: str) -> str:
    """The name of the drawing of a block: another text has another."""
    return f"d{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from chromium import browser

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as chromium:
        page = chromium.new_page()
        page.add_script_tag(content=_mermaid(Path(folder)))
        drawn = {name: page.evaluate(_DRAW, [text, name, [*_COLOURS]]) for text, name in blocks()}
    for old in FOLDER.glob("*.svg"):
        old.unlink()
    for name, svg in drawn.items():
        (FOLDER / f"{name}.svg").write_text(_coloured(svg))


def _mermaid(folder: Path) -> str:
    name = subprocess.run(["npm", "pack", MERMAID], cwd=folder, check=True, capture_output=True, text=True).stdout
    with tarfile.open(folder / name.strip()) as package:
        found = package.extractfile("package/dist/mermaid.min.js")
        assert found is not None
        return found.read().decode()


def _coloured(svg: str) -> str:
    for told, shown in _COLOURS.items():
        red, green, blue = bytes.fromhex(told[1:])
        svg = svg.replace(told, shown).replace(f"rgb({red}, {green}, {blue})", shown)
    return f"{svg}\n"


if __name__ == "__main__":
    main()
