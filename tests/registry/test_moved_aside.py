"""A crawl while tags are on a placeholder does not change when they appeared."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_placeholder import killed_in_the_sweep, program, removing  # noqa: F401 - fixtures

from dregutil.inventory.tag_history import Sighting, TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.placeholder_tags import resolve_placeholders
from dregutil.oci.manifest import OCI_MANIFEST, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent
from images import Pusher
from program import Program
from removing import Removing
from servers import DistributionServer
from upgraded import POLICY

R = Repository("r")
PLACEHOLDER = Digest.of(b"placeholder")


def intent(tag: str, raw: bytes = b"{}", placeholder: Digest | None = PLACEHOLDER) -> Intent:
    return Intent(1, R, (Tag(tag),), parse_manifest(raw, OCI_MANIFEST, Digest.of(raw)), placeholder)


def known(program: Program, tags: dict[str, str]) -> dict[Tag, Sighting]:  # noqa: F811
    store = TagHistory(program.state, program.url.partition("//")[2])
    assert not store.missing(R)
    assert not store.untagged(R)
    return dict(store.of(R, {Tag(tag): Digest(digest) for tag, digest in tags.items()}))


async def test_tags_that_were_on_a_placeholder_keep_their_place(
    program: Program,  # noqa: F811
    removing: Removing,  # noqa: F811
    registry_server: DistributionServer,
    pusher: Pusher,
    tmp_path: Path,
) -> None:
    (tmp_path / "policy.yml").write_text(POLICY)
    for place in range(4):
        pusher.push_image("r", f"b{place}", seed=str(place))
    crawl = ("cleanup", "-f", "policy.yml", "--dry-run")
    assert program.run(*crawl).returncode == 0
    first = known(program, pusher.tags("r"))
    assert len(first) == 4
    before = await killed_in_the_sweep(removing, pusher)  # `keep` is new
    found = program.run(*crawl)
    assert "left by the interrupted run" in found.stderr, found.stderr
    during = known(program, before)
    assert {tag: during[tag] for tag in first} == first
    assert program.run("undo", "-y").returncode == 0
    assert pusher.tags("r") == before
    assert program.run(*crawl).returncode == 0
    assert known(program, before) == during


def test_the_record_decides_the_digest_of_a_moved_tag() -> None:
    tags = {Tag("1"): PLACEHOLDER, Tag("2"): PLACEHOLDER, Tag("3"): Digest.of(b"{}"), Tag("copy"): PLACEHOLDER}
    found = resolve_placeholders(
        Inventory({R: tags, Repository("other"): tags}), [intent("1"), intent("2", b'{"a":1}')]
    )
    assert found.tags(R) == {
        Tag("1"): Digest.of(b"{}"),
        Tag("2"): Digest.of(b'{"a":1}'),
        Tag("3"): Digest.of(b"{}"),
    }, "a copy may be of either"
    assert found.tags(Repository("other")) == tags, "a placeholder is one of its repository"


def test_a_copy_with_one_possible_image_gets_that_image() -> None:
    found = resolve_placeholders(Inventory({R: {Tag("copy"): PLACEHOLDER}}), [intent("1")])
    assert found.tags(R) == {Tag("copy"): Digest.of(b"{}")}


@pytest.mark.parametrize("moved", [[], [intent("1", placeholder=None)]])
def test_without_placeholders_nothing_changes(moved: list[Intent]) -> None:
    inventory = Inventory({R: {Tag("1"): PLACEHOLDER}})
    assert resolve_placeholders(inventory, moved) is inventory
