"""`python bench/plot.py TABLE docs/scale.svg`: draws the CPU time and the peak memory that the table of
`python bench/memory.py 1000 10000 100000 1000000 10000000` measures, against the number of tags; logarithmic."""

from __future__ import annotations

import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_ROW = re.compile(r"\| ([\d,]+) \| (.+?) \| ([\d.]+) s, [\d.]+ µs a tag \| [\d.]+ s \| (\d+) MB \|")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 460, 300, 70, 40, 40, 50
_COLORS = ("#1f6feb", "#8250df", "#1a7f37", "#bf8700", "#cf222e")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#57606a}.t{font-weight:600}line{stroke:#8c959f;stroke-opacity:.3}"
    "polyline{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}"
)
Series = Mapping[str, Sequence[tuple[float, float]]]


def read_table(text: str) -> tuple[Series, Series]:
    """For each command, the seconds of CPU and the megabytes, by the number of tags."""
    seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    memory: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for tags, what, cpu, peak in _ROW.findall(text):
        number = float(tags.replace(",", ""))
        seconds[what].append((number, float(cpu)))
        memory[what].append((number, float(peak)))
    return seconds, memory


def panel(title: str, series: Series, unit: str, left: int) -> Iterator[str]:
    points = [point for line in series.values() for point in line]
    across = _scale([x for x, _ in points], left + _LEFT, left + _WIDTH - _RIGHT)
    up = _scale([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    yield f'<text class="t" x="{left + _LEFT}" y="22">{escape(title)}</text>'
    for power in _powers(x for x, _ in points):
        yield f'<text x="{across(10**power):.0f}" y="{_HEIGHT - 30}" text-anchor="middle">{_number(10**power)}</text>'
    for power in _powers(y for _, y in points):
        at = up(10**power)
        yield f'<line x1="{left + _LEFT}" x2="{left + _WIDTH - _RIGHT}" y1="{at:.0f}" y2="{at:.0f}"/>'
        yield f'<text x="{left + _LEFT - 6}" y="{at + 4:.0f}" text-anchor="end">{_number(10**power)} {unit}</text>'
    for color, (what, line) in zip(_COLORS, series.items(), strict=False):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in line)
        yield f'<polyline points="{path}" stroke="{color}"><title>{escape(what)}</title></polyline>'
        yield from (f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{color}"/>' for x, y in line)


def draw(seconds: Series, memory: Series) -> str:
    rows = [*panel("CPU time, by the number of tags", seconds, "s", 0)]
    rows += panel("peak memory, by the number of tags", memory, "MB", _WIDTH)
    for place, (color, what) in enumerate(zip(_COLORS, seconds, strict=False)):
        at = _HEIGHT + 10 + 18 * place
        rows.append(f'<circle cx="{_LEFT}" cy="{at - 4}" r="4" fill="{color}"/>')
        rows.append(f'<text x="{_LEFT + 12}" y="{at}">{escape(what.replace("`", ""))}</text>')
    height = _HEIGHT + 10 + 18 * len(seconds)
    size = f'width="{2 * _WIDTH}" height="{height}" viewBox="0 0 {2 * _WIDTH} {height}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{_STYLE}</style>', *rows, "</svg>\n"])


def _scale(values: Sequence[float], first: float, last: float) -> Callable[[float], float]:
    """Logarithmic, over whole powers of ten."""
    powers = _powers(values)
    low, high = powers[0], max(powers[-1], powers[0] + 1)
    return lambda value: first + (math.log10(value) - low) / (high - low) * (last - first)


def _powers(values: Iterator[float] | Sequence[float]) -> range:
    logs = [math.log10(value) for value in values]
    return range(math.floor(min(logs)), math.ceil(max(logs)) + 1)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(*read_table(Path(sys.argv[1]).read_text())))
