"""`python tools/screenshot.py [FOLDER]`: makes docs/serve.png, the picture of `dregutil serve` in the README, or all
screens in a folder, with the registry of `./try --serve`.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from chromium import browser  # noqa: E402 - the path is set above

PICTURE = ROOT / "docs" / "serve.png"
LARGEST = 200_000  # bytes
_SCREENS = {
    "week": "/",
    "space": "/space",
    "images": "/images",
    "plans": "/plans",
    "runs": "/runs",
    "health": "/health",
}
_LONGEST = 60_000  # milliseconds until a screen has what it shows


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder, _shown() as address, browser(Path(folder)) as opened:
        page = opened.new_page(viewport={"width": 1200, "height": 800}, color_scheme="light")
        page.goto(address)
        page.locator("nav a", has_text="Plans").click()
        page.locator("main a[href^='/plans/']").first.wait_for(timeout=_LONGEST)
        if not arguments:
            page.goto(address.partition("?")[0] + "space")
            page.locator(".map .part").first.wait_for(timeout=_LONGEST)
            page.screenshot(path=PICTURE)
            return 0 if PICTURE.stat().st_size <= LARGEST else 1
        plan = page.locator("main a[href^='/plans/']").first.get_attribute("href")
        for name, path in {**_SCREENS, "plan": plan}.items():
            page.goto(f"{address.partition('/?')[0]}{path}")
            page.wait_for_load_state("networkidle")
            page.screenshot(path=Path(arguments[0]) / f"{name}.png", full_page=True)
    return 0


@contextmanager
def _shown() -> Iterator[str]:
    """`./try --serve`; the address to open."""
    command = [sys.executable, str(ROOT / "tools" / "try.py"), "--serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if found := re.match(r"open (http://\S+)", line):
                yield found[1]
                break
        server.send_signal(signal.SIGTERM)
        server.stderr.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
