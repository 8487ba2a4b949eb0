"""A date that was not read is not called unknown."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer

POLICY = """version: 1
policies:
  - name: web
    repositories: ["shop/web"]
    keep: {last: 1}
"""


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


def test_an_image_without_a_date_and_one_whose_date_was_not_read(program: Program, pusher: Pusher) -> None:
    pusher.push_image("shop/web", "undated", seed="undated")
    child = pusher.push_image("shop/web", seed="child", config={"created": "2024-05-01T00:00:00Z"})
    pusher.push_index("shop/web", "index", children=[child])
    said = program.run("why", "shop/web:undated", "-f", "policy.yml").stdout
    assert "date unknown" in said
    said = program.run("why", f"shop/web@{child['digest']}", "-f", "policy.yml").stdout
    assert "date not read" in said
    assert "unknown" not in said
