"""For any graph: when all untagged manifests are removed, nothing that a tag reaches is."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dregutil.inventory.stored_graph import stored_graph
from dregutil.inventory.untagged import untagged_in_graph, untagged_in_storage
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag, parse_signature_tag
from dregutil.plan.make import make_plan
from dregutil.plan.model import RemovalOptions
from dregutil.plan.recheck import recheck
from dregutil.select.selection import Selected, Selection
from dregutil.storage.stored import StoredManifest, StoredRegistry, StoredRepository, references
from images import CONFIG, IMAGE, INDEX

APP = Repository("app")
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@st.composite
def repositories(draw: st.DrawFn) -> tuple[dict[Digest, Manifest], dict[Tag, Digest]]:
    """Images, indexes of earlier manifests, and referrers; some have tags, some are signatures by name."""
    found: dict[Digest, Manifest] = {}
    tags: dict[Tag, Digest] = {}
    for number in range(draw(st.integers(1, 9))):
        before = sorted(found)
        subject = draw(st.none() | st.sampled_from(before)) if before else None
        about = draw(st.none() | st.sampled_from(before)) if before and subject is None else subject
        body: dict[str, object] = {"schemaVersion": 2, "annotations": {"number": str(number)}}
        is_index = draw(st.sampled_from((False, True))) if before else False
        if is_index:
            children = draw(st.lists(st.sampled_from(before), min_size=1, max_size=3, unique=True))
            body["manifests"] = [_descriptor(found[child]) for child in children]
            subject = subject if subject not in _below(children, found) else None  # otherwise each waits for the other
        else:
            body["config"] = {"mediaType": CONFIG, "digest": Digest.of(str(number).encode()), "size": 1}
            body["layers"] = []
        if subject is not None:
            body["subject"] = _descriptor(found[subject])
        media_type = OCI_INDEX if is_index else OCI_MANIFEST
        raw = json.dumps({**body, "mediaType": media_type}).encode()
        digest = Digest.of(raw)
        found[digest] = parse_manifest(raw, media_type, digest)
        name = draw(st.sampled_from(("", "own", "signature")))
        if name == "own":
            tags[Tag(f"t{number}")] = digest
        elif name == "signature" and about is not None:
            tags[Tag(f"sha256-{about.hex}.sig")] = digest
    return found, tags


def _descriptor(manifest: Manifest) -> dict[str, object]:
    kind = INDEX if manifest.children else IMAGE
    return {"mediaType": kind, "digest": manifest.digest, "size": len(manifest.raw)}


def _below(digests: Iterable[Digest], found: Mapping[Digest, Manifest]) -> set[Digest]:
    """`digests`, everything in them, and what these refer to."""
    pending = list(digests)
    seen = set(pending)
    while pending:
        near = _near(found[pending.pop()])
        pending += near - seen
        seen |= near
    return seen


def _near(manifest: Manifest) -> set[Digest]:
    subjects = set() if manifest.subject is None else {manifest.subject.digest}
    return {child.digest for child in manifest.children} | subjects


def stored(
    found: Mapping[Digest, Manifest], tags: Mapping[Tag, Digest], blobs: Collection[Digest] = ()
) -> StoredRegistry:
    return StoredRegistry(
        "/",
        {APP: StoredRepository(APP, frozenset(found), tags, frozenset(blobs))},
        {digest: len(manifest.raw) for digest, manifest in found.items()} | dict.fromkeys(blobs, 1),
        {
            digest: StoredManifest(
                digest,
                manifest.kind,
                manifest.media_type,
                references(manifest),
                None if manifest.subject is None else manifest.subject.digest,
                is_runnable=manifest.is_runnable,
            )
            for digest, manifest in found.items()
        },
    )


def reached(found: Mapping[Digest, Manifest], tags: Mapping[Tag, Digest]) -> set[Digest]:
    """By an ordinary tag: down through indexes, and from referrers to their subjects."""
    return _below((digest for tag, digest in tags.items() if parse_signature_tag(tag) is None), found)


def removed(
    roots: Mapping[Digest, object], found: Mapping[Digest, Manifest], tags: Mapping[Tag, Digest]
) -> tuple[set[Digest], set[Tag]]:
    referrers: dict[Digest, list[Digest]] = {}
    for digest, manifest in found.items():
        if manifest.subject is not None:
            referrers.setdefault(manifest.subject.digest, []).append(digest)
    graph = RepositoryGraph(APP, tags, found, {subject: tuple(which) for subject, which in referrers.items()})
    chosen = Selection(tuple(Selected(APP, digest, ()) for digest in roots))
    plan = make_plan(chosen, {APP: graph}, RemovalOptions(), registry="r", made_at=NOW, command="")
    return {step.digest for step in plan.steps}, {tag for step in plan.steps for tag in step.tags}


@pytest.mark.property
@given(repositories())
def test_nothing_that_a_tag_reaches_is_selected(repository: tuple[dict[Digest, Manifest], dict[Tag, Digest]]) -> None:
    found, tags = repository
    whole = stored(found, tags)
    graph = RepositoryGraph(
        APP, tags, found, {digest: tuple(one for one in found if _refers(found[one], digest)) for digest in found}
    )
    for roots in (
        untagged_in_storage(whole, whole.repositories[APP], ()).roots,
        untagged_in_graph(graph, dict.fromkeys(found, NOW)).roots,
    ):
        gone, gone_tags = removed(roots, found, tags)
        assert not gone & reached(found, tags)
        assert all(parse_signature_tag(tag) for tag in gone_tags)
        for manifest in (found[digest] for digest in found.keys() - gone):
            assert not gone & {child.digest for child in manifest.children}


@pytest.mark.property
@given(repositories(), st.sets(st.integers(0, 8)))
def test_an_untagged_manifest_that_stays_keeps_its_parts(
    repository: tuple[dict[Digest, Manifest], dict[Tag, Digest]], left_out: set[int]
) -> None:
    found, tags = repository
    whole = stored(found, tags)
    roots = untagged_in_storage(whole, whole.repositories[APP], ()).roots
    chosen = {digest: None for place, digest in enumerate(roots) if place not in left_out}
    gone, _ = removed(chosen, found, tags)
    assert not gone & (roots.keys() - chosen.keys())
    for manifest in (found[digest] for digest in found.keys() - gone):
        assert not gone & {child.digest for child in manifest.children}


@pytest.mark.property
@given(repositories())
def test_in_the_end_only_what_a_tag_reaches_remains(
    repository: tuple[dict[Digest, Manifest], dict[Tag, Digest]],
) -> None:
    found, tags = repository
    assume(not any(manifest.subject is not None for manifest in found.values()))
    plain = {tag: digest for tag, digest in tags.items() if parse_signature_tag(tag) is None}
    whole = stored(found, plain)
    gone, _ = removed(untagged_in_storage(whole, whole.repositories[APP], ()).roots, found, plain)
    assert found.keys() - gone == reached(found, plain)


@pytest.mark.property
@given(repositories(), st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)), st.sampled_from((".sig", ".scan")))
def test_the_storage_and_the_registry_give_the_same_result(
    repository: tuple[dict[Digest, Manifest], dict[Tag, Digest]], lost: set[int], runs: set[int], suffix: str
) -> None:
    found, tags = repository
    tags = {Tag(tag.replace(".sig", suffix)): digest for tag, digest in tags.items()}
    blobs = {blob.digest for manifest in found.values() for blob in manifest.blobs}
    missing = {Digest.of(str(number).encode()) for number in lost} & blobs
    found = {
        digest: manifest if place in runs else replace(manifest, artifact_type="sbom" if manifest.blobs else "")
        for place, (digest, manifest) in enumerate(found.items())
    }
    named = {near for manifest in found.values() for near in _near(manifest)}
    live = RepositoryGraph(APP, tags, found, absent=frozenset(named - found.keys()), missing_blobs=frozenset(missing))
    whole = stored(found, tags, blobs - missing)
    held = whole.repositories[APP]
    roots = untagged_in_storage(whole, held, ()).roots
    assert taken(stored_graph(whole, held), roots) == taken(live, roots)


def taken(graph: RepositoryGraph, roots: Iterable[Digest]) -> list[tuple[Digest, tuple[Tag, ...]]]:
    chosen = Selection(tuple(Selected(APP, digest, ()) for digest in roots))
    plan = make_plan(chosen, {APP: graph}, RemovalOptions(), registry="r", made_at=NOW, command="")
    return sorted((step.digest, step.tags) for step in plan.steps)


def test_what_a_tag_reaches_since_the_plan_is_left() -> None:
    image, bill = _pair()
    before = RepositoryGraph(APP, {}, {image.digest: image, bill.digest: bill}, {image.digest: (bill.digest,)})
    chosen = Selection((Selected(APP, image.digest, ()),))
    plan = make_plan(chosen, {APP: before}, RemovalOptions(), registry="r", made_at=NOW, command="")
    assert [step.digest for step in plan.steps] == [image.digest, bill.digest]
    after = replace(before, tags={Tag("bill"): bill.digest})
    assert recheck(plan.steps, after, plan.options)[1] == "'bill' refers to it"
    again = make_plan(chosen, {APP: after}, RemovalOptions(), registry="r", made_at=NOW, command="")
    assert again.steps == ()
    assert [kept.reason for kept in again.kept] == ["'bill' refers to it"]


def _pair() -> tuple[Manifest, Manifest]:
    """An image, and what refers to it."""
    plain = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()
    image = parse_manifest(plain, OCI_MANIFEST, Digest.of(plain))
    raw = json.dumps({**json.loads(plain), "subject": _descriptor(image)}).encode()
    return image, parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))


def _refers(manifest: Manifest, digest: Digest) -> bool:
    return manifest.subject is not None and manifest.subject.digest == digest
