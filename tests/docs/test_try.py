"""`./try --serve`: the pages of a throwaway registry, with a plan that waits; and the picture of them in the README."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from documents import ROOT
from listening import until
from serving import Answered, sent

LARGEST = 200_000  # bytes of a picture


@dataclass(frozen=True)
class Shown:
    """What runs, and how a browser that opened its address asks."""

    process: subprocess.Popen[bytes]
    port: int
    cookie: str

    def get(self, path: str) -> Answered:
        return sent(self.port, "GET", f"/api/v1/{path}", {"Cookie": self.cookie})

    def waiting(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("plans").json["plans"]
        return found


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    log = tmp_path / "try.log"
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("REGISTRY", "DREGUTIL_S"))}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "try.py"), "--serve"],
            stdout=out,
            stderr=out,
            env=variables | {"TMPDIR": str(tmp_path)},
        )
    try:
        opened = re.compile(r"open http://127\.0\.0\.1:(\d+)(/\S+)")
        found = until(lambda: opened.search(log.read_text()) or process.poll(), 120)
        assert isinstance(found, re.Match), log.read_text()
        yield Shown(process, int(found[1]), sent(int(found[1]), "GET", found[2]).cookie)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_plan_waits_and_everything_is_gone_at_the_end(shown: Shown, tmp_path: Path) -> None:
    until(lambda: shown.get("report").status == 200 and shown.waiting(), 120)
    (plan,) = shown.waiting()
    assert (plan["kind"], plan["state"], plan["tonight"]) == ("policy", "waiting", True)
    assert plan["tags"] > 20
    detail = shown.get(f"plans/{plan['sum']}").json
    assert detail["plan"]["refused"] is None
    assert shown.get("runs").json["total"] == 1
    assert shown.get("report").json["week"]["tags"] > 100
    shown.process.send_signal(signal.SIGTERM)
    assert shown.process.wait(60) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["try.log"]


def test_the_picture_is_in_the_readme_and_small() -> None:
    picture = ROOT / "docs" / "serve.png"
    assert "(docs/serve.png)" in (ROOT / "README.md").read_text()
    assert picture.stat().st_size <= LARGEST
    assert picture.read_bytes().startswith(b"\x89PNG")
