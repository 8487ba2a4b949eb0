"""The index of images: what is taken over from the one before, what is not trusted, and how it lies on the disk."""

from __future__ import annotations

import sqlite3
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from dregutil.errors import CacheError, PlanRefusedError, UsageError
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Reference, RegistryAddress, Repository, Tag
from dregutil.plan.file import save_plan
from dregutil.plan.model import Action, Plan, PolicySource, Step, StepKind
from dregutil.select.content_selector import Label
from dregutil.serve.images.build import Known, build_index
from dregutil.serve.images.facts import verdicts_of
from dregutil.serve.images.index import ImageIndex
from dregutil.serve.images.planned import read_planned
from dregutil.serve.images.query import Query, parse_query
from dregutil.serve.images.schema import KEEP, REMOVE
from dregutil.serve.images.search import Searcher, holders
from dregutil.serve.searching import command_of, image_object
from indexed import NOW, REGISTRY, Shelf, ago, named


def found(index: ImageIndex, text: str, **how: object) -> list[str]:
    return named(Searcher(index).search(parse_query(text), now=NOW, **how).rows)  # type: ignore[arg-type]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_what_was_read_once_is_not_read_again(shelf: Shelf, tmp_path: Path) -> None:
    """The contents are taken over, whatever else changes: this database no longer has them."""
    web, api = shelf.image(["a"], labels={"team": "x"}, created=ago(3)), shelf.image(["b"], created=ago(9))
    tags = {"shop/web": {"1": web, "2": api}, "shop/api": {"1": api}}
    shelf.build(tmp_path, tags).close()
    empty = Shelf()
    for now in (tags, {"shop/web": {"1": web, "3": api}, "other": {"1": web}}):
        index = empty.build(tmp_path, now)
        assert found(index, "label:team=x") == ["shop/web:1"]
        assert found(index, f"layer:{shelf.layer('a')}") == ["shop/web:1"]
        assert index.unread == (0 if now is tags else 2), "the tags that are new"
        index.close()


def test_a_date_in_the_future_is_known_when_it_has_passed(shelf: Shelf, tmp_path: Path) -> None:
    tags = {"a": {"1": shelf.image(created=ago(2))}}
    assert found(shelf.build(tmp_path, tags, now=ago(3)), "older:1d") == []
    assert found(shelf.build(tmp_path, tags), "older:1d") == ["a:1"]


def test_of_an_index_without_its_child_nothing_is_known(shelf: Shelf, tmp_path: Path) -> None:
    child = shelf.image(["a"])
    whole, other = shelf.index([child]), Shelf()
    other.database.add([shelf.manifests[whole]])
    index = other.build(tmp_path, {"a": {"1": whole}})
    (row,) = index.images([0])
    assert (row.size, row.frees, row.created, index.unread) == (None, None, None, 1)


def test_a_property_is_merged_from_what_was_there_and_what_is_new(shelf: Shelf, tmp_path: Path) -> None:
    one, two = (shelf.image(["a", name], created=ago(9), labels={"team": "x"}) for name in ("b", "c"))
    shelf.build(tmp_path, {"m": {"1": one, "9": one}}).close()
    index = shelf.build(tmp_path, {"a": {"1": two}, "m": {"1": one}, "z": {"1": two}})
    for text in ("label:team=x", f"layer:{shelf.layer('a')}", "platform:amd64"):
        assert found(index, text) == ["a:1", "m:1", "z:1"]


def test_a_tag_that_moved_is_read_again(shelf: Shelf, tmp_path: Path) -> None:
    old, new = shelf.image(["a"], created=ago(3)), shelf.image(["b"], created=ago(9))
    shelf.build(tmp_path, {"shop/web": {"1": old, "2": old}}).close()
    index = shelf.build(tmp_path, {"shop/web": {"1": new, "2": old}})
    assert found(index, f"layer:{shelf.layer('a')}") == ["shop/web:2"]
    assert found(index, f"layer:{shelf.layer('b')}") == ["shop/web:1"]
    assert found(index, "older:5d") == ["shop/web:1"]


