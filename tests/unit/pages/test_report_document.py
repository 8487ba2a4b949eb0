"""The document of a report: docs/json.md describes what is encoded."""

from __future__ import annotations

import json

import msgspec
from test_json import REPORT

from dregutil.pages.model import Report
from dregutil.pages.page import encoded


def test_the_example_in_the_docs_is_a_document() -> None:
    """Every key of it, in the order of the output, and no other."""
    read = msgspec.json.decode(json.dumps(REPORT), type=Report)
    assert json.loads(encoded(read)) == REPORT
    assert json.dumps(json.loads(encoded(read))) == json.dumps(REPORT)
