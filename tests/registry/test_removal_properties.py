"""Random registries, random selections, a real registry: what stays resolves completely, and what was selected is
gone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.apply.apply import apply_plan
from dregutil.inventory.crawl import crawl
from dregutil.oci.names import Repository, parse_signature_tag
from dregutil.plan.model import Action, RemovalOptions
from dregutil.plan.outcome import NoRecorder, Result
from dregutil.registry import connect_writable
from dregutil.select.selection import MatchRules, select_tags
from dregutil.select.selector import TagSelector
from images import Pusher
from remembering import plan_removal
from servers import DistributionServer

pytestmark = pytest.mark.property

NAMES = ("a", "b")
TAGS = ("1.0", "1.1", "1.2", "2.0", "latest", "stable")
_number = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DistributionServer]:
    with DistributionServer(Path(tmp_path_factory.mktemp("registry"))) as found:
        yield found


@st.composite
def contents(draw: st.DrawFn) -> list[tuple[str, list[str], Any]]:
    """Manifests to push, in order: (kind, tags, parts)."""
    made: list[tuple[str, list[str], Any]] = []
    for number in range(draw(st.integers(2, 7))):
        kind = draw(st.sampled_from(["image", "image", "index", "signature", "referrer"]))
        tags = draw(st.lists(st.sampled_from(TAGS), max_size=2, unique=True))
        earlier = [place for place, entry in enumerate(made) if entry[0] in ("image", "index")]
        if kind == "image" or not earlier:
            made.append(("image", tags, f"image {draw(st.integers(0, 4))}"))
        elif kind == "index":
            made.append((kind, tags, draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=3, unique=True))))
        else:
            made.append((kind, tags if kind == "referrer" else [], (draw(st.sampled_from(earlier)), number)))
    return made


def push(pusher: Pusher, repository: str, made: list[tuple[str, list[str], Any]]) -> None:
    found: list[dict[str, Any]] = []
    for kind, tags, what in made:
        if kind == "image":
            found.append(pusher.push_image(repository, *tags, seed=what))
        elif kind == "index":
            found.append(pusher.push_index(repository, *tags, children=[found[place] for place in what]))
        elif kind == "signature":
            subject = found[what[0]]
            name = f"sha256-{subject['digest'][7:]}.sig"
            found.append(pusher.push_image(repository, name, seed=f"signature {what[1]}"))
        else:
            subject = found[what[0]]
            found.append(pusher.push_image(repository, *tags, seed=f"referrer {what[1]}", subject=subject))


@given(
    made=st.fixed_dictionaries({name: contents() for name in NAMES}),
    chosen=st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
    tags=st.lists(st.sampled_from(TAGS), min_size=1, max_size=4, unique=True),
    rules=st.builds(MatchRules, match_all_tags=st.booleans(), ignore_other_repositories=st.booleans()),
    options=st.builds(RemovalOptions, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
async def test_what_stays_is_whole_and_what_is_removed_is_gone(
    server: DistributionServer,
    made: dict[str, list[tuple[str, list[str], Any]]],
    chosen: list[str],
    tags: list[str],
    rules: MatchRules,
    options: RemovalOptions,
) -> None:
    run = f"x{next(_number)}"
    pusher = Pusher(server.url)
    for name in NAMES:
        push(pusher, f"{run}/{name}", made[name])
    repositories = [Repository(f"{run}/{name}") for name in NAMES]
    before = {name: pusher.tags(name) for name in repositories}
    async with connect_writable(server.url) as registry:
        found = (await crawl(registry, repositories)).inventory
        selection = select_tags(found, [Repository(f"{run}/{name}") for name in chosen], TagSelector.build(tags), rules)
        plan = await plan_removal(registry, selection, found, options)
        result = await apply_plan(registry, plan, recorder=NoRecorder())
    assert {outcome.result for outcome in result.outcomes} <= {Result.REMOVED}
    after = {name: pusher.tags(name) for name in repositories}
    asked = {(entry.repository, tag) for entry in selection.selected for tag in (*entry.tags, *entry.other_tags)}
    asked |= {(entry.repository, tag) for entry in selection.held for tag in entry.tags if options.untag}
    for name in repositories:
        for tag, digest in before[name].items():
            gone = tag not in after[name]
            if gone:
                signature = parse_signature_tag(tag)
                with_its_subject = signature is not None and not pusher.has(name, f"sha256:{signature.hex}")
                assert (name, tag) in asked or with_its_subject, tag
            else:
                assert after[name][tag] == digest
                assert pusher.is_whole(name, tag), tag
    for step in plan.steps:
        assert not any(tag in after[step.repository] for tag in step.tags)
        assert pusher.has(step.repository, step.digest) == (step.action is Action.UNTAG)
    pusher.close()
