"""`python tools/site_build.py [FOLDER]`: builds the documentation as a site, by default in .cache/site.

Nothing is fetched, and a warning is an error. Needs the dependency group `docs`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(folder: Path) -> None:
    """Raises RuntimeError with what is wrong."""
    parsed = folder.with_name(f"{folder.name}.doctrees")
    options = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-j", "2"]
    places = ["-c", str(ROOT / "docs"), "-d", str(parsed), str(ROOT), str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, *places], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else ROOT / ".cache" / "site"
    try:
        build(folder)
    except RuntimeError as error:
        sys.exit(str(error))
    print(folder / "index.html")


if __name__ == "__main__":
    main()
