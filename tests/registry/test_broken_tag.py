"""A tag with an empty link (the registry answers 500) hides nothing else: the others are shown, and it is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer

POLICY = """version: 1
policies:
  - name: all
    repositories: ["shop/web"]
    keep: {last: 1}
    min_age: 0s
"""


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    """`shop/web` has three tags, and the link of `1.1` is empty; `shop/api` is intact."""
    for tag in ("1.0", "1.1", "1.2"):
        pusher.push_image("shop/web", tag, seed=tag)
    pusher.push_image("shop/api", "1.0", seed="api")
    pusher.push_image("lost", "only", seed="lost")
    for name, tag in (("shop/web", "1.1"), ("lost", "only")):
        tags = registry_server.storage / f"docker/registry/v2/repositories/{name}/_manifests/tags"
        (tags / tag / "current" / "link").write_bytes(b"")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, folder)


def test_readable_tags_are_listed_and_the_others_reported(program: Program) -> None:
    found = program.run("list-tag-names", "shop/web")
    assert found.returncode == 3
    assert [line.split() for line in found.stdout.splitlines()] == [["shop/web", "1.0"], ["shop/web", "1.2"]]
    assert "shop/web:1.1 was not read" in found.stderr
    assert "has no tags" not in found.stderr


def test_an_unreadable_repository_is_listed_and_not_called_empty(program: Program) -> None:
    found = program.run("list-repo-names", "--format", "json")
    assert found.returncode == 3
    assert {(one["repository"], one["tags"]) for one in json.loads(found.stdout)} == {
        ("lost", 1),
        ("shop/api", 1),
        ("shop/web", 3),
    }
    found = program.run("list-tag-names", "lost")
    assert (found.returncode, found.stdout) == (3, "")
    assert "lost:only was not read" in found.stderr
    assert "has no tags" not in found.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("list-tag-names", "l*"),
        ("list-tag-names", "lost"),
        ("query-repos", "-r", "lost"),
        ("query-tags", "-r", "l*", "-t", "only"),
        ("query-tags", "-r", "shop/web", "-t", "1.1"),
        ("find", "lost:only"),
        ("find", "shop/web:1.1"),
        ("find", "0123456789ab"),
        ("inspect", "lost:only"),
        ("why", "lost:only", "-f", "policy.yml"),
        ("why", "shop/web:1.1", "-f", "policy.yml"),
        ("list-tag-names", "shop/api", "--based-on", "lost:only"),
        ("du", "lost"),
        ("cleanup", "-f", "policy.yml", "--dry-run"),
        ("remove-tags", "-r", "lost", "-t", "only", "--dry-run"),
        ("remove-repos", "-r", "lost", "--dry-run"),
        ("policy", "check", "policy.yml", "--against", "HERE"),
    ],
)
def test_no_command_claims_an_absence(program: Program, arguments: tuple[str, ...]) -> None:
    found = program.run(*(program.url if one == "HERE" else one for one in arguments))
    assert found.returncode != 0
    for claim in ("there is no", "did you mean", "has no tag", "no repository matches", "no tag uses", "names a repos"):
        assert claim not in found.stderr + found.stdout
    assert "500" in found.stderr


def test_readable_tags_are_found_and_shown(program: Program, pusher: Pusher) -> None:
    digest = pusher.tags("shop/web")["1.2"]
    for arguments in (("find", "shop/web:1.2"), ("find", digest), ("query-tags", "-r", "shop/web", "-t", "1.2")):
        found = program.run(*arguments)
        assert found.returncode == 3
        assert digest in found.stdout or "1.2" in found.stdout
    assert "1.0" in program.run("du", "--by", "tag").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("remove-tags", "-r", "shop/web", "-t", "1.0", "-y"),
        ("remove-repos", "-r", "shop/web", "-y"),
        ("cleanup", "-f", "policy.yml", "-y"),
    ],
)
def test_nothing_is_removed_from_a_repository_with_an_unreadable_tag(
    program: Program, pusher: Pusher, arguments: tuple[str, ...]
) -> None:
    before = pusher.tags("shop/web")
    found = program.run(*arguments)
    assert found.returncode == 3
    assert "was not read" in found.stderr
    assert pusher.tags("shop/web") == before
