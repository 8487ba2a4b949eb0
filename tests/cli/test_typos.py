"""A selector that matches nothing is reported, with the nearest match."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import dregutil
from dregutil.cli import run
from images import Pusher
from program import Program
from servers import DistributionServer


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    labels = {"config": {"Labels": {"team": "web"}}}
    pusher.push_image("shop/web", "1.0.7", seed="one", config=labels)
    pusher.push_image("shop/web", "stable", seed="two")
    return Program(registry_server.url, tmp_path)


def test_a_selector_that_matches_nothing_is_reported(program: Program, pusher: Pusher) -> None:
    for command in (["query-tags"], ["remove-tags", "--dry-run"]):
        for arguments, said in (
            (["-t", "1.0.7", "1.0.77"], "1.0.77 selects no tag (did you mean 1.0.7?)"),
            (["-t", "1.0.7", "<0.1"], "<0.1 selects no tag"),
            (["-t", "1.0.7", "-re", "stabel"], "stabel selects no tag"),
            (["-t", "1.0.7", "-x", "stabel"], "-x stabel names no tag (did you mean stable?)"),
        ):
            found = program.run(*command, "-r", "shop/web", *arguments)
            assert found.returncode == 0
            assert said in found.stderr
            assert "1.0.7 selects no tag" not in found.stderr
        found = program.run(*command, "-r", "shop/web", "-t", "1.0.7", ">=1", "-x", "stable", "-re", "st")
        assert "no tag" not in found.stderr


def test_in_the_library_it_is_a_warning(program: Program) -> None:
    warned: list[str] = []
    state = program.folder / "library"
    with dregutil.open(
        program.url, state_dir=state, contents=None, on_warning=lambda text, _: warned.append(text)
    ) as shop:
        shop.tags("shop/web", tags=["1.0.7", "<2"], exclude=["stable"])
        assert warned == []
        assert shop.tags("shop/web", tags=["1.0.77", "<0.1"], regex=["st"], exclude=["stabel"])
        said = ["1.0.77 selects no tag (did you mean 1.0.7?)", "<0.1 selects no tag"]
        assert warned == [*said, "exclude: stabel names no tag (did you mean stable?)"]
        warned.clear()
        assert shop.plan_removal("shop/web", tags=["1.0.77"]).steps == ()
        assert warned == said[:1]


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("--media-type", "*spdx*"), "'**spdx**'"),
        (("--media-type", "spdx"), "'**spdx**'"),
    ],
)
def test_a_selector_that_can_never_match_is_refused(program: Program, arguments: tuple[str, ...], advice: str) -> None:
    found = program.run("list-tag-names", "shop/web", *arguments)
    assert found.returncode == 2
    assert advice in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--platform", "linux/arm65"), "no image here is for linux/arm65 (there are linux/amd64)"),
        (("--platform", "lunix"), "no image here is for lunix"),
        (("--platform", "arm64"), "no image here is for arm64 (there are linux/amd64)"),
        (("--label", "taem"), "no image here has a label taem (did you mean team?)"),
        (("--label", "team=wbe"), "the label team with the value wbe (there are web)"),
        (("--media-type", "**spdx**"), "no image here has a type **spdx**"),
    ],
)
def test_a_property_that_no_image_has_is_reported(program: Program, arguments: tuple[str, ...], said: str) -> None:
    for command in (("list-tag-names", "shop/web"), ("query-tags", "-r", "shop/web")):
        found = program.run(*command, *arguments)
        assert (found.returncode, found.stdout) == (0, "")
        assert said in found.stderr
    for platform in ("linux/amd64", "amd64", "AMD64", "x86_64", "linux"):
        found = program.run("list-tag-names", "shop/web", "--label", "team=web", "--platform", platform)
        assert "no image here" not in found.stderr
        assert "1.0.7" in found.stdout


def test_the_recorded_command_is_the_one_that_ran(
    program: Program, pusher: Pusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["around", "--token", "hidden"])
    arguments = ["-reg", program.url, "-c", "None", "--state-dir", str(program.state)]
    assert run([*arguments, "remove-tags", "-r", "shop/web", "-t", "1.0.7", "-y", "-p", "hidden"]) == 0
    assert run([*arguments, "undo", "-y"]) == 0
    for one in program.history():
        assert "around" not in one["command"]
        assert "hidden" not in one["command"]
        assert one["command"].startswith("-reg")
    assert set(pusher.tags("shop/web")) == {"1.0.7", "stable"}
