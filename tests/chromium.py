"""Debian's Chromium, unpacked by ./test, which Playwright drives. Nothing of it goes to the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servers import find_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["WEB", "browser", "require_modules"]

WEB = Path(__file__).parents[1] / "web"
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd"><fontconfig>
<dir>/usr/share/fonts</dir><dir>{unpacked}</dir><cachedir>{cache}</cachedir>
<match><test name="family" qual="any" compare="contains"><string>mono</string></test>
<edit name="family" mode="assign" binding="strong"><string>DejaVu Sans Mono</string></edit></match>
<match><edit name="family" mode="append_last"><string>DejaVu Sans</string></edit></match></fontconfig>"""


def require_modules() -> Path:
    """The folder of the modules from npm. Skips the test where ./test could not install them."""
    folder = WEB / "node_modules"
    if not (folder / ".package-lock.json").exists():
        pytest.skip("the modules of web/ are not installed: ./test says why")
    return folder


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A headless Chromium that keeps what it writes in `folder`. Skips the test where it was not unpacked."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: ./test says why")
    try:
        program = _program()
    except FileNotFoundError:
        pytest.skip("Chromium was not unpacked: ./test says why")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
            env={**os.environ, **_environment(program, folder)},
        )
        yield found
        found.close()


def _program() -> str:
    """The program itself: Debian's `chromium` is a script around it that reads /etc."""
    found = Path(find_program("chromium"))
    inner = found.parents[1] / "lib" / "chromium" / "chromium"
    return str(inner if inner.exists() else found)


def _environment(program: str, folder: Path) -> dict[str, str]:
    """With the fonts of the unpacked packages, and with their libraries, some of which are in folders of their own."""
    root = Path(program).parents[3]
    fonts = folder / "fonts.conf"
    fonts.write_text(_FONTS.format(unpacked=root / "usr" / "share" / "fonts", cache=folder / "fonts"))
    folders = [] if root == Path("/") else [*root.glob("usr/lib/*-linux-gnu*")]
    libraries = [str(one / part) for one in folders for part in ("", "pulseaudio")]
    paths = [os.environ.get("LD_LIBRARY_PATH", ""), *libraries]
    return {
        "FONTCONFIG_FILE": str(fonts),
        "HOME": str(folder),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths)),
    }
