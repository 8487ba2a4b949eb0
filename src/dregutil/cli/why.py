"""`why`: every rule and reference that keeps or dooms a tag."""

from __future__ import annotations

import argparse
from pathlib import Path

from dregutil.cli.output import emit
from dregutil.cli.retention import judge_registry, load_policy, read_lists
from dregutil.cli.settings import Settings
from dregutil.cli.source import open_source
from dregutil.errors import NotFoundError, UsageError
from dregutil.inventory import Inventory
from dregutil.reference import Digest, Reference, Repository, Tag
from dregutil.report.text import column_lines
from dregutil.report.units import size_text
from dregutil.retention import Verdict
from dregutil.retention.explain import Bearing, explain

__all__ = ["why"]


def why(args: argparse.Namespace, settings: Settings) -> int:
    reference = Reference.parse(args.image, registry=settings.address)
    if reference.tag is None and reference.digest is None:
        raise UsageError(f"{args.image} names no tag", advice="name one image: repository:tag")
    policies = load_policy(args.policy)
    lists = read_lists(policies, Path(args.policy).absolute().parent)
    source = open_source(settings, None if lists else [reference.repository])
    tag = _tag(args.image, reference, source.inventory)
    judged = judge_registry(settings, policies, lists, source, only=[reference.repository])
    verdicts = judged.judgement.verdicts[reference.repository]
    (verdict,) = (found for found in verdicts if found.facts.tag == tag)
    bearings = explain(policies, verdicts, tag, judged.judgement.now)
    elsewhere = _elsewhere(source.inventory, verdict.facts.digest, reference.repository)
    bearings += tuple(
        Bearing("elsewhere", keeps=False, text=f"{name}, which does not hold it here") for name in elsewhere
    )
    objects: list[dict[str, object]] = [
        {
            "repository": reference.repository,
            "tag": tag,
            "decision": verdict.decision.value,
            "policy": verdict.policy or None,
            "what": bearing.what,
            "keeps": bearing.keeps,
            "text": bearing.text,
        }
        for bearing in bearings
    ]
    emit(settings, objects, [*_head(verdict), *_rows(bearings)])
    return 0


def _tag(image: str, reference: Reference, inventory: Inventory) -> Tag:
    tags = inventory.tags(reference.repository)
    found = reference.tag or next((tag for tag, digest in sorted(tags.items()) if digest == reference.digest), None)
    if found is None or found not in tags:
        raise NotFoundError(f"there is no {image}", advice="--refresh reads the registry again")
    return found


def _elsewhere(inventory: Inventory, digest: Digest, repository: Repository) -> list[str]:
    return sorted(f"{place}:{tag}" for place, tag in inventory.holders(digest) if place != repository)


def _head(verdict: Verdict) -> list[str]:
    facts = verdict.facts
    name = f"{verdict.repository}:{facts.tag}"
    date = "unknown" if verdict.date is None else f"{verdict.date:%Y-%m-%d %H:%M} UTC"
    group = f", group {'/'.join(verdict.group)}" if verdict.group else ""
    owner = f"policy {verdict.policy}{group}" if verdict.policy else "no policy"
    because = ", ".join(map(str, verdict.reasons))
    return [
        f"{verdict.decision.value.upper()}  {name}  {because}",
        f"{facts.digest.short} · {size_text(facts.size)} · date {date} · {owner}",
    ]


def _rows(bearings: tuple[Bearing, ...]) -> list[str]:
    rows = [("keeps" if bearing.keeps else "does not", bearing.what, bearing.text) for bearing in bearings]
    return [line.rstrip() for line in column_lines(rows)] if rows else []
