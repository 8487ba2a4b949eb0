"""Every promise in docs/promises.md names tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"`(test_[\w/]*\.py)(?:::([\w:]+))?`")


def _rows() -> Iterator[tuple[int, str]]:
    """The rows of all tables, with their line numbers; without headings and rulers."""
    lines = (ROOT / "docs/promises.md").read_text().splitlines()
    for number, line in enumerate(lines, 1):
        is_heading = number < len(lines) and lines[number].startswith("|---")
        if line.startswith("|") and not line.startswith("|---") and not is_heading:
            yield number, line


@functools.cache
def _tests_in(name: str) -> frozenset[str]:
    """The test functions of a file, methods as `Class::method`; empty where there is no such file."""
    found = list((ROOT / "tests").rglob(name))
    names = set()
    for path in found:
        for node in ast.parse(path.read_text()).body:
            names.add(node.name) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else None
            if isinstance(node, ast.ClassDef):
                names |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
            if isinstance(node, ast.Assign):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(names)


@pytest.mark.parametrize(("number", "row"), list(_rows()))
def test_a_promise_names_tests_that_exist(number: int, row: str) -> None:
    named = _NAMED.findall(row)
    assert named, f"line {number} of docs/promises.md names no test: {row}"
    for file, test in named:
        assert _tests_in(file), f"line {number}: there is no tests/{file}, or no test in it"
        assert not test or test in _tests_in(file), f"line {number}: {file} has no {test}"
