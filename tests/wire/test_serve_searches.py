"""Searches over HTTP in an index that is there: a server needs no registry to answer. Names of others are only text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.serve.files import ServeFolder
from dregutil.serve.images.facts import Verdicts
from dregutil.serve.where import routes
from indexed import REGISTRY, Shelf, ago
from listening import until
from program import Program
from serve_inside import inside
from servers import free_port
from serving import Serving

LONG = "ü" * 10_000
EVIL = "\u202e<script>alert(1)</script>\x1b[2J"
LABELS = {"team": "web", EVIL: EVIL, "long": LONG, '"': "\\"}


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Of a registry that is not there, with the index that an earlier server left."""
    program = Program(f"http://127.0.0.1:{free_port()}", tmp_path)
    shelf = Shelf()
    tags = {
        "shop/web": {"1.0": shelf.image(["a", "b"], labels=LABELS, created=ago(9), platform=f"linux/{EVIL}{LONG}")},
        "shop/api": {f"1.{number}": shelf.image(["a"], created=ago(number)) for number in range(40)},
    }
    because = f"{EVIL}: beyond last: 1 {LONG}"
    removed = {Repository("shop/web"): {Tag("1.0"): (tags["shop/web"]["1.0"], because)}}
    index = shelf.build(tmp_path, tags, verdicts=Verdicts(removed))
    index.close()
    place = ServeFolder(program.state, program.url.removeprefix("http://"))
    place.path.mkdir(parents=True, mode=0o700)
    (tmp_path / "serve" / "images.sqlite").replace(place.images)
    with Serving(program, ("-c", "cache.json", "--refresh-every", "0")) as found:
        yield found


def images(serving: Serving, query: str, more: str = "") -> dict[str, Any]:
    answered = serving.get(f"images?q={quote(query)}{more}")
    assert answered.status == 200, answered
    found: dict[str, Any] = answered.json
    return found


def test_what_others_wrote_is_found_and_shown_as_text(serving: Serving) -> None:
    for query in (f'label:"{EVIL}"', f'label:"{EVIL}={EVIL}"', 'label:"\\"=\\\\"', "is:remove"):
        assert [row["image"] for row in images(serving, query)["rows"]] == ["shop/web:1.0"], query
    body = serving.get("images?q=shop/web").body.decode()
    assert not {*body} & {"\u202e", "\x1b", "\n"}
    assert len(body) < 3000
    (row,) = json.loads(body)["rows"]
    assert row["because"].startswith("\\u202e<script>alert(1)</script>\\x1b[2J: beyond last: 1")
    assert (len(row["because"]), len(row["platforms"])) == (300, 1)


def test_pages_follow_one_another_in_every_order(serving: Serving) -> None:
    for sort in ("name", "created", "pulled", "size", "frees", "repository"):
        for descending in (0, 1):
            pages = [
                images(serving, "shop", f"&sort={sort}&desc={descending}&offset={offset}&limit=9")["rows"]
                for offset in range(0, 50, 9)
            ]
            names = [row["image"] for page in pages for row in page]
            assert len(names) == len({*names}) == 41, (sort, descending)


def test_what_cannot_be_searched_is_refused_with_advice(serving: Serving) -> None:
    for query in (
        "older:x",
        "larger:x",
        "label:",
        "is:x",
        "layer:x",
        "base::",
        "digest:x",
        '"',
        "a " * 51,
    ):
        answered = serving.get(f"images?q={quote(query)}")
        assert answered.status == 400, query
        assert answered.json["error"], query
        assert answered.json["advice"], query
    for parameters in ("limit=501", "limit=-1", "offset=1e3", "offset=9999999999", "desc=2", "sort=colour", "limit=²"):
        assert serving.get(f"images?{quote(parameters, safe='=')}").status == 400, parameters


def test_a_name_that_looks_like_an_option_reaches_no_command(serving: Serving) -> None:
    for text in ("--help", "-f", "--state-dir=/tmp", " -x", "a -x", ""):
        for path in ("why?image=", "timeline?of="):
            assert serving.get(f"{path}{quote(text)}").status == 400, text
    assert not list(serving.program.state.glob("**/work/why-*"))


async def test_large_records_are_read_by_a_process_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, tag = TagHistory(tmp_path, REGISTRY), Tag("1.0")
    for days, tags in ((9, {tag: Digest.of(b"image")}), (8, {Tag("2"): Digest.of(b"other")})):
        history.record(Inventory({Repository("shop/web"): tags}), now=ago(days))
    program = f"['-reg', '{REGISTRY}', '--state-dir', {str(tmp_path)!r}, *sys.argv[1:]]"
    script = f"import sys; from dregutil.cli import run; sys.exit(run({program}))"
    async with inside(tmp_path, script) as server:
        here = await server.get("/api/v1/timeline?of=shop/web:1.0")
        monkeypatch.setattr(routes, "_LARGE", 0)
        there = await server.get("/api/v1/timeline?of=shop/web:1.0")
        assert (here.status, here.json) == (there.status, there.json)
        assert [one["what"] for one in there.json["events"]] == ["gone"]
        assert not [*server.site.folder.work.iterdir()]


@pytest.mark.parametrize("has_tags", [True, False])
def test_a_damaged_index_is_built_again_of_the_tags_that_are_there(tmp_path: Path, has_tags: bool) -> None:
    program = Program(f"http://127.0.0.1:{free_port()}", tmp_path)
    place = ServeFolder(program.state, program.url.removeprefix("http://"))
    place.path.mkdir(parents=True, mode=0o700)
    place.images.write_bytes(b"no database")
    if has_tags:
        (tmp_path / "cache.json").write_text(json.dumps({"shop/web": {"1.0": Digest.of(b"image")}}))
    with Serving(program, ("-c", "cache.json", "--refresh-every", "0")) as serving:
        if has_tags:
            until(lambda: serving.get("images").status == 200)
            assert [(row["image"], row["size"]) for row in images(serving, "")["rows"]] == [("shop/web:1.0", None)]
        else:
            answered = serving.get("images")
            assert (answered.status, answered.json["error"]) == (503, "there is no index of images yet")
