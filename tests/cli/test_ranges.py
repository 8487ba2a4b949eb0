"""Ranges of versions: comparisons in one selector hold together; side by side they may match everything."""

from __future__ import annotations

from pathlib import Path

import pytest

import dregutil
from dregutil.errors import UsageError
from images import Pusher
from program import Program
from servers import DistributionServer

TOGETHER = "-t '>=1.2' '<1.3' together select every version; did you mean -t '>=1.2 <1.3'?"


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for tag in ("1.1", "1.2", "1.2.5", "1.3", "latest"):
        pusher.push_image("shop/web", tag, seed=tag)
    return Program(registry_server.url, tmp_path)


def test_a_removal_takes_a_range_and_leaves_one(program: Program, pusher: Pusher) -> None:
    assert program.run("remove-tags", "-r", "shop/web", "-t", ">=1.2 <1.3", "-x", ">=1.2.1 <1.2.9").returncode == 0
    assert set(pusher.tags("shop/web")) == {"1.1", "1.2.5", "1.3", "latest"}
    assert program.run("remove-tags", "-r", "shop/web", "-t", ">=1.2 <1.3").returncode == 0
    assert set(pusher.tags("shop/web")) == {"1.1", "1.3", "latest"}


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--plan-out", "plan"), ("-y",), ("-x", "1.1")])
def test_a_removal_of_every_version_by_two_selectors_is_refused(
    options: tuple[str, ...], program: Program, pusher: Pusher
) -> None:
    before = pusher.tags("shop/web")
    found = program.run("remove-tags", "-r", "shop/web", "-t", ">=1.2", "<1.3", *options)
    assert (found.returncode, found.stdout) == (2, "")
    assert f"dregutil: {TOGETHER}\n" in found.stderr
    assert pusher.tags("shop/web") == before
    assert not (program.folder / "plan").exists()


def test_a_query_of_every_version_by_two_selectors_warns(program: Program) -> None:
    plain = program.run("query-tags", "-r", "shop/web", "-re", "1")
    found = program.run("query-tags", "-r", "shop/web", "-t", ">=1.2", "<1.3")
    assert (found.returncode, found.stdout) == (0, plain.stdout)
    assert f"warning: {TOGETHER}" in found.stderr
    assert f"warning: {TOGETHER}" in program.run("ls", "shop/web", "-t", ">=1.2", "<1.3").stderr
    found = program.run("query-tags", "-r", "shop/web", "-t", ">=1.2 <1.3")
    assert "together" not in found.stderr
    assert len(found.stdout.splitlines()) == 2


def test_exclusions_that_leave_no_version_are_reported(program: Program) -> None:
    for command in (("query-tags",), ("remove-tags", "--dry-run")):
        found = program.run(*command, "-r", "shop/web", "-t", "<9", "-x", ">=1.2", "<1.3")
        assert found.returncode == 0
        assert "-x '>=1.2' '<1.3' together exclude every version; did you mean -x '>=1.2 <1.3'?" in found.stderr


def test_in_the_library(program: Program) -> None:
    warned: list[str] = []
    state = program.folder / "library"
    with dregutil.open(
        program.url, cache=None, state_dir=state, on_warning=lambda text, _: warned.append(text)
    ) as open_:
        assert [one.tag for one in open_.tags("shop/web", tags=[">=1.2 <1.3"])] == ["1.2", "1.2.5"]
        assert warned == []
        assert len(open_.tags("shop/web", tags=[">=1.2", "<1.3"])) == 4
        assert len(warned) == 1
        assert "together select every version; did you mean tags=['>=1.2 <1.3']?" in warned[0]
        with pytest.raises(UsageError, match="together select every version"):
            open_.plan_removal("shop/web", tags=[">=1.2", "<1.3"])
        assert open_.plan_removal("shop/web", tags=[">=1.2 <1.3"]).removed_tags == 2
