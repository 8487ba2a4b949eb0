"""A name of this registry, anywhere in any list, is found or counted, and never silently ignored."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from test_in_use_golden import INVENTORY, protected, resolve

from dregutil.errors import RefusedError
from dregutil.oci.names import Digest
from dregutil.retention.in_use import ListReport

HOSTS = (
    "registry.example.com",
    "registry.example.com:443",
    "registry.example.com.",
    "Registry.Example.COM",
    "docker://registry.example.com",
    "oci://registry.example.com",
    "docker-pullable://registry.example.com",
    "https://registry.example.com:443",
    "mirror.example.org/registry.example.com",
)
VERSIONS = (":2.0", f"@{Digest.of(b'shop/web:2.0')}", f":2.0@{Digest.of(b'shop/web:2.0')}")
BEFORE = ("", " ", '"', "'", "=", ",", "(", "--image=", "\n", "\\n", "\t", "WEB=", "name: ", "é ", "https://", "<", "|")
AFTER = ("", " ", '"', "'", ",", ")", "\n", ";", "?x=1", "#", "|", "\\n", "\\", "…", "$", "*", ".", ", ", ":ro", "=x")
PRINTED = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"])
KEYS = ("image", "Image", "imageID", "name", "value", "newName", "args", "env", "images", "a.b/c", "tag", "repository")


def spelled() -> st.SearchStrategy[str]:
    return st.builds(
        lambda host, version: f"{host}/shop/web{version}", st.sampled_from(HOSTS), st.sampled_from(VERSIONS)
    )


def surrounded() -> st.SearchStrategy[str]:
    """The image within some other text."""
    return st.builds(
        lambda first, before, image, after, last: f"{first}{before}{image}{after}{last}",
        st.just("")
        | st.text(PRINTED, max_size=8).filter(lambda text: not text[-1:].isalnum() and text[-1:] not in "_.-"),
        st.sampled_from(BEFORE),
        spelled(),
        st.sampled_from(AFTER),
        st.text(PRINTED, max_size=8).map(lambda text: f" {text}" if text else ""),
    )


def packed(text: str, ways: list[str]) -> str:
    """A string that holds JSON or YAML that holds a string …"""
    for way in ways:
        document = {"spec": {"containers": [{"name": "c", "image": "x", "args": [text]}]}}
        text = json.dumps(document) if way == "json" else yaml.safe_dump(document, allow_unicode=True)
    return text


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """The image, or a text around it, somewhere in an arbitrary tree."""
    node: Any = draw(spelled() | surrounded())
    node = packed(node, draw(st.lists(st.sampled_from(["json", "yaml"]), max_size=2)))
    other: st.SearchStrategy[Any] = (
        st.none() | st.booleans() | st.integers() | st.text(PRINTED, max_size=6) | st.just([]) | st.just({})
    )
    keys = st.sampled_from(KEYS) | st.text(PRINTED, max_size=5)
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            before, after = draw(st.lists(other, max_size=3)), draw(st.lists(other, max_size=3))
            node = [*before, node, *after]
        else:
            node = {**draw(st.dictionaries(keys, other, max_size=3)), draw(keys): node}
        if draw(st.integers(0, 9)) == 0 and isinstance(node, str):
            node = {node: draw(other)}
    return node


def is_counted(report: ListReport) -> bool:
    return any("shop/web" in text for text in (*report.absent, *report.doubtful))


def check(text: str) -> None:
    """Raise AssertionError if the image was ignored."""
    try:
        in_use, report = resolve(text)
    except RefusedError as error:
        event("refused")
        if any(why in error.message for why in ("contains a variable", "most of what", "names nothing")):
            return
        raise
    event("found" if "shop/web:2.0" in protected(in_use) else "counted")
    assert "shop/web:2.0" in protected(in_use) or is_counted(report)


ANCHORS = [{"image": f"registry.example.com/shop/api:{tag}"} for tag in ("1.0", "1.1", "2.0")]


@pytest.mark.property
@given(documents())
def test_in_json(document: Any) -> None:
    check(json.dumps([*ANCHORS, document]))
    check(json.dumps({"kind": "List", "items": [*ANCHORS, document]}, ensure_ascii=False))


@pytest.mark.property
@given(documents())
def test_in_yaml(document: Any) -> None:
    check(yaml.safe_dump({"kind": "List", "items": [*ANCHORS, document]}, allow_unicode=False))
    check(yaml.safe_dump({"kind": "List", "items": [*ANCHORS, document]}, default_flow_style=True, width=40))


@pytest.mark.property
@given(surrounded().map(lambda text: " ".join(text.replace("#", "").split())), st.sampled_from(["WEB", "x.y", "image"]))
def test_in_assignments(text: str, key: str) -> None:
    check(f"API=registry.example.com/shop/api:1.0\n{key}={text}\n")
    check(f'api = "registry.example.com/shop/api:1.0"\n{key} = "{text}"\n')


@pytest.mark.property
@given(
    st.lists(st.text(st.sampled_from("abc \t-1é…"), max_size=12), max_size=4),
    spelled(),
    st.lists(st.text(st.sampled_from("abc-1é…"), min_size=1, max_size=12), max_size=4),
    st.sampled_from(["IMAGE", "IMAGES", "REPOSITORY", "DATA", "CONTAINERS"]),
)
def test_in_columns(before: list[str], image: str, after: list[str], column: str) -> None:
    names = [*(f"A{place}" for place in range(len(before))), column, *(f"B{place}" for place in range(len(after)))]
    rows = [
        [*("x" for _ in before), "registry.example.com/shop/api:1.0", *("y" for _ in after)],
        [*before, image, *after],
    ]
    widths = [max(len(row[place]) for row in [names, *rows]) + 2 for place in range(len(names))]
    check(
        "\n".join("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [names, *rows])
    )
    check("\n".join("  ".join(row) for row in [names, *rows]))


def test_other_tags_of_the_repository_are_not_protected() -> None:
    in_use, _ = resolve('["registry.example.com/shop/web:2.0"]')
    assert protected(in_use) == {"shop/web:2.0"}
    assert len(INVENTORY.repositories) == 4
