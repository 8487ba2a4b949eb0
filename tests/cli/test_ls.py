"""`ls` on the command line, against a real registry: what is listed, in which order, and what is read for it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for place, tag in enumerate(("1.0", "1.1", "2.0")):
        config = {**created(400 - 150 * place), "config": {"Labels": {"team": "web"}}}
        pusher.push_image("shop/web", tag, seed=tag, layers=[b"x" * 1000 * (place + 1)], config=config)
    image = pusher.push_image("shop/api", "1.0", "latest", seed="api")
    pusher.push_image("shop/api", f"sha256-{image['digest'][7:]}.sig", seed="signature")
    return Program(registry_server.url, tmp_path)


def rows(program: Program, *arguments: str) -> list[list[str]]:
    done = program.run("ls", *arguments)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def images(program: Program, *arguments: str) -> list[str]:
    return [f"{row[0]}:{row[1][:6]}" for row in rows(program, "--columns", "repository,tag", *arguments)[1:]]


@pytest.mark.parametrize(
    ("arguments", "listed"),
    [
        ((), ["shop/api:1.0", "shop/api:latest", "shop/api:sha256", "shop/web:1.0", "shop/web:1.1", "shop/web:2.0"]),
        (("shop/w*",), ["shop/web:1.0", "shop/web:1.1", "shop/web:2.0"]),
        (("shop/web", "-t", "<2", "--reverse"), ["shop/web:1.1", "shop/web:1.0"]),
        (("-re", "late"), ["shop/api:latest"]),
        (("shop/web", "-x", "1.1"), ["shop/web:1.0", "shop/web:2.0"]),
        (("--older-than", "200d"), ["shop/web:1.0", "shop/web:1.1"]),
        (("--label", "team=web", "--sort", "size", "--top", "1"), ["shop/web:2.0"]),
        (("shop/web", "--sort", "age", "--top", "2"), ["shop/web:1.0", "shop/web:1.1"]),
    ],
)
def test_the_tags_that_are_listed(program: Program, arguments: tuple[str, ...], listed: list[str]) -> None:
    assert images(program, *arguments) == listed
    if "--top" not in arguments and "--reverse" not in arguments:
        named = program.run("list-tag-names", *arguments)
        assert [f"{row[0]}:{row[1][:6]}" for row in map(str.split, named.stdout.splitlines())] == listed


def test_a_row_has_full_digests_in_a_pipe(program: Program) -> None:
    head, *found = rows(program, "shop/web", "-t", "2.0")
    assert head == ["REPOSITORY", "TAG", "AGE", "SIZE", "PLATFORMS", "DIGEST"]
    (row,) = found
    assert row[:4] == ["shop/web", "2.0", "3", "months"]
    assert row[-1].startswith("sha256:")
    assert len(row[-1]) == 71


def test_without_reading_unknown_contents_are_shown_as_such(program: Program) -> None:
    assert rows(program, "shop/web", "-t", "2.0", "--no-read")[1][:5] == ["shop/web", "2.0", "-", "-", "-"]
    cached = ("-c", str(program.folder / "cache.json"))
    rows(program, "shop/web", "-t", "2.0", *cached)
    known = rows(program, "shop/web", "--no-read", "--columns", "tag,platforms", *cached)[1:]
    assert known == [["1.0", "-"], ["1.1", "-"], ["2.0", "linux/amd64"]]


def test_what_removing_a_tag_alone_would_free(program: Program) -> None:
    found = json.loads(program.run("ls", "shop/api", "shop/web", "--columns", "tag,freed", "--format", "json").stdout)
    freed = {entry["tag"][:6]: entry["freed"] for entry in found}
    assert freed["1.0"] < 2000  # of shop/web, with its layer; that of shop/api is also `latest`, and frees nothing
    assert freed["latest"] == 0
    assert freed["2.0"] > 3000


def test_what_top_leaves_out_is_counted(program: Program) -> None:
    done = program.run("ls", "--top", "2", "--count")
    assert "2 of 6 tags are shown" in done.stderr
    assert done.stdout.endswith("Number of tags: 2\n")
    assert program.run("ls", "--top", "0").returncode == 2


def test_data_in_every_format(program: Program) -> None:
    listed = json.loads(program.run("ls", "shop/web", "--format", "json").stdout)
    lines = program.run("ls", "shop/web", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == listed
    assert len(list(csv.DictReader(program.run("ls", "shop/web", "--format", "csv").stdout.splitlines()))) == 3
    table = program.run("ls", "shop/web", "--format", "table").stdout.splitlines()
    assert table[0].split() == ["REPOSITORY", "TAG", "CREATED", "SIZE", "PLATFORMS", "DIGEST"]


def test_a_column_that_does_not_exist_is_named(program: Program) -> None:
    done = program.run("ls", "--columns", "tag,sice")
    assert done.returncode == 2
    assert "no column is called 'sice': repository, tag, image" in done.stderr


def test_a_repository_after_the_selectors_is_explained(program: Program) -> None:
    done = program.run("ls", "-t", "<2", "shop/web")
    assert done.returncode == 2
    assert "if it is a repository, name it before the selectors" in done.stderr


def test_queries_have_dates_and_sizes_in_their_data(program: Program) -> None:
    (found,) = json.loads(program.run("query-tags", "-r", "shop/web", "-t", "2.0", "--format", "json").stdout)
    assert found["size"] > 3000
    assert found["created"].startswith("20")
    by_tag = json.loads(program.run("du", "--by", "tag", "shop/web", "--format", "json").stdout)
    assert {entry["tag"]: entry["digest"] for entry in by_tag[:-1]}["2.0"] == found["digest"]


def test_a_query_from_the_cache_answers_without_the_registry(
    program: Program, registry_server: DistributionServer
) -> None:
    cached = ("-c", str(program.folder / "cache.json"))
    assert program.run("list-repo-names", *cached).returncode == 0
    registry_server.stop()
    done = program.run("query-tags", "-r", "shop/web", "-t", "2.0", "--format", "json", *cached)
    assert done.returncode == 0
    (found,) = json.loads(done.stdout)
    assert (found["tags"], found["created"], found["size"]) == (["2.0"], None, None)
    assert "dates and sizes that were never read are not known" in done.stderr
