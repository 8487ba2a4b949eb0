"""What people see, on a terminal of several widths, as it was recorded; and the tour, line by line.

`python tools/record_examples.py` records them anew: a change of the output is then a change of these files, to be read.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from company import fill_company
from documents import HOST
from images import Pusher
from screens import PIPED, SCREENS, SERVICES, WIDTHS, fixed, golden, replayed, screen, tour
from servers import DistributionServer


@pytest.fixture
def company(registry_server: DistributionServer, pusher: Pusher) -> Pusher:
    fill_company(pusher, SERVICES)
    return pusher


def test_every_screen_is_as_it_was_recorded(
    company: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    before = {name: company.tags(name) for name in ("shop/web", "shop/api")}
    for width in WIDTHS:
        folder = tmp_path / str(width)
        folder.mkdir()
        for name in SCREENS:
            shown = screen(name, folder, registry_server, width)
            recorded = golden(name, width).read_text()
            assert fixed(shown) == fixed(recorded), f"{name} at {width}"
            lines = (line.replace(HOST, registry_server.host) for line in shown.splitlines() if line[:2] != "$ ")
            wide = [line for line in lines if len(line) > width]
            assert [line for line in wide if len(line.split()) > 1] == []
    for name in PIPED:
        shown = screen(name, tmp_path, registry_server, None)
        assert fixed(shown) == fixed(golden(name, None).read_text()), f"{name} in a pipe"
    assert {name: company.tags(name) for name in ("shop/web", "shop/api")} == before


@pytest.mark.parametrize("name", ["ls", "plan"])
def test_color_changes_the_look_and_no_character(
    name: str, company: Pusher, registry_server: DistributionServer, tmp_path: Path
) -> None:
    for folder in ("plain", "colored"):
        (tmp_path / folder).mkdir()
    plain = screen(name, tmp_path / "plain", registry_server, 80)
    colored = screen(name, tmp_path / "colored", registry_server, 80, color=True)
    assert "\x1b[1mREPOSITORY" in colored if name == "ls" else "\x1b[31mREMOVE\x1b[0m" in colored
    for code in ("0", "1", "31", "32", "33", "36"):
        colored = colored.replace(f"\x1b[{code}m", "")
    assert fixed(colored) == fixed(plain)


def test_the_tour_is_as_it_was_recorded(company: Pusher, registry_server: DistributionServer, tmp_path: Path) -> None:
    for line, output in tour():
        assert fixed(replayed(line, tmp_path, registry_server)) == fixed(output), line
