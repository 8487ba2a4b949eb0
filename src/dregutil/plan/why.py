"""Why an image is kept or removed: its verdict or, if no policy judges it, what it belongs to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dregutil.inventory.tags import Inventory
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import sizes_below
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.oci.placeholder import LEFT_BEHIND
from dregutil.pulls.coverage import source_since
from dregutil.pulls.pull import Pull, Source
from dregutil.retention.explain import Factor
from dregutil.retention.holds import Hold
from dregutil.retention.verdict import Decision, Reason, ReasonKind, TagFacts, Verdict
from dregutil.select.quantity import age_as_written

__all__ = ["NOTES", "Explanation", "left_behind", "unjudged", "verdict_on", "with_elsewhere", "with_hold", "with_pull"]

_LONGEST_GAP = timedelta(days=1)

_NOT_KNOWN = (
    "it has no tag, and no policy with `untagged: true` knows of it; our records know what lost its last tag since "
    "they began, --storage PATH shows all"
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict, and every rule and reference that applies to it."""

    verdict: Verdict
    factors: tuple[Factor, ...]


def verdict_on(reference: Reference, verdicts: Sequence[Verdict]) -> Verdict | None:
    """The verdict on a tag; for a digest, that on the first of its tags, or on itself."""
    if reference.tag is not None:
        return next((found for found in verdicts if found.facts.tag == reference.tag), None)
    on = [found for found in verdicts if found.facts.digest == reference.digest]
    return min(on, key=lambda found: found.facts.tag or "", default=None)


def left_behind(repository: Repository, tag: Tag, digest: Digest) -> Explanation:
    """The explanation for a tag that an interrupted run left on a placeholder: it stays."""
    verdict = Verdict(repository, TagFacts(tag, digest), Decision.KEEP, (Reason(ReasonKind.UNREAD, LEFT_BEHIND),))
    return Explanation(verdict, (Factor(ReasonKind.UNREAD.value, keeps=True, text=LEFT_BEHIND),))


def unjudged(
    graph: RepositoryGraph, digest: Digest, verdicts: Sequence[Verdict], unjudgeable: str
) -> Explanation | None:
    """The explanation for a digest that no policy can select: a part of something, or unknown until now. None if it
    does not exist."""
    manifest = graph.manifests.get(digest)
    if manifest is None:
        return None
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
    decision, text = Decision.FOLLOW, "it has no tag, and goes or stays with what it belongs to"
    if not found:
        decision, text = Decision.KEEP, unjudgeable or _NOT_KNOWN
        found.append(Factor("not selected", keeps=True, text=text))
    facts = TagFacts(None, digest, size=sum(sizes_below(manifest, graph.manifests).values()))
    verdict = Verdict(graph.repository, facts, decision, (Reason(ReasonKind.NOT_SELECTED, text),))
    return Explanation(verdict, tuple(found))


def with_hold(found: Explanation, hold: Hold | None) -> Explanation:
    """Add the hold of the image, unless its verdict names it."""
    if hold is None or any(factor.text == hold.reason for factor in found.factors):
        return found
    kind = ReasonKind.PUT_BACK if hold.run else ReasonKind.ON_HOLD
    return Explanation(found.verdict, (Factor(kind.value, keeps=True, text=hold.reason), *found.factors))


NOTES = frozenset({"elsewhere", "last pull"})
"""What is said of a tag and decides nothing by itself."""


def with_pull(found: Explanation, pull: Pull | None, sources: Sequence[Source], now: datetime) -> Explanation:
    """Add the last recorded pull, which keeps nothing by itself; nothing if no pulls are recorded at all."""
    since = [
        f"{source.kind.value} since {began:%Y-%m-%d}"
        for source in sources
        if (began := source_since(source, now, _LONGEST_GAP)) is not None
    ]
    if pull is None and not since:
        return found
    text = "no pull is recorded"
    if pull is not None:
        by = f" by {pull.agent}" if pull.agent else ""
        text = f"{age_as_written(now - pull.at)} ago{by}"
    text += f" ({', '.join(since)})" if since else " (nothing records pulls now)"
    return Explanation(found.verdict, (*found.factors, Factor("last pull", keeps=False, text=text)))


def with_elsewhere(found: Explanation, inventory: Inventory) -> Explanation:
    """Add the tags in other repositories on the same digest, which do not hold it here."""
    verdict = found.verdict
    places = sorted(
        f"{place}:{tag}" for place, tag in inventory.holders(verdict.facts.digest) if place != verdict.repository
    )
    more = tuple(Factor("elsewhere", keeps=False, text=f"{place}, which does not hold it here") for place in places)
    return Explanation(verdict, (*found.factors, *more))
