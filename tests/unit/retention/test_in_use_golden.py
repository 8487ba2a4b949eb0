"""Lists as printed by common tools: for each file in tests/in_use/, exactly what it protects."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, ListReport, find_in_use, images_in
from dregutil.retention.policy import InUseList, ParsedProtect
from dregutil.retention.verdict import InUse, TagFacts

FOLDER = Path(__file__).parents[2] / "in_use"
EXPECTED: dict[str, Any] = yaml.safe_load((FOLDER / "expected.yml").read_text(encoding="utf-8"))
ADDRESS = RegistryAddress.parse("registry.example.com")
TAGS = {
    "shop/web": ("0.5", "1.0", "1.1", "1.10", "2.0", "latest"),
    "shop/api": ("1.0", "1.1", "2.0", "latest"),
    "shop/cart": ("1.0", "latest"),
    "charts/web": ("3.0.0", "3.1.0", "latest"),
}
INVENTORY = Inventory(
    {Repository(name): {Tag(tag): Digest.of(f"{name}:{tag}".encode()) for tag in tags} for name, tags in TAGS.items()}
)
ABOVE = {
    sha256(f"{what} of {name}:{tag}".encode()).hexdigest(): Digest.of(f"{name}:{tag}".encode())
    for what in ("config", "child")
    for name, tags in TAGS.items()
    for tag in tags
}


def lookup(value: str) -> Collection[Digest]:
    return [image for found, image in ABOVE.items() if found.startswith(value)]


def resolve(text: str, name: str = "list") -> tuple[InUse, ListReport]:
    file = ListFile(InUseList(name), text, timedelta(0))
    images = images_in(file, registry_hosts(ADDRESS, ()))
    in_use, (report,) = find_in_use(ParsedProtect(), [(file, images)], INVENTORY, ADDRESS, lookup)
    return in_use, report


def protected(in_use: InUse) -> set[str]:
    return {
        f"{name}:{tag}"
        for name, tags in INVENTORY.as_mapping().items()
        for tag, digest in tags.items()
        if in_use.list_of(name, TagFacts(tag, digest))
    }


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_list_protects_exactly_what_it_names(name: str) -> None:
    in_use, report = resolve((FOLDER / name).read_text(encoding="utf-8"), name)
    expected = EXPECTED[name]
    assert protected(in_use) == set(expected["here"])
    assert set(report.absent) == set(expected.get("absent", ()))
    assert set(report.doubtful) == set(expected.get("doubtful", ()))


def test_every_list_has_an_expected_result() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {"expected.yml", *EXPECTED}