@pytest.mark.parametrize("what", ["too old", "of another registry", "of another version", "damaged", "no database"])
def test_what_is_not_trusted_is_not_taken_over(what: str, shelf: Shelf, tmp_path: Path) -> None:
    tags = {"shop/web": {"1": shelf.image(["a"], labels={"team": "x"}, created=ago(3))}}
    index = shelf.build(tmp_path, tags, now=NOW - timedelta(days=8 if what == "too old" else 1))
    path = tmp_path / "serve" / "images.sqlite"
    index.close()
    changes = {
        "of another registry": "UPDATE meta SET value = 'other.example.com' WHERE name = 'registry'",
        "of another version": "UPDATE meta SET value = '0' WHERE name = 'version'",
        "damaged": "ALTER TABLE posting RENAME TO lost",
    }
    if what == "no database":
        path.write_bytes(b"nothing")
    elif what in changes:
        with sqlite3.connect(path) as connection:
            connection.execute(changes[what])
        connection.close()
    assert Shelf().build(tmp_path, tags).unread == 1
    assert found(shelf.build(tmp_path, tags), "label:team=x") == ["shop/web:1"]


def test_an_index_of_another_version_is_not_opened(shelf: Shelf, tmp_path: Path) -> None:
    shelf.build(tmp_path, {"a": {"1": shelf.image()}}).close()
    path = tmp_path / "serve" / "images.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '0' WHERE name = 'version'")
    connection.close()
    with pytest.raises(CacheError, match="another version"):
        ImageIndex.open(path)
    assert ImageIndex.open(tmp_path / "none") is None


def test_it_is_for_its_owner_alone_and_nothing_is_left_beside_it(shelf: Shelf, tmp_path: Path) -> None:
    folder = tmp_path / "serve"
    shelf.build(tmp_path, {"a": {"1": shelf.image()}}).close()
    (folder / ".images.sqlite.0123").write_text("of one that was killed")
    index = shelf.build(tmp_path, {"a": {"1": shelf.image(), "2": shelf.image()}})
    assert [one.name for one in folder.iterdir()] == ["images.sqlite"]
    assert stat.S_IMODE((folder / "images.sqlite").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    shelf.build(tmp_path, {"b": {"1": shelf.image()}}).close()
    assert found(index, "") == ["a:1", "a:2"], "it stays readable when another takes its place"


def test_a_folder_that_cannot_be_written_is_said(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="cannot be written"):
        build_index(tmp_path / "file" / "images.sqlite", Known("r", Inventory(), shelf.database))


def test_a_word_with_a_colon_ends_a_repository_and_begins_a_tag(shelf: Shelf, tmp_path: Path) -> None:
    digest = shelf.image()
    index = shelf.build(
        tmp_path, {"a-b": {"1": digest, "X1": digest, "11": digest}, "b": {"2": digest}, "c": {"1": digest}}
    )
    expected = {
        "b:1": ["a-b:1", "a-b:11"],
        "b:": ["a-b:1", "a-b:11", "a-b:X1", "b:2"],
        ":1": ["a-b:1", "a-b:11", "c:1"],
        "B:x": ["a-b:X1"],
        "-:1": [],
        "b:1:": [],
    }
    assert {text: found(index, text) for text in expected} == expected


def test_each_tag_is_found_by_its_name(shelf: Shelf, tmp_path: Path) -> None:
    digest, names = shelf.image(), ["A", "_", "a", "a.b", "a-b", "latest", "1", "10", "2"]
    index = shelf.build(tmp_path, {"x": dict.fromkeys(names, digest), "y": {"z": digest}})
    for name in names:
        row = index.image(Repository("x"), Tag(name))
        assert row is not None
        assert (row.repository, row.tag) == ("x", name)
    for repository, tag in (("x", "z"), ("x", "0"), ("x", "~"), ("y", "a"), ("no", "a")):
        assert index.image(Repository(repository), Tag(tag)) is None


def test_an_index_of_no_tags(shelf: Shelf, tmp_path: Path) -> None:
    index = shelf.build(tmp_path, {})
    assert (index.rows, found(index, ""), found(index, "a", sort="created")) == (0, [], [])


def test_hostile_contents_are_found_and_shown_safely(shelf: Shelf, tmp_path: Path) -> None:
    long = "ü" * 10_000
    labels = {"<script>alert(1)</script>": "\u202eevil", "long": long, "\x00": "\n"}
    digest = shelf.image(labels=labels, platform="li\nnux\u202e/<img src=x>")
    index = shelf.build(tmp_path, {"a": {"1": digest}})
    for text in ('label:"<script>alert(1)</script>=\u202eevil"', f"label:long={long}", 'label:"\x00=\n"'):
        assert found(index, text) == ["a:1"]
    assert found(index, "label:long=ü") == []
    shown = image_object(index.images([0])[0])
    assert shown.platforms == ["li\\nnux\\u202e/<img src=x>"]


def test_a_child_and_a_layer_lead_to_the_tags_above(shelf: Shelf, tmp_path: Path) -> None:
    child = shelf.image(["a", "b"])
    index = shelf.build(tmp_path, {"x": {"1": shelf.index([child]), "2": child, "3": shelf.image(["a"])}})
    on_child = holders(index, child, 10)
    assert (named(on_child.rows), on_child.more, on_child.is_layer) == (["x:2", "x:1"], 0, False)
    layer = holders(index, shelf.layer("a"), 2)
    assert (named(layer.rows), layer.more, layer.is_layer) == (["x:1", "x:2"], 1, True)
    nothing = holders(index, Digest.of(b"nothing"), 2)
    assert (nothing.rows, nothing.is_layer) == ([], False)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query()),
        ("Shop  1.4", Query(words=("shop", "1.4"))),
        ("shop shop", Query(words=("shop",))),
        ('"is:held"', Query(words=("is:held",))),
        ("web:1.0", Query(words=("web:1.0",))),
        ("is:HELD", Query(states=("held",))),
        ('label:"a b=\\"c\\""', Query(labels=(Label("a b", '"c"'),))),
        ("larger:1kB older:2w", Query(larger=(1000,), older=(timedelta(days=14),))),
        ("base:registry.example.com/a:1", Query(bases=(Reference(Repository("a"), Tag("1")),))),
    ],
)
def test_what_is_typed(text: str, query: Query) -> None:
    assert parse_query(text, RegistryAddress.parse(REGISTRY)) == query


