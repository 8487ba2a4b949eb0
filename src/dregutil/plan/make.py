"""Selection → plan: what is removed and in which order, and what stays and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime

from dregutil.oci.graph import RepositoryGraph, settle
from dregutil.oci.manifest import Kind, Manifest, sizes_below
from dregutil.oci.names import Digest, Repository, Tag, parse_signature_tag
from dregutil.oci.placeholder import LEFT_BEHIND, is_placeholder
from dregutil.plan.hidden_referrers import hidden_referrers
from dregutil.plan.model import Action, Kept, Plan, RemovalOptions, Step, StepKind, group_by_repository
from dregutil.retention.holds import Holds
from dregutil.select.selection import HeldBack, Selected, Selection

__all__ = ["make_plan"]

_TAGS_NOT_NAMED = "has tags, and only its digest was named (--with-tags takes them too)"


def make_plan(
    selection: Selection,
    graphs: Mapping[Repository, RepositoryGraph],
    options: RemovalOptions,
    *,
    registry: str,
    made_at: datetime,
    command: str,
    also_in: Mapping[Digest, Sequence[Repository]] | None = None,
    holds: Holds | None = None,
) -> Plan:
    """The plan that removes `selection`.

    `graphs` has a fresh graph of each repository in the selection. `also_in`: for a digest, the repositories outside
    the selection that also have it. `holds`: those on the registry. Steps are numbered from 1.
    """
    steps, kept, left_out = list[Step](), list[Kept](), dict[Repository, str]()
    selected, held_back = group_by_repository(selection.selected), group_by_repository(selection.held)
    for repository in dict.fromkeys(repository for repository, _ in selection.touched()):
        graph = graphs[repository]
        if graph.unjudgeable:
            left_out[repository] = graph.unjudgeable
            continue
        made = _RepositoryPlan(graph, options, also_in or {}, holds or Holds(), first=len(steps) + 1)
        made.choose(selected.get(repository, ()))
        made.hold_back(held_back.get(repository, ()))
        steps += made.steps()
        kept += made.kept
    return Plan(
        registry,
        made_at,
        command,
        tuple(steps),
        tuple(kept),
        left_out,
        options,
        tags_before={repository: len(graphs[repository].tags) for repository in graphs},
        names_repositories=selection.names_repositories,
        dangling={name: tuple(sorted(graph.dangling)) for name, graph in graphs.items() if graph.dangling},
    )


class _RepositoryPlan:
    """Builds the steps of one repository."""

    def __init__(
        self,
        graph: RepositoryGraph,
        options: RemovalOptions,
        also_in: Mapping[Digest, Sequence[Repository]],
        holds: Holds,
        *,
        first: int,
    ) -> None:
        self.graph = graph
        self.options = options
        self.also_in = also_in
        self.held = holds.here(graph)
        self.first = first
        self.kept: list[Kept] = []
        self._deletes: list[Step] = []
        self._untags: list[Step] = []
        self._named: Set[Digest] = frozenset()

    def choose(self, chosen: Sequence[Selected]) -> None:
        """Decide which of the selected digests go, and what goes with them."""
        roots: dict[Digest, tuple[Tag, ...]] = {}
        entries = {entry.digest: self._with_tags(entry) for entry in chosen}
        doomed: set[Tag] = set()
        for entry in entries.values():
            still = self._still(entry.digest, entry.tags)
            by = None if entry.tags else self.graph.tagged_referrer(entry.digest)
            beside = self.graph.tags_of.get(entry.digest, ()) if entry.is_named and not entry.tags else ()
            if beside:
                self.hold(entry.digest, beside, _TAGS_NOT_NAMED, untag=False)
            elif by is not None:
                self.hold(entry.digest, (), f"'{by}' refers to it", untag=False)
            elif still or not entry.tags:
                roots[entry.digest] = still
                doomed |= self.graph.tags_on(entry.digest, (*entry.tags, *entry.other_tags))
        reasons = self._expand({digest: entries[digest].because for digest in roots})
        self._named = {digest for digest in roots if entries[digest].is_named}
        going, held = settle(
            self.graph,
            reasons,
            doomed,
            allow_irreversible=self.options.allow_irreversible,
            named=self._named,
            on_hold=self.held.digests,
        )
        for digest in roots.keys() & going:
            kind, because = reasons[digest]
            reasons[digest] = (kind, hidden_referrers(self.graph, digest, going) or because)
        ordered = self._order(going, reasons)
        for digest, tags in roots.items():
            if digest not in ordered and not (digest in self.graph.absent and not tags):
                reason = held.get(digest, "it and others refer to each other in a cycle")
                self.hold(digest, tags, reason, untag=self.options.untag and entries[digest].may_untag)

    def _with_tags(self, entry: Selected) -> Selected:
        """The entry with all tags that its digest has, if these go with it."""
        return replace(entry, tags=self.graph.tags_of.get(entry.digest, ())) if entry.with_tags else entry

    def hold_back(self, held: Iterable[HeldBack]) -> None:
        """Note what the selection itself holds back."""
        for entry in held:
            self.hold(entry.digest, entry.tags, entry.reason, untag=self.options.untag)

    def hold(self, digest: Digest, tags: Sequence[Tag], reason: str, *, untag: bool) -> None:
        """Note that a digest stays although `tags` of it were selected. With `untag`, the tags are removed alone."""
        still = self._still(digest, tags)
        manifest = self.graph.manifests.get(digest)
        if tags and not still:
            return
        reason = LEFT_BEHIND if is_placeholder(manifest) else reason
        if not untag or manifest is None or is_placeholder(manifest):
            self.kept.append(Kept(self.graph.repository, digest, still, reason))
            return
        kind = StepKind.INDEX if manifest.kind is Kind.INDEX else StepKind.IMAGE
        hidden = hidden_referrers(self.graph, digest)
        because = f"the digest stays: {reason}" + (f"; {hidden}" if hidden else "")
        for tag in still:
            if tag in self.held.tags:
                self.kept.append(Kept(self.graph.repository, digest, (tag,), self.held.tags[tag]))
                continue
            step = Step(0, Action.UNTAG, self.graph.repository, digest, (tag,), kind, because)
            self._untags.append(replace(step, platforms=manifest.platforms, size=self._size(manifest)))

    def steps(self) -> list[Step]:
        after = self.first + len(self._deletes)
        return [*self._deletes, *(replace(step, number=after + place) for place, step in enumerate(self._untags))]

    def _still(self, digest: Digest, tags: Sequence[Tag]) -> tuple[Tag, ...]:
        """Those of `tags` that are still on `digest`. A tag that has moved is noted as kept."""
        for tag in tags:
            now = self.graph.tags.get(tag)
            if now is not None and now != digest:
                self.kept.append(Kept(self.graph.repository, digest, (tag,), f"'{tag}' has moved to {now.short}"))
        return tuple(tag for tag in tags if self.graph.tags.get(tag) == digest)

    def _expand(self, roots: Mapping[Digest, str]) -> dict[Digest, tuple[StepKind, str]]:
        """The roots and everything that would go with them, each with its kind and reason."""
        found: dict[Digest, tuple[StepKind, str]] = {}
        for digest, because in roots.items():
            manifest = self.graph.manifests.get(digest)
            index = manifest is not None and manifest.kind is Kind.INDEX
            found[digest] = (StepKind.INDEX if index else StepKind.IMAGE, because)
        pending = list(found)
        while pending:
            digest = pending.pop()
            for other, kind, because in self._company(digest):
                if other not in found and other not in self.graph.absent:
                    found[other] = (kind, because)
                    pending.append(other)
        return found

    def _company(self, digest: Digest) -> Iterable[tuple[Digest, StepKind, str]]:
        manifest = self.graph.manifests.get(digest)
        is_fallback = any(
            (signature := parse_signature_tag(tag)) is not None and not signature.suffix
            for tag in self.graph.tags_of.get(digest, ())
        )
        if manifest is not None and not self.options.keep_children and not is_fallback:
            for child in manifest.children:
                what = "attestation" if child.is_attestation else "child"
                yield child.digest, StepKind.CHILD, f"{what} of {digest.short}"
        if not self.options.keep_referrers:
            for referrer in self.graph.referrers_of(digest):
                yield referrer, StepKind.REFERRER, f"refers to {digest.short}"

    def _order(
        self,
        going: frozenset[Digest],
        reasons: Mapping[Digest, tuple[StepKind, str]],
    ) -> frozenset[Digest]:
        """Add the steps, each after those that it needs. Cycles stay, with everything that needs them."""
        needs = {digest: self._needs(digest, going) for digest in reasons if digest in going}
        numbers: dict[Digest, int] = {}
        while True:
            ready = [digest for digest in needs if digest not in numbers and needs[digest] <= numbers.keys()]
            if not ready:
                break
            for digest in ready:
                kind, because = reasons[digest]
                numbers[digest] = self.first + len(numbers)
                self._deletes.append(self._step(digest, kind, because, {numbers[need] for need in needs[digest]}))
        return frozenset(numbers)

    def _needs(self, digest: Digest, going: frozenset[Digest]) -> frozenset[Digest]:
        graph = self.graph
        named = (subject for tag in graph.tags_of.get(digest, ()) for subject in graph.named_subjects(tag))
        before = {*graph.parents.get(digest, ()), *graph.subjects_of(digest), *named}
        return frozenset((before & going) - {digest})

    def _size(self, manifest: Manifest) -> int:
        return sum(sizes_below(manifest, self.graph.manifests).values())

    def _step(self, digest: Digest, kind: StepKind, because: str, needs: set[int]) -> Step:
        manifest = self.graph.manifests[digest]
        return Step(
            number=self.first + len(self._deletes),
            action=Action.DELETE,
            repository=self.graph.repository,
            digest=digest,
            tags=self.graph.tags_of.get(digest, ()),
            kind=kind,
            because=because,
            needs=tuple(sorted(needs)),
            platforms=manifest.platforms,
            size=self._size(manifest),
            also_in=tuple(self.also_in.get(digest, ())),
            is_named=digest in self._named,
        )
