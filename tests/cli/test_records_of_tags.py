"""The records of tags, with whole programs: returning tags, omitted repositories, lost records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.memory import MemoryServer

POLICY = """version: 1
defaults: {max_remove: 100%}
policies: [{name: p, repositories: ["**"], keep: {last: 8}}]
"""


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[tuple[MemoryServer, Program]]:
    (tmp_path / "policy.yml").write_text(POLICY)
    with MemoryServer() as server, Pusher(server.url) as pusher:
        for name in ("a", "b", "c"):
            _push(pusher, name, 10)
        yield server, Program(server.url, tmp_path)


def _push(pusher: Pusher, name: str, number: int) -> None:
    for place in range(number):
        pusher.push_image(name, f"t{place}", seed=f"{name} {place}", config=created(100 - place))


def _cleanup(program: Program, *more: str) -> str:
    done = program.run("cleanup", "-f", "policy.yml", "-y", *more)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _decisions(program: Program) -> dict[str, str]:
    done = program.run("cleanup", "-f", "policy.yml", "--dry-run", "--details", "--format", "json")
    return {f"{one['repository']}:{one['tag']}": one["decision"] for one in json.loads(done.stdout)}


def test_what_undo_restored_displaces_no_other_tag_and_is_kept(program: Program, pusher: Pusher) -> None:
    _push(pusher, "app", 10)
    _cleanup(program)
    assert set(pusher.tags("app")) == {f"t{place}" for place in range(2, 10)}
    program.run("refresh")
    assert program.run("undo", "-y").returncode == 0
    for _ in range(2):
        assert "nothing to remove" in _cleanup(program)
    assert set(pusher.tags("app")) == {f"t{place}" for place in range(10)}
    why = program.run("why", "app:t0", "-f", "policy.yml").stdout
    assert "put back on" in why
    assert "held until" in why


@pytest.mark.parametrize("how", ["hidden", "absent"])
def test_tags_that_are_missing_for_a_night_displace_no_other_tag(
    memory: tuple[MemoryServer, Program], how: str
) -> None:
    server, program = memory
    _cleanup(program)
    before = _decisions(program)
    getattr(server.switches, how).update({"t3", "t7"})
    told = _cleanup(program)
    assert ("lists omit 6 tags (a:t3, a:t7, b:t3, b:t7, c:t3 and 1 more)" in told) == (how == "hidden")
    getattr(server.switches, how).clear()
    assert _decisions(program) == before
    assert set(before.values()) == {"keep"}


def test_a_removal_before_the_first_cleanup_makes_no_tag_young(memory: tuple[MemoryServer, Program]) -> None:
    """The records begin with the cleanup: there were none that could have been lost."""
    _, program = memory
    assert program.run("remove-tags", "-r", "a", "-t", "t0").returncode == 0
    told = _cleanup(program)
    assert "the records of when tags came begin with this run" in told
    assert "removed" in told
    for path in (program.state / "sightings").iterdir():
        path.unlink()
    assert "every tag counts as younger" in _cleanup(program)


def test_repositories_that_the_catalog_omits_are_reported_and_read(memory: tuple[MemoryServer, Program]) -> None:
    server, program = memory
    program.run("refresh")
    server.switches.unlisted.update({"a", "c"})
    told = _cleanup(program)
    assert "the catalog omits 2 repositories (a, c), but they have tags: they are read anyway" in told
    assert "removed 6 tags" in told
    again = program.run("refresh")
    assert "the catalog omits 2 repositories (a, c)" in again.stderr
    assert again.stdout.startswith("3 repositories, 24 tags")


def test_deleted_repositories_are_reported_once(memory: tuple[MemoryServer, Program]) -> None:
    server, program = memory
    program.run("refresh")
    del server.repositories["b"]
    assert "1 repository (b) from the last complete crawl: no longer in the catalog, and without tags" in (
        program.run("refresh").stderr
    )
    assert "(b)" not in program.run("refresh").stderr


def test_records_of_repositories_missing_from_a_file_stay_unchanged(memory: tuple[MemoryServer, Program]) -> None:
    _, program = memory
    program.run("refresh")
    (program.folder / "names").write_text("a\n")
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--repositories-from", "names")
    assert done.returncode == 0, done.stderr
    assert "catalog" not in done.stderr
    found = json.loads(program.run("why", "b:t0", "-f", "policy.yml", "--format", "json").stdout)
    assert not [one for one in found if "which saw it appear" in one["text"]]


def test_a_first_run_reports_that_its_records_begin(program: Program, pusher: Pusher) -> None:
    _push(pusher, "app", 3)
    begins = "the records of when tags came begin with this run"
    assert begins in program.run("cleanup", "-f", "policy.yml", "--dry-run").stderr
    assert begins not in program.run("cleanup", "-f", "policy.yml", "--dry-run").stderr


@pytest.mark.parametrize("older", [False, True])
def test_with_lost_records_every_tag_counts_as_young_and_the_run_reports_it(
    program: Program, pusher: Pusher, older: bool, tmp_path: Path
) -> None:
    (tmp_path / "policy.yml").write_text(POLICY.replace("last: 8", "last: 1"))
    _push(pusher, "app", 3)
    program.run("refresh")
    folder = program.state / "sightings"
    shutil.copytree(folder, tmp_path / "copy")
    stamp = program.state / "cleanups"
    first = {path: path.read_bytes() for path in stamp.iterdir()}
    while {path: path.read_bytes() for path in stamp.iterdir()} == first:  # the records count in whole seconds
        program.run("refresh")
    shutil.rmtree(folder)
    if older:
        shutil.copytree(tmp_path / "copy", folder)
    told = _cleanup(program)
    assert "the records of when tags came are gone, or older than the last run" in told
    assert "nothing to remove" in told
    again = _cleanup(program)
    assert "are gone" not in again
    assert set(pusher.tags("app")) == {"t0", "t1", "t2"}
    assert "because the records were lost" in program.run("why", "app:t0", "-f", "policy.yml").stdout


def test_on_a_full_disk_the_only_advice_is_to_free_space(program: Program, pusher: Pusher) -> None:
    _push(pusher, "app", 2)
    program.run("refresh")
    for place in range(400):
        pusher.push_manifest(
            "app", f"more-{place}", pusher.raw("app", "t0"), "application/vnd.oci.image.manifest.v1+json"
        )
    done = program.run("cleanup", "-f", "policy.yml", "-y", longest_file=36_000)
    assert done.returncode != 0
    assert "free space" in done.stderr
    assert "move it away" not in done.stderr
    assert "state-dir" not in done.stderr.partition("free space")[2]
