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


@pytest.mark.parametrize(
    "arguments",
    [
        ("ls", "shop/wbe"),
        ("list-tag-names", "shop/wbe"),
        ("query-repos", "-r", "shop/wbe"),
        ("query-repos", "-r", "shop/wbe", "--ignore-other-repos"),
        ("query-tags", "-r", "shop/wbe", "-t", "1.0.7"),
        ("query-tags", "-r", "shop/wbe", "-t", "1.0.7", "--ignore-other-repos"),
        ("query-tags", "-r", "shop/web", "--based-on", "shop/wbe:1.0.7"),
        ("remove-tags", "-r", "shop/wbe", "-t", "1.0.7"),
        ("remove-tags", "-r", "shop/wbe", "-t", "1.0.7", "--untag"),
        ("remove-repos", "-r", "shop/wbe"),
        ("du", "shop/wbe"),
        ("refresh", "shop/wbe"),
        ("find", "shop/wbe:1.0.7"),
        ("inspect", "shop/wbe:1.0.7"),
        ("hold", "shop/wbe:1.0.7"),
        ("why", "shop/wbe:1.0.7", "-f", "policy.yml"),
    ],
    ids=" ".join,
)
def test_a_mistyped_repository_is_answered_with_the_one_that_is_meant(
    program: Program, arguments: tuple[str, ...]
) -> None:
    (program.folder / "policy.yml").write_text(
        "version: 1\npolicies: [{name: p, repositories: ['shop/*'], keep: {last: 1}}]\n"
    )
    found = program.run(*arguments)
    assert "there is no repository shop/wbe with tags (did you mean shop/web?)" in found.stderr
    assert found.returncode == (0 if arguments[0] == "refresh" else 1)


@pytest.mark.parametrize("command", [("find",), ("inspect",), ("hold",), ("why", "-f", "policy.yml")], ids=" ".join)
def test_a_mistyped_tag_is_answered_with_the_one_that_is_meant(program: Program, command: tuple[str, ...]) -> None:
    (program.folder / "policy.yml").write_text(
        "version: 1\npolicies: [{name: p, repositories: ['shop/*'], keep: {last: 1}}]\n"
    )
    found = program.run(*command, "shop/web:stabel")
    assert found.returncode == 1
    assert "there is no shop/web:stabel (did you mean stable?)" in found.stderr
    found = program.run(*command, "shop/web:nothing-near")
    assert "there is no shop/web:nothing-near (tags: stable, 1.0.7)" in found.stderr


def test_the_near_name_is_that_of_the_file_which_stands_for_a_catalog(program: Program) -> None:

    (program.folder / "names.txt").write_text("shop/wbes\nbase/images\n")
    found = program.run("list-tag-names", "shop/wbe", "--repositories-from", "names.txt")
    assert "there is no repository shop/wbe with tags (did you mean shop/wbes?)" in found.stderr