@pytest.mark.parametrize(
    ("text", "sort", "is_descending", "command"),
    [
        ("", "repository", False, "ls --sort name"),
        ("label:a=b older:90d", "created", False, "ls --sort age --label=a=b --older-than 90d"),
        ("larger:1GB platform:arm64", "size", True, "ls --sort size --platform=arm64 --larger-than 1000000000"),
        ("base:a:1", "size", False, "ls --sort size --reverse --based-on=a:1"),
        ("platform:arm64 platform:linux", "size", True, None),
        ("shop", "repository", False, None),
        ("is:held", "repository", False, None),
        ("", "frees", True, None),
    ],
)
def test_the_command_that_lists_the_same(text: str, sort: str, is_descending: bool, command: str | None) -> None:
    words = command_of(parse_query(text), sort, is_descending=is_descending)
    assert (None if words is None else " ".join(words)) == command


def test_what_a_plan_removes_is_read_a_line_at_a_time(tmp_path: Path) -> None:
    digest = Digest.of(b"image")
    steps = (
        Step(1, Action.DELETE, Repository("a"), digest, (Tag("1"), Tag("2")), StepKind.IMAGE, "p: beyond last: 1"),
        Step(2, Action.DELETE, Repository("b"), digest, (), StepKind.IMAGE, "untagged"),
        Step(3, Action.UNTAG, Repository("c"), digest, (Tag("1"),), StepKind.IMAGE, "p: old"),
    )
    path = tmp_path / "plan.jsonl"
    save_plan(Plan(REGISTRY, NOW, "cleanup", steps, policy=PolicySource("/policy.yml")), path)
    planned = read_planned(path)
    assert (planned.registry, planned.policy) == (REGISTRY, Path("/policy.yml"))
    verdicts = verdicts_of(planned, None)
    assert verdicts.of(Repository("a"))(Tag("1"), digest) == (REMOVE, "p: beyond last: 1")
    assert verdicts.of(Repository("a"))(Tag("1"), Digest.of(b"moved")) == (KEEP, None)
    assert verdicts.of(Repository("a"))(Tag("3"), digest) == (KEEP, None)
    assert verdicts.of(Repository("b"))(Tag("1"), digest) == (0, None)
    assert verdicts.of(Repository("c"))(Tag("1"), digest) == (REMOVE, "p: old")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(PlanRefusedError):
        read_planned(path)


def test_what_somebody_made_up_in_masses_is_refused_or_summed(shelf: Shelf, tmp_path: Path) -> None:
    children = [shelf.image([f"{number}"], platform=f"linux/made{number}") for number in range(201)]
    index = shelf.build(tmp_path, {"a": {"1": shelf.index(children), "2": children[7]}})
    for text in ("platform:linux", "base:a:1"):
        with pytest.raises(UsageError, match="means 201 things") as refused:
            found(index, text)
        assert refused.value.advice
    assert found(index, "platform:linux/made7") == found(index, "base:a:2") == ["a:1", "a:2"]
    shown = image_object(index.images([0])[0]).platforms
    assert (len(shown), shown[0], shown[-1]) == (21, "linux/made0", "… and 181 more")
