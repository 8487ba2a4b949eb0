"""`why`: every rule and reference that keeps or dooms a tag."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dregutil.cli.contents import open_contents, seen_before
from dregutil.cli.in_use import read_lists
from dregutil.cli.output import emit
from dregutil.cli.retention import judge_registry, load_policy
from dregutil.cli.search import check_was_read
from dregutil.cli.settings import Settings
from dregutil.cli.source import open_source
from dregutil.cli.untagged import find_untagged, look_at
from dregutil.errors import NotFoundError, UsageError
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.known import Known
from dregutil.inventory.tags import Inventory
from dregutil.journal.history import RunHistory
from dregutil.journal.store import RunStore
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import sizes_below
from dregutil.oci.names import Digest, Reference, Repository
from dregutil.oci.placeholder import LEFT_BEHIND
from dregutil.report.text import column_lines
from dregutil.report.units import size_text
from dregutil.retention import Decision, Reason, ReasonKind, TagFacts, Verdict
from dregutil.retention.explain import Factor, explain

__all__ = ["why"]

_NOT_KNOWN = (
    "it has no tag, and no policy with `untagged: true` knows of it; our records know what lost its last tag since "
    "they began, --storage PATH shows all"
)


def why(args: argparse.Namespace, settings: Settings) -> int:
    reference = Reference.parse(args.image, registry=settings.address)
    if reference.tag is None and reference.digest is None:
        raise UsageError(f"{args.image} names no tag", advice="name one image: repository:tag or repository@digest")
    with seen_before(settings) as seen:
        return _why(args, settings, reference, seen)


def _why(args: argparse.Namespace, settings: Settings, reference: Reference, seen: KnownManifests) -> int:
    policies = load_policy(args.policy)
    lists = read_lists(policies, Path(args.policy).absolute().parent)
    repository = reference.repository
    source = open_source(settings, None if lists else [repository])
    indexes = RunHistory(RunStore(settings.state_dir), settings.address.identity).known_indexes()
    known = Known(source.inventory.as_mapping(), indexes, seen)
    untagged = find_untagged(settings, policies, source, known, [repository])
    with open_contents(settings) as database:
        judged = judge_registry(
            settings, database, policies, lists, source, untagged, only=[repository], policy=Path(args.policy)
        )
    verdicts = judged.judgement.verdicts.get(repository, ())
    verdict = _verdict(reference, verdicts)
    if verdict is not None:
        factors = explain(policies, verdicts, verdict, judged.judgement.now)
        digest = verdict.facts.digest
    elif reference.digest is not None and reference.tag is None:
        digest = reference.digest
        graph = look_at(settings, source, known.with_untagged(untagged), {repository: {digest: None}})[repository]
        verdict, factors = _unjudged(graph, digest, verdicts, untagged.left_out.get(repository, ""))
    elif (
        on := [digest for _, tag, digest in judged.left_behind if tag == reference.tag]
    ) and reference.tag is not None:
        (digest,) = on
        reason = Reason(ReasonKind.UNREAD, LEFT_BEHIND)
        verdict = Verdict(repository, TagFacts(reference.tag, digest), Decision.KEEP, (reason,))
        factors = (Factor(ReasonKind.UNREAD.value, keeps=True, text=LEFT_BEHIND),)
    if verdict is None:
        check_was_read(reference, source)
        raise NotFoundError(f"there is no {args.image}", advice="--refresh reads the registry again")
    factors += tuple(
        Factor("elsewhere", keeps=False, text=f"{name}, which does not hold it here")
        for name in _elsewhere(source.inventory, digest, repository)
    )
    objects: list[dict[str, object]] = [
        {
            "repository": repository,
            "tag": verdict.facts.tag,
            "digest": digest,
            "decision": verdict.decision.value,
            "policy": verdict.policy or None,
            "what": factor.what,
            "keeps": factor.keeps,
            "text": factor.text,
        }
        for factor in factors
    ]
    emit(settings, objects, [*_head(verdict), *_rows(factors)])
    return 0


def _verdict(reference: Reference, verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict on a tag; of a digest, that on the first of its tags, or on itself."""
    if reference.tag is not None:
        return next((found for found in verdicts if found.facts.tag == reference.tag), None)
    on = [found for found in verdicts if found.facts.digest == reference.digest]
    return min(on, key=lambda found: found.facts.tag or "", default=None)


def _unjudged(
    graph: RepositoryGraph, digest: Digest, verdicts: Sequence[Verdict], trouble: str
) -> tuple[Verdict | None, tuple[Factor, ...]]:
    """What no policy can select by itself: a part of something, or what nobody knew of; None where it is not there."""
    manifest = graph.manifests.get(digest)
    if manifest is None:
        return None, ()
    shown = {found.facts.digest: found for found in verdicts}
    found: list[Factor] = []
    for what, others in (("index", graph.parents.get(digest, ())), ("subject", graph.subjects_of(digest))):
        for other in others:
            over = shown.get(other)
            stays = over is None or over.decision is not Decision.REMOVE
            name = f"{graph.repository}@{other.short}" if over is None else over.image
            became = "" if over is None else f": {over.decision.value}, {', '.join(map(str, over.reasons))}"
            found.append(Factor(what, stays, f"{name}{became}"))
    by = graph.tagged_referrer(digest)
    if by is not None:
        found.append(Factor("referrer", keeps=True, text=f"{graph.repository}:{by} refers to it"))
    decision, text = Decision.FOLLOW, "it has no tag, and belongs to what it belongs to"
    if not found:
        decision, text = Decision.KEEP, trouble or _NOT_KNOWN
        found.append(Factor("not selected", keeps=True, text=text))
    facts = TagFacts(None, digest, size=sum(sizes_below(manifest, graph.manifests).values()))
    return Verdict(graph.repository, facts, decision, (Reason(ReasonKind.NOT_SELECTED, text),)), tuple(found)


def _elsewhere(inventory: Inventory, digest: Digest, repository: Repository) -> list[str]:
    return sorted(f"{place}:{tag}" for place, tag in inventory.holders(digest) if place != repository)


def _head(verdict: Verdict) -> list[str]:
    facts = verdict.facts
    name = verdict.image
    group = f", group {'/'.join(verdict.group)}" if verdict.group else ""
    owner = f"policy {verdict.policy}{group}" if verdict.policy else "no policy"
    because = ", ".join(map(str, verdict.reasons))
    return [
        f"{verdict.decision.value.upper()}  {name}  {because}",
        f"{facts.digest.short} · {size_text(facts.size)} · {_date(verdict)} · {owner}"
        if facts.size
        else f"{facts.digest.short} · {owner}",
    ]


def _date(verdict: Verdict) -> str:
    """The date that counted: unknown only where it was looked for, and what was read has none that can be believed."""
    if verdict.date is not None:
        return f"date {verdict.date:%Y-%m-%d %H:%M} UTC"
    return "date unknown" if verdict.policy and not verdict.facts.unread else "date not read"


def _rows(factors: tuple[Factor, ...]) -> list[str]:
    rows = [("keeps" if factor.keeps else "does not", factor.what, factor.text) for factor in factors]
    return [line.rstrip() for line in column_lines(rows)] if rows else []
