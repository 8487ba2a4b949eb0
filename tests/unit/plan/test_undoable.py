"""What an undo of a run lacks in a storage."""

from __future__ import annotations

from dataclasses import replace

from dregutil.oci.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor, Kind, Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent
from dregutil.plan.undoable import Undoable, lost_to_undo
from dregutil.storage.stored import StoredManifest, StoredRegistry, StoredRepository

INDEX, IMAGE, ATTESTATION, LAYER_1, FOREIGN = (Digest.of(bytes([number])) for number in range(5))
HERE, THERE = Repository("shop/web"), Repository("zoo/web")


def image() -> Manifest:
    layers = (Descriptor(LAYER_1, "layer"), Descriptor(FOREIGN, "layer", urls=("https://example.com",)))
    return Manifest(IMAGE, OCI_MANIFEST, b"", Kind.IMAGE, layers=layers)


def index() -> Manifest:
    children = (Descriptor(IMAGE, OCI_MANIFEST), Descriptor(ATTESTATION, OCI_MANIFEST))
    return Manifest(INDEX, OCI_INDEX, b"", Kind.INDEX, children=children)


def removed(*manifests: Manifest) -> dict[Repository, list[Intent]]:
    return {HERE: [Intent(number, HERE, (Tag(f"{number}.0"),), one) for number, one in enumerate(manifests, 1)]}


def storage(*, layers: frozenset[Digest] = frozenset((LAYER_1,))) -> StoredRegistry:
    """The layer, linked in two repositories, and the attestation that the run left alone."""
    held = StoredRepository(HERE, frozenset((ATTESTATION,)), {}, layers)
    kept = {ATTESTATION: StoredManifest(ATTESTATION, Kind.IMAGE, OCI_MANIFEST)}
    other = StoredRepository(THERE, layers=frozenset((LAYER_1,)))
    return StoredRegistry("here", {HERE: held, THERE: other}, {LAYER_1: 10, ATTESTATION: 1}, kept)


def lost(
    stored: StoredRegistry,
    left: dict[Repository, list[Intent]],
    removed: dict[Repository, list[Intent]],
    *others: Repository,
) -> frozenset[Digest]:
    return lost_to_undo(stored, Undoable(removed, left, {HERE: others}), {})


def test_nothing_is_lacking_but_what_is_kept_elsewhere() -> None:
    both = removed(index(), image())
    assert lost(storage(), both, both) == frozenset()


def test_a_blob_may_be_mounted_from_a_repository_that_the_run_knows() -> None:
    both, without_link = removed(index(), image()), storage(layers=frozenset())
    assert lost(without_link, both, both) == {LAYER_1}
    assert lost(without_link, both, both, THERE) == frozenset()
    assert lost(without_link, both, {**both, THERE: []}) == frozenset()
    assert lost(replace(without_link, blobs={}), both, both, THERE) == {LAYER_1, ATTESTATION}


def test_children_that_the_run_removed_come_with_their_index() -> None:
    both, swept = removed(index(), image()), replace(storage(), blobs={ATTESTATION: 1})
    of_index = {HERE: both[HERE][:1]}
    assert lost(swept, of_index, both) == {LAYER_1}


def test_a_child_that_the_run_left_alone_is_needed() -> None:
    alone = removed(index())
    assert lost(storage(), alone, alone) == {IMAGE}
    swept = replace(storage(), repositories={THERE: StoredRepository(THERE)})
    both = removed(index(), image())
    assert lost(swept, both, both) == {LAYER_1, ATTESTATION}


def test_a_child_that_another_run_removed_comes_back_first() -> None:
    """Two indexes had it: the run of the first one left it, and that of the second one removed it."""
    alone = removed(index())
    run, recorded = Undoable(alone, alone, {}), {(HERE, IMAGE): image()}
    assert list(run.children_of_others()) == [(HERE, IMAGE), (HERE, ATTESTATION)]
    assert lost_to_undo(storage(), run, recorded) == frozenset()
    assert lost_to_undo(replace(storage(), blobs={ATTESTATION: 1}), run, recorded) == {LAYER_1}
