"""`report` on a real registry: the page, its document, and that nothing is lost or made up."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from company import fill_company
from images import Pusher
from program import Program
from screens import SERVICES
from servers import DistributionServer

POLICY = """version: 1
defaults: {max_remove: 80%}
policies:
  - name: releases
    repositories: ["shop/**"]
    select: {version: ">=1.0"}
    keep: {last: 2}
    order: version
"""


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    fill_company(pusher, SERVICES)
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


def document(program: Program) -> dict[str, Any]:
    """The JSON in the page."""
    text = (program.folder / "report.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_a_report_of_a_plan(program: Program) -> None:
    made = program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    assert made.returncode == 0, made.stderr
    done = program.run("report", "-o", "report.html", "--plan", "plan.jsonl")
    assert done.returncode == 0, done.stderr
    found = document(program)
    assert found["plan"]["groups"]
