"""Progress through a pipe, for a program that shows it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from dregutil.inventory.crawl_result import ContentsProgress
from dregutil.report.progress_pipe import VARIABLE, ProgressPipe, progress_pipe


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_the_first_and_the_last_progress_are_told(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = pipe
    monkeypatch.setenv(VARIABLE, str(writing))
    told = progress_pipe()
    assert told is not None
    assert VARIABLE not in os.environ, "it is for this process alone"
    assert progress_pipe() is None
    assert not os.get_inheritable(writing)
    for done in range(1, 1001):
        told(ContentsProgress(done, 1000))
    told(None)
    told(None)
    lines = [json.loads(line) for line in os.read(reading, 1 << 16).splitlines()]
    assert lines[0] == {"done": 1, "total": 1000, "noun": "digests"}
    assert lines[-1] == {"done": 1000, "total": 1000, "noun": "digests"}
    assert len(lines) < 100


def test_nobody_who_reads_delays_nothing(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    told = ProgressPipe(writing)
    monkeypatch.setattr("dregutil.report.progress_pipe._WRITTEN_EVERY", 0.0)
    for _ in range(5000):
        told(ContentsProgress(1, 2))  # more than a pipe holds
    assert os.read(reading, 100)


@pytest.mark.parametrize("value", ["", "x", "-1", "0", "2", "999999", "٣"])
def test_what_names_no_pipe_is_ignored(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert progress_pipe() is None
