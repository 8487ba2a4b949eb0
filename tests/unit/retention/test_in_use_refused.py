"""Lists that are incomplete, of another registry, or outdated refuse the run; entries that are not found are shown."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from test_in_use_golden import ADDRESS, INVENTORY, lookup, protected, resolve

from dregutil.errors import RefusedError
from dregutil.report.cleanup import list_lines
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, ListReport, find_in_use, images_in, refuse_caches_alone
from dregutil.retention.policy import InUseList, ParsedProtect

WEB = "registry.example.com/shop/web"
ITEM = f"- image: {WEB}:1.0\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"apiVersion: v1\nitems:\n{ITEM}kind: List\napiVersion: v1\nitems:\n{ITEM}kind: List\n", "'apiVersion' twice"),
        (f'{{"items": [], "items": [{{"image": "{WEB}:1.0"}}]}}', "'items' twice"),
        (f"apiVersion: v1\nitems:\n{ITEM}", "truncated: nothing follows its `items`"),
        (f'{{"items": [{{"image": "{WEB}:1.0"}}], "metadata": {{"continue": "eyJ2Ij"}}}}', "one page of several"),
        (f'{{"tasks": [{{"image": "{WEB}:1.0"}}], "nextToken": "eyJ2Ij"}}', "one page of several"),
        (f"{WEB}:1.0\nError from server (Forbidden): pods is forbidden\n", "'Error' is not an image"),
        ("NAME   READY\nweb-0  1/1\n", "names no image"),
        (f"IMAGE=${{REGISTRY}}/shop/web:1.0\nOTHER={WEB}:1.0\n", "contains a variable"),
        ("kind: X\na: *nothing\n", "is not YAML"),
        (f"{WEB}:1.0\0\n", "is not text"),
        ("kind: X\n" + "\n".join(f"{' ' * depth}a:" for depth in range(300)), "nested too deep"),
    ],
)
def test_an_incomplete_list(text: str, why: str) -> None:
    with pytest.raises(RefusedError) as failed:
        resolve(text)
    assert why in failed.value.message


def test_duplicate_merge_keys_in_yaml_hide_nothing() -> None:
    text = f"services:\n  a: &a {{image: '{WEB}:1.0'}}\n  b: &b {{x: y}}\n  c:\n    <<: *a\n    <<: *b\n"
    assert protected(resolve(text)[0]) == {"shop/web:1.0"}


def test_a_merged_repository_is_paired_with_the_tag_next_to_it() -> None:
    text = f"x: &base {{repository: {WEB}}}\nspec:\n- {{<<: *base, tag: '1.0'}}\n- {{<<: *base, tag: 1.10}}\n"
    assert {"shop/web:1.0", "shop/web:1.10"} <= protected(resolve(text)[0])


def test_a_byte_order_mark_is_not_part_of_a_name() -> None:
    assert protected(resolve(f"\ufeff{WEB}:1.0\n")[0]) == {"shop/web:1.0"}


def test_a_list_with_mostly_missing_entries_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"most of what the list list names of registry\.example\.com is not there"):
        resolve(f"{WEB}:1.0\n{WEB}:0.1\n{WEB}:0.2\n")
    assert resolve(f"{WEB}:1.0\n{WEB}:1.1\n{WEB}:0.1\n{WEB}:0.2\n")


def test_most_of_a_list_may_be_of_other_registries() -> None:
    foreign = "\n".join(f"quay.io/x/y:{number}" for number in range(50))
    in_use, report = resolve(f"{foreign}\n{WEB}:1.0\n")
    assert (protected(in_use), report.matched, report.images) == ({"shop/web:1.0"}, 1, 51)


def test_an_untagged_digest_belongs_to_this_registry() -> None:
    digest = "sha256:" + "a" * 64
    _, report = resolve(f"{WEB}@{digest}\n")
    assert (report.matched, report.untagged, report.absent) == (0, 1, ())


@pytest.mark.parametrize(
    "image",
    ["registry.example.com.org/shop/web:1.0", "my-registry.example.com/shop/web:1.0", f"{ADDRESS.host}:5000/a:1"],
)
def test_a_longer_name_or_another_port_is_another_registry(image: str) -> None:
    with pytest.raises(RefusedError, match="names nothing"):
        resolve(image)


def test_an_unknown_tag_protects_the_whole_repository() -> None:
    text = json.dumps([{"args": [f"--image={WEB}:$(VERSION)"]}, {"image": f"{WEB}:1.0"}])
    in_use, report = resolve(text)
    assert protected(in_use) == {f"shop/web:{tag}" for tag in INVENTORY.tags(INVENTORY.repositories[-1])}
    assert report.doubtful == (f"{WEB}:$",)


def test_images_on_nodes_are_never_sufficient() -> None:
    nodes = json.dumps({"kind": "List", "items": [{"status": {"images": [{"names": [f"{WEB}:1.0"], "sizeBytes": 1}]}}]})
    in_use, cached = resolve(nodes)
    _, running = resolve(f"{WEB}:1.1\n")
    assert protected(in_use) == {"shop/web:1.0"}
    with pytest.raises(RefusedError, match="caches of nodes"):
        refuse_caches_alone([cached])
    refuse_caches_alone([cached, running])
    refuse_caches_alone([])


def test_a_list_of_ids_is_not_refused_if_not_everything_was_read() -> None:
    file = ListFile(InUseList("list"), "0123456789ab\n", timedelta(0))
    images = [(file, images_in(file, registry_hosts(ADDRESS, ())))]
    assert find_in_use(ParsedProtect(), images, INVENTORY, ADDRESS, lookup, is_whole=False)
    with pytest.raises(RefusedError, match="names nothing"):
        find_in_use(ParsedProtect(), images, INVENTORY, ADDRESS, lookup)


def test_entries_that_are_not_found_are_shown() -> None:
    absent = tuple(f"shop/web:0.{number}" for number in range(7))
    report = ListReport("pods.json", timedelta(minutes=5), 20, 9, absent, (f"{WEB}:$",), 2)
    assert list(list_lines([report])) == [
        "in use: pods.json, 5m old: 9 of its 20 images are here, 2 more by a digest that no tag has",
        f"  of this registry, but not there: 7: {', '.join(absent[:5])} and 2 more: --details",
        f"  not understood: 1: {WEB}:$",
    ]
    assert f"7: {', '.join(absent)}" in list(list_lines([report], details=True))[1]


_HOSTILE = {
    "mentions": "registry.example.com " * 50_000,
    "names": " ".join(f"registry.example.com/a{number}" for number in range(5_000)),
    "packages": "pkg:oci/registry.example.com/a " * 20_000,
    "percent signs": "%25" * 200_000,
    "brackets": "[" * 100_000,
    "slashes": "a/" * 200_000,
    "signs": "a:b@" * 100_000,
}


@pytest.mark.parametrize("hostile", _HOSTILE.values(), ids=_HOSTILE)
def test_the_cost_of_a_text_grows_with_its_length_only(hostile: str) -> None:
    assert "shop/web:1.0" in protected(resolve(json.dumps([{"image": f"{WEB}:1.0", "x": hostile}]))[0])


def test_aliases_and_merges_do_not_explode() -> None:
    lines = ["kind: X", f"l0: &l0 [{{image: '{WEB}:1.0'}}]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 100)]
    assert protected(resolve("\n".join(lines))[0]) == {"shop/web:1.0"}
    keys = ", ".join(f"k{number}: v" for number in range(1_100))
    lines = ["kind: X", f"base: &base {{{keys}}}", *(f"m{number}: {{<<: *base}}" for number in range(1_000))]
    with pytest.raises(RefusedError, match="too large by its merge keys"):
        resolve("\n".join(lines))
