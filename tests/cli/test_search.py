"""Search by content on the command line, against a real registry: what is selected, omitted, read and reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

BASE = [b"base one", b"base two"]


def built(days: int, **labels: str) -> dict[str, Any]:
    created = datetime.now(UTC) - timedelta(days=days)
    return {"created": created.isoformat(), "config": {"Labels": labels}}


@pytest.fixture
def shop(pusher: Pusher) -> Pusher:
    pusher.push_image("team/web", "1.0", seed="old", config=built(400, team="web"))
    pusher.push_image("team/web", "1.1", "stable", seed="mid", config=built(100, team="web", tier="gold"))
    pusher.push_image("team/web", "2.0", seed="new", config=built(1))
    pusher.push_image("team/web", "made-up", seed="zero", config={"created": "1970-01-01T00:00:00Z"})
    pusher.push_image("team/web", "silent", seed="silent")
    pusher.push_image("base", "1", seed="base", layers=BASE)
    pusher.push_image("team/app", "big", seed="big", layers=[*BASE, b"x" * 5000])
    arm = pusher.push_image("team/app", seed="arm", config={"architecture": "arm64", "variant": "v8"})
    amd = pusher.push_image("team/app", seed="amd", config=built(300))
    pusher.push_index("team/app", "multi", children=[arm, amd])
    return pusher


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def tags(program: Program, *arguments: str) -> tuple[list[str], str]:
    found = program.run("query-tags", *arguments, "--format", "json")
    assert found.returncode == 0, found.stderr
    return [tag for entry in json.loads(found.stdout) for tag in entry["tags"]], found.stderr


@pytest.mark.parametrize(
    ("arguments", "selected"),
    [
        (("--older-than", "90d"), ["1.0", "1.1", "stable", "multi"]),
        (("--older-than", "90d", "-x", "stable"), ["1.0", "multi"]),
        (("--older-than", "90d", "-t", "1.0", "2.0"), ["1.0"]),
        (("--older-than", "90d", "--newer-than", "350d"), ["1.1", "stable", "multi"]),
        (("--newer-than", "2d"), ["2.0"]),
        (("--larger-than", "5kB"), ["big"]),
        (("--label", "team=web"), ["1.0", "1.1", "stable"]),
        (("--label", "team=web", "--label", "tier"), ["1.1", "stable"]),
        (("--platform", "linux/arm64"), ["multi"]),
        (("--media-type", "application/vnd.oci.image.index.v1+json"), ["multi"]),
        (("--based-on", "base:1"), ["big"]),
    ],
)
def test_tags_are_selected_by_their_contents(
    shop: Pusher, program: Program, arguments: tuple[str, ...], selected: list[str]
) -> None:
    found, _ = tags(program, "-r", "team/web", "team/app", *arguments)
    assert found == selected


def test_tags_without_a_date_are_omitted_and_reported(shop: Pusher, program: Program) -> None:
    found, said = tags(program, "-r", "team/web", "--older-than", "0d")
    assert found == ["1.0", "1.1", "stable", "2.0"]
    assert "2 tags left out: date unknown" in said


def test_repositories_by_glob(shop: Pusher, program: Program) -> None:
    found, _ = tags(program, "-r", "team/*", "-t", "big", "2.0")
    assert found == ["big", "2.0"]
    done = program.run("list-tag-names", "tea*/app", "--image-names")
    assert done.stdout.count("team/app:") == 2


def test_a_glob_that_matches_nothing_is_reported(shop: Pusher, program: Program) -> None:
    done = program.run("query-tags", "-r", "team/*", "nobody/*", "-t", "2.0")
    assert (done.returncode, len(done.stdout.splitlines())) == (3, 1)
    assert "no repository matches nobody/*" in done.stderr
    assert program.run("query-tags", "-r", "nobody/*", "-t", "2.0").returncode == 1
    assert program.run("remove-repos", "-r", "team/*").returncode == 2


def test_tags_are_listed_by_their_contents(shop: Pusher, program: Program) -> None:
    found = program.run("list-tag-names", "--older-than", "90d")
    assert found.stdout == "team/app  multi\nteam/web  1.0\nteam/web  1.1\nteam/web  stable\n"


def test_exactly_the_selected_tags_are_removed(shop: Pusher, program: Program) -> None:
    before = shop.tags("team/web")
    done = program.run("remove-tags", "-r", "team/web", "--older-than", "90d")
    assert done.returncode == 0, done.stderr
    assert before.keys() - shop.tags("team/web").keys() == {"1.0", "1.1", "stable"}


def test_a_digest_whose_other_tag_is_not_selected_is_left_alone(shop: Pusher, program: Program) -> None:
    done = program.run("remove-tags", "-r", "team/web", "--older-than", "90d", "-t", "<1.4")
    assert "left alone" in done.stderr or "'stable'" in done.stderr
    assert {"1.1", "stable"} <= shop.tags("team/web").keys()
    assert "1.0" not in shop.tags("team/web")


def test_a_tag_that_moved_since_the_search_is_not_removed(shop: Pusher, program: Program) -> None:
    cache = ("-c", "cache.json")
    assert program.run(*cache, "query-tags", "-r", "team/web", "--older-than", "90d").returncode == 0
    moved = shop.push_image("team/web", "1.0", seed="fresh", config=built(0))
    done = program.run(*cache, "remove-tags", "-r", "team/web", "--older-than", "90d")
    assert done.returncode == 0, done.stderr
    assert shop.tags("team/web")["1.0"] == moved["digest"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-x", "1.0"),
        ("--older-than", "90"),
        ("--older-than", "soon"),
        ("--larger-than", "big"),
        ("--label", "=x"),
        ("--platform", ""),
        ("--based-on", "Not an image"),
    ],
)
def test_mistakes_are_reported_before_anything_is_read(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = Program("http://127.0.0.1:9", tmp_path).run("query-tags", "-r", "a", *arguments)
    assert done.returncode == 2, done.stderr


def test_a_base_that_is_missing_or_has_no_layers_selects_nothing(shop: Pusher, program: Program) -> None:
    shop.push_image("base", "empty", seed="empty", layers=0)
    absent = program.run("query-tags", "-r", "team/*", "--based-on", "base:9")
    empty = program.run("query-tags", "-r", "team/*", "--based-on", "base:empty")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert (empty.returncode, empty.stdout) == (2, "")


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


def test_a_tag_that_could_not_be_read_is_never_selected(memory: MemoryServer, tmp_path: Path) -> None:
    with Pusher(memory.url) as pusher:
        pusher.push_image("r", "1.0", seed="old", config=built(400))
        lost = pusher.push_image("r", "1.1", seed="lost", config=built(400))

    def lose(request: Request) -> Answer | None:
        return Answer(404) if request.method == "GET" and request.reference == lost["digest"] else None

    with Proxy(memory.port, before=lose) as proxy:
        done = Program(proxy.url, tmp_path).run("query-tags", "-r", "r", "--older-than", "90d", "--format", "json")
    assert done.returncode == 3
    assert [entry["tags"] for entry in json.loads(done.stdout)] == [["1.0"]]
    assert lost["digest"][:19] in done.stderr
    assert "1 tag left out: not read" in done.stderr


def test_a_search_reads_only_what_it_needs_and_only_once(memory: MemoryServer, tmp_path: Path) -> None:
    with Pusher(memory.url) as pusher:
        for number in range(5):
            pusher.push_image("r", f"1.{number}", seed=str(number), config=built(400))
            pusher.push_image("other", f"1.{number}", seed=f"other {number}")
    with Proxy(memory.port) as proxy:
        program = Program(proxy.url, tmp_path)
        cache = ("-c", "cache.json")
        assert program.run(*cache, "query-tags", "-r", "r", "-t", "<1.3").returncode == 0
        assert [place for place in proxy.sent("GET") if place.startswith("sha256:")] == []
        proxy.requests.clear()
        search = (*cache, "query-tags", "-r", "r", "-t", "<1.3", "--older-than", "90d")
        first = program.run(*search)
        assert len(proxy.sent("GET")) == 2 * 3  # manifests and configs
        proxy.requests.clear()
        assert program.run(*search).stdout == first.stdout
        assert proxy.requests == []


def test_signature_tags_are_not_selected_by_their_contents(shop: Pusher, program: Program) -> None:
    subject = shop.tags("team/web")["2.0"]
    shop.push_image("team/web", f"sha256-{subject[7:]}.sig", seed="signature", config=built(400))
    found, _ = tags(program, "-r", "team/web", "--older-than", "90d")
    assert found == ["1.0", "1.1", "stable"]
