"""An item of `pulls`: what records when images were pulled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import yaml

from dregutil.pulls.access_log import line_reader
from dregutil.pulls.find_logs import check_log_pattern
from dregutil.pulls.pull import SourceKind
from dregutil.retention.policy import DAY
from dregutil.retention.policyfile.tree import Tree, is_switch
from dregutil.retention.pull_rules import PullSource
from dregutil.select.quantity import parse_duration

__all__ = ["read_pull_source"]

_KINDS = "events: true, log: true, log: FILE, server: true"


def read_pull_source(tree: Tree, node: Any) -> PullSource:
    """One of what records pulls; mistakes are noted in `tree`."""
    before = len(tree.mistakes)
    keys = tree.section(node, "pulls")
    names_files = "log" in keys and not _is_switch(keys["log"])

    kinds = [
        kind
        for kind in SourceKind
        if (kind is SourceKind.LOG and names_files) or tree.switch(keys.get(kind.value), default=False)
    ]
    if len(kinds) != 1 and len(tree.mistakes) == before:
        tree.wrong(node, f"a source of pulls has one of {_KINDS}")
    if "line_format" in keys and not names_files and len(tree.mistakes) == before:
        tree.wrong(keys["line_format"], "'line_format' is for the files of 'log', and none is named")
    return PullSource(
        kinds[0] if kinds else SourceKind.EVENTS,
        tree.read(keys.get("since"), _day),
        tree.read(keys.get("max_gap"), parse_duration) or DAY,
        tree.read_all(keys["log"], check_log_pattern) if names_files else (),
        tree.read(keys.get("line_format"), _line_format),
        line=node.start_mark.line + 1,
        column=node.start_mark.column + 1,
    )


def _is_switch(node: Any) -> bool:
    """Whether a value is true or false, and no paths."""
    return isinstance(node, yaml.ScalarNode) and is_switch(str(node.value))


def _line_format(text: str) -> str:
    line_reader(text)
    return text


def _day(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date, such as 2026-08-01") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
