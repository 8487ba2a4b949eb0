"""Which runs a collection makes final: those of which `undo` then puts back less, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collecting import Stage, made

GENERATIONS = ("distribution-2.8", "distribution-3")


@pytest.fixture(params=GENERATIONS)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """Nothing is left to undo."""
    with made(request.param, tmp_path) as found:
        with found.running():
            undone = found.program.run("undo", "-y")
            assert undone.returncode == 0, undone.stderr
        yield found


def removed(stage: Stage, tag: str, *options: str) -> str:
    done = stage.program.run("remove-tags", "-r", "shop/web", "-t", tag, "-y", *options)
    assert done.returncode == 0, done.stderr
    return stage.program.runs[-1].name


def test_an_index_whose_children_stay_can_come_back(stage: Stage) -> None:
    """Its bytes are in the record: the run does not become final, although its manifest is swept."""
    with stage.running() as pusher:
        child = pusher.push_image("shop/web", "child", seed="tagged child")
        pusher.push_index("shop/web", "2.0", children=[child])
        removed(stage, "2.0")
    found = stage.object("-y")
    assert (found["freed"]["blobs"], found["runs"], found["as_predicted"]) == (1, [], True)
    with stage.running():
        undone = stage.program.run("undo", "-y")
        assert undone.returncode == 0, undone.stderr
    stage.pull("shop/web:2.0")


def test_an_image_that_a_later_repository_has(stage: Stage) -> None:
    """Its blobs stay. 3 takes its repository's links to them, and the run does not know from where to mount them."""
    with stage.running() as pusher:
        pusher.push_image("shop/web", "2.0", seed="late", layers=2)
        run = removed(stage, "2.0", "--ignore-other-repos")
        pusher.push_image("zoo/late", "1.0", seed="late", layers=2)
    is_newer = "3" in Path(stage.command[0]).name
    done = stage.collect("-y")
    if is_newer:
        assert done.returncode == 5
        assert f"runs of the last 7d could not be undone any more: {run}" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
    found = stage.object("-y", "--keep-undo", "0d")
    assert found["runs"] == ([run] if is_newer else [])
    assert found["as_predicted"]
    with stage.running():
        undone = stage.program.run("undo", "-y")
    assert undone.returncode == (3 if is_newer else 0), undone.stderr
