"""`why`: every rule and reference that keeps or removes a tag."""

from __future__ import annotations

import argparse
import sys

from dregutil.cli.opened import opened
from dregutil.cli.output import emit
from dregutil.cli.policies import chosen_policy
from dregutil.cli.settings import Settings
from dregutil.cli.storage import read_stored
from dregutil.plan.why import NOTES
from dregutil.report.terminal import width_of
from dregutil.report.text import column_lines
from dregutil.report.units import size_text
from dregutil.retention.explain import Factor
from dregutil.retention.verdict import Verdict

__all__ = ["why"]


def why(args: argparse.Namespace, settings: Settings) -> int:
    policy = chosen_policy(settings)
    with opened(settings) as registry:
        if any(one.select.untagged for one in policy.policies.policies):
            read_stored(registry, settings)
        found = registry.why(policy.policies, args.image, file=policy.file)
    verdict = found.verdict
    objects: list[dict[str, object]] = [
        {
            "repository": verdict.repository,
            "tag": verdict.facts.tag,
            "digest": verdict.facts.digest,
            "decision": verdict.decision.value,
            "policy": verdict.policy or None,
            "what": factor.what,
            "keeps": factor.keeps,
            "text": factor.text,
        }
        for factor in found.factors
    ]
    emit(settings, objects, [*_head(verdict), *_rows(found.factors)])
    return 0


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
    """The date that was used; unknown if the image was read and has no plausible date."""
    if verdict.date is not None:
        return f"date {verdict.date:%Y-%m-%d %H:%M} UTC"
    return "date unknown" if verdict.policy and not verdict.facts.unread else "date not read"


def _rows(factors: tuple[Factor, ...]) -> list[str]:
    rows = [(_effect(factor), factor.what, factor.text) for factor in factors]
    return [line.rstrip() for line in column_lines(rows, width=width_of(sys.stdout))] if rows else []


def _effect(factor: Factor) -> str:
    if factor.keeps:
        return "keeps"
    return "note" if factor.what in NOTES else "does not"
