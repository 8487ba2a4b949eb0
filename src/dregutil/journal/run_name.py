"""The form of a run's name: when it began, and some random characters, so that names sort by time. Pure."""

from __future__ import annotations

import re

__all__ = ["is_run_name"]

_RUN_NAME = re.compile(r"\d{1,8}(T\d{0,6}(Z(-[0-9a-f]{0,9})?)?)?", re.ASCII)


def is_run_name(text: str) -> bool:
    """Whether `text` has the form of a run's name, or of the beginning of one: no name of an image has it."""
    return _RUN_NAME.fullmatch(text) is not None
