"""The figure of a plan is what a collector marks before it and not after it, for any repositories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_plan import REPOSITORY, graph, image, index, plan

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Kind, Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Plan, RemovalOptions, Step, StepKind
from dregutil.plan.reclaim import Evidence, freed_digests, possible_collectors, with_reclaim, with_stored_reclaim
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import (
    GarbageCollector,
    Generation,
    MarkedRepository,
    mark,
    marked_repositories,
)
from dregutil.storage.stored import Oddity, StoredManifest, StoredRegistry, StoredRepository

V2, V2_UNTAGGED, V3, V3_UNTAGGED = (
    GarbageCollector(generation, collector) for generation in Generation for collector in Collector
)
A, B, C = map(Repository, "abc")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number:064x}")


def size(found: Digest) -> int:
    """A size such that all sums differ."""
    return int(3 ** (int(found.hex, 16) % 32))


def stored(*repositories: MarkedRepository, oddities: tuple[Oddity, ...] = ()) -> StoredRegistry:
    """A storage with these repositories, and everything that they refer to."""
    named = {found: references for one in repositories for found, references in one.references.items()}
    blobs = {found for references in named.values() for found in references} | set(named)
    return StoredRegistry(
        "/storage",
        {one.repository: StoredRepository(one.repository, frozenset(one.references), one.tags) for one in repositories},
        {blob: size(blob) for blob in blobs},
        {
            found: StoredManifest(
                found,
                Kind.INDEX if any(other in named for other in references) else Kind.IMAGE,
                OCI_INDEX if any(other in named for other in references) else OCI_MANIFEST,
                references,
            )
            for found, references in named.items()
        },
        oddities,
    )


def removing(*steps: tuple[Repository, Digest | Tag], held: Sequence[MarkedRepository] = ()) -> Plan:
    """A plan that deletes digests and removes single tags."""
    tags = {one.repository: one.tags for one in held}
    made = []
    for number, (repository, what) in enumerate(steps, 1):
        names = tags.get(repository, {})
        if isinstance(what, Tag):
            step = Step(number, Action.UNTAG, repository, names[what], (what,), StepKind.IMAGE, "")
        else:
            on = tuple(tag for tag, found in names.items() if found == what)
            step = Step(number, Action.DELETE, repository, what, on, StepKind.IMAGE, "")
        made.append(step)
    return Plan("r", NOW, "", tuple(made), options=RemovalOptions())


def freed(made: Plan, registry: StoredRegistry, *collectors: GarbageCollector) -> tuple[list[int], int, bool, str]:
    found = with_stored_reclaim(made, registry, collectors, graphs={})
    reclaim = found.reclaim
    return [step.frees for step in found.steps], reclaim.reclaimable_bytes, reclaim.exact, reclaim.because


@st.composite
def registries(draw: st.DrawFn) -> list[MarkedRepository]:
    """Up to three repositories of eight manifests, which refer to those of smaller numbers and to blobs."""
    kinds = {
        number: tuple(
            map(digest, draw(st.lists(st.integers(0, number - 1) | st.integers(20, 23), max_size=3, unique=True)))
        )
        for number in range(8)
        if number
    } | {0: (digest(20),)}
    found = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        numbers = draw(st.lists(st.integers(0, 7), min_size=1, max_size=6, unique=True))
        tags = draw(st.dictionaries(st.sampled_from("xyz"), st.sampled_from(numbers), max_size=3))
        found.append(
            MarkedRepository(
                Repository(name),
                {digest(number): kinds[number] for number in sorted(numbers)},
                {Tag(tag): digest(number) for tag, number in tags.items()},
            )
        )
    return found


@pytest.mark.property
@given(registries(), st.data(), st.sampled_from([V2, V2_UNTAGGED, V3, V3_UNTAGGED]))
def test_steps_add_up_to_what_the_collector_frees(
    held: list[MarkedRepository], data: st.DataObject, collector: GarbageCollector
) -> None:
    places = [(one.repository, found) for one in held for found in one.references]
    places += [(one.repository, tag) for one in held for tag in one.tags]  # type: ignore[misc]
    chosen = data.draw(st.lists(st.sampled_from(places), max_size=6, unique=True))
    registry = stored(*held)
    made = removing(*chosen, held=held)
    before = mark(marked_repositories(registry, collector), collector)
    steps, total, _, _ = freed(made, registry, collector)
    now = {one.repository: one for one in marked_repositories(registry, collector)}
    for step, said in zip(made.steps, steps, strict=True):
        one = now[step.repository]
        gone = set(step.tags)
        if step.action is Action.DELETE:
            gone |= {tag for tag, found in one.tags.items() if found == step.digest}
            one = replace(one, references={key: value for key, value in one.references.items() if key != step.digest})
        now[step.repository] = replace(one, tags={tag: found for tag, found in one.tags.items() if tag not in gone})
        after = mark(now.values(), collector)
        assert said == sum(map(size, before - after)) - sum(map(size, after - before))
        before = after
    assert total == sum(steps)


HELD = MarkedRepository(
    A,
    {digest(1): (digest(10), digest(11)), digest(2): (digest(10), digest(12)), digest(3): (digest(1), digest(2))},
    {Tag("1"): digest(1), Tag("all"): digest(3), Tag("also"): digest(3)},
)


def test_what_another_manifest_or_repository_uses_is_not_freed() -> None:
    beside = MarkedRepository(B, {digest(4): (digest(12),)}, {Tag("x"): digest(4)})
    made = removing((A, digest(3)), (A, digest(1)), (A, digest(2)), held=[HELD])
    steps, total, exact, because = freed(made, stored(HELD, beside), V2)
    # The index marks both; when all are gone, `b` still has the layer 12.
    assert steps == [size(digest(3)), size(digest(1)) + size(digest(11)), size(digest(2)) + size(digest(10))]
    assert (total, exact, because) == (sum(steps), True, "")


def test_untagging_frees_space_only_with_m() -> None:
    one = MarkedRepository(A, {digest(1): (digest(10),)}, {Tag("x"): digest(1), Tag("y"): digest(1)})
    made = removing((A, Tag("x")), (A, Tag("y")), held=[one])
    assert freed(made, stored(one), V2)[0] == [0, 0]
    assert freed(made, stored(one), V2_UNTAGGED)[0] == [0, size(digest(1)) + size(digest(10))]


def test_the_larger_figure_of_two_collectors_is_shown_as_an_upper_bound() -> None:
    made = removing((A, digest(3)), held=[HELD])
    v2, v3 = freed(made, stored(HELD), V2_UNTAGGED)[1], freed(made, stored(HELD), V3_UNTAGGED)[1]
    assert v2 != v3
    for collectors in ((V2_UNTAGGED, V3_UNTAGGED), (V3_UNTAGGED, V2_UNTAGGED)):
        _, total, exact, because = freed(made, stored(HELD), *collectors)
        assert total == max(v2, v3)
        assert not exact
        assert because.startswith("it is not known which collector this registry has")
        assert f"{v2:,} bytes on 2.8" in because
        assert f"{v3:,} bytes on 3" in because
    assert freed(removing((A, digest(1)), held=[HELD]), stored(HELD), V2, V3)[2]


def test_a_collector_that_will_stop_causes_a_warning_and_an_upper_bound() -> None:
    odd = StoredManifest(digest(9), Kind.UNKNOWN, "application/odd", ())
    registry = stored(HELD, MarkedRepository(B, {digest(9): ()}, {}))
    registry = replace(registry, manifests={**registry.manifests, digest(9): odd})
    found = with_stored_reclaim(removing((A, digest(3)), held=[HELD]), registry, [V2], graphs={})
    assert not found.reclaim.exact
    assert found.reclaim.because == "the collector will stop before it frees anything"
    assert found.reclaim.warnings == (
        f"the collector of 2.8 will stop with an error at {digest(9).short} in b, whose type it does not know, "
        "and nothing comes back until that is fixed",
    )
    assert with_stored_reclaim(removing(), registry, [V2], graphs={}).reclaim.warnings == ()
    mended = with_stored_reclaim(removing((B, digest(9)), held=[HELD]), registry, [V2], graphs={})
    assert mended.reclaim.warnings  # it stops as things are


def test_a_collector_that_stops_after_the_plan_is_applied() -> None:
    one = MarkedRepository(A, {digest(1): (), digest(2): ()}, {Tag("x"): digest(1)})
    registry = replace(stored(one), keeps_empty_folders=False)
    for step in (digest(1), Tag("x")):
        found = with_stored_reclaim(removing((A, step), held=[one]), registry, [V2_UNTAGGED], graphs={})
        assert found.reclaim.warnings
        assert "no folder of tags" in found.reclaim.warnings[0]
    other = with_stored_reclaim(removing((A, digest(2)), held=[one]), registry, [V2_UNTAGGED], graphs={})
    assert other.reclaim.warnings == ()


def test_a_manifest_missing_from_the_storage_gives_an_upper_bound() -> None:
    made = removing((B, digest(1)))
    bound = replace(made, reclaim=replace(made.reclaim, reclaimable_bytes=77, exact=True))
    for registry, why in (
        (stored(HELD), f"/storage does not hold {digest(1).short} of b; is it this registry's storage?"),
        (replace(stored(HELD), manifests={}), f"/storage does not hold {digest(1).short} of b"),
    ):
        reclaim = with_stored_reclaim(bound, registry, [V2], graphs={}).reclaim
        assert (reclaim.reclaimable_bytes, reclaim.exact) == (77, False)
        assert reclaim.because.startswith(why)
    kept = removing((A, digest(1)), held=[HELD])
    lost = replace(stored(HELD), manifests={})
    assert "does not hold" in with_stored_reclaim(kept, lost, [V2], graphs={}).reclaim.because


def test_a_storage_that_could_not_be_read_completely_gives_an_upper_bound() -> None:
    made = removing((A, digest(1)), held=[HELD])
    one, two = Oddity("x/y", "it is torn"), Oddity("z", "too")
    for oddities, why in (((one,), "x/y: it is torn"), ((one, two), "x/y: it is torn, and 1 more")):
        reclaim = with_stored_reclaim(made, stored(HELD, oddities=oddities), [V2], graphs={}).reclaim
        assert reclaim.because == f"not all of the storage could be read: {why}"
        assert not reclaim.exact
    seen = replace(one, hides=False)
    assert with_stored_reclaim(made, stored(HELD, oddities=(seen,)), [V2], graphs={}).reclaim.exact


def test_a_storage_that_differs_from_what_was_read_live() -> None:
    registry = stored(HELD)
    made = removing((A, digest(1)), held=[HELD])

    def because(found: RepositoryGraph, changed: str = "") -> str:
        return with_stored_reclaim(made, registry, [V2], graphs={A: found}, changed=changed).reclaim.because

    same = RepositoryGraph(A, dict(HELD.tags))
    assert because(same) == ""
    assert because(replace_tags(same, {**HELD.tags, Tag("new"): digest(1)})).startswith(
        "/storage differs from the registry in a:new"
    )
    assert "in a:also;" in because(replace_tags(same, {Tag("1"): digest(1), Tag("all"): digest(3)}))
    assert "in a:1;" in because(replace_tags(same, {**HELD.tags, Tag("1"): digest(2)}))
    assert because(replace_tags(same, {Tag("new"): digest(1)}, unjudgeable="broken")) == ""
    assert f"in a@{digest(2).short};" in because(RepositoryGraph(A, dict(HELD.tags), absent=frozenset({digest(2)})))
    assert because(RepositoryGraph(A, dict(HELD.tags), absent=frozenset({digest(9)}))) == ""
    assert "in b:moved;" in because(same, "b:moved")


def replace_tags(found: RepositoryGraph, tags: dict[Tag, Digest], unjudgeable: str = "") -> RepositoryGraph:
    return RepositoryGraph(found.repository, tags, unjudgeable=unjudgeable)


def test_a_collector_that_destroys_indexes_causes_a_warning_with_the_tags_that_stay() -> None:
    def warned(*steps: tuple[Repository, Digest | Tag], collectors: Sequence[GarbageCollector]) -> tuple[str, ...]:
        made = removing(*steps, held=[HELD])
        return with_stored_reclaim(made, stored(HELD), collectors, graphs={}).reclaim.warnings

    (said,) = warned((A, digest(1)), collectors=[V2_UNTAGGED])
    assert said.startswith("this registry's collector with -m DESTROYS")
    assert "here a:all and 1 more; run it without -m" in said
    (unsure,) = warned((A, digest(1)), collectors=[V2_UNTAGGED, V3_UNTAGGED])
    assert unsure.startswith("if this registry is of the 2.8 series, its collector with -m DESTROYS")
    assert "here a:all;" in warned((A, Tag("also")), collectors=[V2_UNTAGGED])[0]
    assert warned((A, digest(3)), collectors=[V2_UNTAGGED]) == ()
    assert warned((A, digest(1)), collectors=[V2]) == ()
    assert warned((A, digest(1)), collectors=[V3_UNTAGGED]) == ()
    assert warned(collectors=[V2_UNTAGGED]) == ()


# -- from the API alone ---------------------------------------------------------------------------------------------


def shared_layers() -> tuple[RepositoryGraph, Manifest, Manifest]:
    one, two = image("one"), image("two")
    return graph({"1": index(one, two), "2": two}, one), one, two


def test_from_the_api_a_plan_frees_at_most_what_only_it_reaches() -> None:
    found, one, two = shared_layers()
    top = next(iter(found.manifests.values()))
    made = plan(found, "1")
    said = with_reclaim(made, {REPOSITORY: found}, [V2])
    assert one.config is not None
    expected = {top.digest: len(top.raw), one.digest: len(one.raw) + 2}
    assert {step.digest: step.frees for step in said.steps} == expected
    assert said.reclaim.reclaimable_bytes == sum(expected.values())
    assert not said.reclaim.exact
    assert said.reclaim.because == (
        "less where unlisted manifests or other repositories share it; by the sizes that manifests state; "
        "--storage PATH tells exactly"
    )
    assert freed_digests(made, {REPOSITORY: found}, [V2], {}) == {top.digest, one.digest, one.config.digest}
    assert two.digest not in freed_digests(made, {REPOSITORY: found}, [V2, V3], {})


def test_from_the_api_everything_that_was_read_is_counted() -> None:
    found, one, two = shared_layers()
    made = plan(found, "1")
    assert one.config is not None
    evidence = Evidence({REPOSITORY: {two.digest: two}}, 3, {one.config.digest: 1000})
    said = with_reclaim(made, {REPOSITORY: found}, [V2], evidence)
    assert next(step.frees for step in said.steps if step.digest == one.digest) == len(one.raw) + 1000
    assert said.reclaim.because == (
        "less where unlisted manifests, tags that stay and were not read, or other repositories share it; "
        "--storage PATH tells exactly"
    )
    holding = Evidence({REPOSITORY: {Digest.of(b"x"): one}})
    assert freed_digests(made, {REPOSITORY: found}, [V2], holding.kept).isdisjoint({one.config.digest})
    assert with_reclaim(plan(found), {REPOSITORY: found}, [V2]).reclaim.exact  # nothing is removed: just that is freed
    assert with_reclaim(plan(found), {REPOSITORY: found}, [V2]).reclaim.because == ""


def test_from_the_api_the_larger_collector_and_m_are_shown() -> None:
    found, *_ = shared_layers()
    made = plan(found, "2", options=RemovalOptions(untag=True))
    totals = {one: with_reclaim(made, {REPOSITORY: found}, [one]).reclaim for one in (V2_UNTAGGED, V3_UNTAGGED, V2)}
    assert totals[V2_UNTAGGED].collector is Collector.UNTAGGED
    assert totals[V2].collector is Collector.DEFAULT
    both = with_reclaim(made, {REPOSITORY: found}, [V2, V2_UNTAGGED]).reclaim
    assert both.collector is Collector.UNTAGGED
    assert both.reclaimable_bytes == max(totals[V2].reclaimable_bytes, totals[V2_UNTAGGED].reclaimable_bytes)
    assert "shop/web:1;" in totals[V2_UNTAGGED].warnings[0]
    assert totals[V2].warnings == totals[V3_UNTAGGED].warnings == ()


def test_from_the_api_with_m_what_other_tags_name_stays() -> None:
    one, two = image("one"), image("two")
    found = graph({"1": one, "2": two, "3": two})
    assert one.config is not None
    freed_by_one = {one.digest, one.config.digest}
    assert freed_digests(plan(found, "1"), {REPOSITORY: found}, [V2_UNTAGGED], {}) == freed_by_one
    alone = plan(found, "2", options=RemovalOptions(untag=True))
    assert freed_digests(alone, {REPOSITORY: found}, [V2_UNTAGGED], {}) == frozenset()


def test_a_repository_that_cannot_be_judged_frees_nothing() -> None:
    found, *_ = shared_layers()
    made = plan(found, "1")
    broken = RepositoryGraph(REPOSITORY, found.tags, found.manifests, unjudgeable="broken")
    assert freed_digests(made, {REPOSITORY: broken}, [V2], {}) == frozenset()
    assert with_reclaim(made, {REPOSITORY: broken}, [V2]).reclaim.reclaimable_bytes == 0


def test_which_collectors_are_possible() -> None:
    assert possible_collectors(Generation.V2, Collector.DEFAULT) == (V2,)
    assert possible_collectors(Generation.V3, Collector.UNTAGGED) == (V3_UNTAGGED,)
    assert set(possible_collectors(None, Collector.UNTAGGED)) == {V2_UNTAGGED, V3_UNTAGGED}
