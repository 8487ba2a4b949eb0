"""The answers that are made up for tests in a browser have the shapes of the real ones."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from test_json import REPORT

from chromium import WEB
from dregutil.serve.endpoints import ENDPOINTS
from dregutil.serve.images.query import parse_query
from dregutil.serve.model import Image, ImagePage, Job
from mock_serve import JOB, Mock, answers, image

ANSWERS = answers(REPORT)


def shape(path: str) -> Any:
    """The type of what a path answers."""
    for one in ENDPOINTS.values():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(one.path))
        if one.method == "GET" and re.fullmatch(pattern, f"/api/v1/{path}"):
            return one.gives
    raise AssertionError(f"there is no {path}")


def exact(value: Any, kind: Any) -> None:
    """`value` is one of `kind`, and has no key that `kind` has not."""
    made = msgspec.convert(value, kind, strict=True)
    assert msgspec.to_builtins(made).keys() >= value.keys()


@pytest.mark.parametrize("path", ANSWERS)
def test_an_answer_has_the_shape_of_its_path(path: str) -> None:
    exact(ANSWERS[path], shape(path))


def test_images_and_jobs_have_the_shapes_of_theirs() -> None:
    exact(Mock(ANSWERS).images({}), ImagePage)
    exact(image(7), Image)
    exact(JOB, Job)


def test_what_the_page_says_can_be_searched_can_be() -> None:
    text = (WEB / "src" / "serve" / "Images.tsx").read_text()
    terms = re.findall(r'^  \["([^"]+)", "', text, re.MULTILINE)
    assert len(terms) > 6
    for one in terms:
        query = parse_query(one.replace("\\u2026", "0" * 60))
        assert one.startswith("web") or query.words == ()
