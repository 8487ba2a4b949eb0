"""The drawing of the rooms in docs/architecture.md has those of the import contract, in its order."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_drawing_has_the_rooms_of_the_contract_in_its_order() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rooms,) = (one["layers"] for one in contracts if one["type"] == "layers")
    (drawing,) = re.findall(r"^```mermaid\n(.*?)^```", (ROOT / "docs" / "architecture.md").read_text(), re.M | re.S)
    boxes = re.findall(r'\["([^"]*)"\]', drawing)
    drawn = [box.partition(" — ")[0] for box in boxes[:-1]]
    assert drawn == rooms[: len(drawn)]
    assert re.findall(r"\w+", boxes[-1])[0] == rooms[len(drawn)]
    assert set(rooms[len(drawn) :]) <= set(re.findall(r"\w+", boxes[-1]))


def test_the_number_of_contracts_is_said() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert (len(contracts), "and six more contracts" in (ROOT / "docs" / "architecture.md").read_text()) == (7, True)
