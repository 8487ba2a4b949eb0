"""`cleanup`: applies a policy to a registry; shows the plan, saves it, or carries it out."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dregutil.cli.after_cleanup import RunAccount
from dregutil.cli.approving import check_approving, put_for_approval
from dregutil.cli.consent import check_consent, is_on_terminal
from dregutil.cli.execution import Undertaking, carry_out, tell_unfinished
from dregutil.cli.in_use import tell_doubts
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note, plural
from dregutil.cli.policies import ChosenPolicy, chosen_policy
from dregutil.cli.policy_warnings import expiry_warnings, unmatched_selectors
from dregutil.cli.reasons import check_reasons, policy_reasons, write_policy_reasons
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.cli.storage import collector_of, read_stored, storage_code
from dregutil.errors import BrakeError, UsageError
from dregutil.plan.cleanup import Proposal
from dregutil.plan.file import plan_sum, write_plan
from dregutil.plan.model import RemovalOptions
from dregutil.report.budget import budget_lines, free_lines
from dregutil.report.cleanup import (
    detail_lines,
    detail_objects,
    freed_by_policy,
    going_lines,
    list_lines,
    plan_end_lines,
    policy_lines,
    policy_objects,
    rule_lines,
    unknown_pull_lines,
)
from dregutil.report.removal import brake_lines
from dregutil.report.terminal import width_of
from dregutil.retention.proposal import surprises
from dregutil.retention.verdict import Decision
from dregutil.select.quantity import parse_duration, parse_size
from dregutil.session.sync import Session

__all__ = ["cleanup"]


def cleanup(args: argparse.Namespace, settings: Settings) -> int:
    account = RunAccount(
        _leaving_behind(args, settings),
        is_dry=bool(args.dry_run),
        only_shows=bool(args.dry_run or args.plan_out or args.approve),
    )
    try:
        code = _clean(args, settings, account)
    except (Exception, KeyboardInterrupt) as error:
        account.close(error=error)
        raise
    account.close(code)
    return code


def _leaving_behind(args: argparse.Namespace, settings: Settings) -> Settings:
    """The settings with what the run leaves behind. A plan with its reasons is made for a page, again and again: it
    overwrites no report and sends nothing unless the command line says so."""
    if not args.reasons_out:
        return settings
    return replace(
        settings,
        report=settings.report if args.report else None,
        metrics=settings.metrics if args.metrics else None,
        notify=settings.notify if args.notify else None,
        notify_file=settings.notify_file if args.notify_file else None,
    )


def _clean(args: argparse.Namespace, settings: Settings, account: RunAccount) -> int:
    started = time.monotonic()
    policy = chosen_policy(settings)
    check_reasons(args)
    check_approving(args, settings)
    check_consent(args, "--dry-run shows what would go; -y removes without asking")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit}: it must be at least 1")
    if args.limit is not None and args.free is not None:
        raise UsageError("--limit and --free are two limits", advice="give one of them")
    deadline = None if args.max_time is None else started + parse_duration(args.max_time).total_seconds()
    with opened(settings) as registry:
        return _cleanup(args, settings, registry, policy, deadline, account)


def _cleanup(
    args: argparse.Namespace,
    settings: Settings,
    registry: Session,
    policy: ChosenPolicy,
    deadline: float | None,
    account: RunAccount,
) -> int:
    only_shows = bool(args.dry_run or args.plan_out or args.approve)
    stored = read_stored(registry, settings)
    proposal = registry.plan_cleanup(
        policy.policies,
        file=policy.file,
        limit=args.limit,
        free=None if args.free is None else parse_size(args.free),
        options=_options(args),
        collector=collector_of(args),
        details=args.details,
        only_shown=only_shows,
    )
    account.proposal = proposal
    _tell(settings, proposal)
    code = max(storage_code(stored), PARTIAL if _is_partial(args, proposal) else 0)
    if args.approve:
        stays = policy_reasons(settings, registry, proposal)
        put_for_approval(args, settings, proposal.plan, _lines(args, settings, proposal), stays)
        return code
    if only_shows:
        _show(args, settings, registry, proposal)
        return max(code, BrakeError.exit_code) if proposal.refused and not args.plan_out else code
    work = Undertaking(
        proposal.plan,
        seconds=proposal.seconds,
        deadline=deadline,
        shown=(*_named(args, proposal), *_lines(args, settings, proposal)),
        proposal=proposal,
        on_result=account.keep_result,
    )
    return max(code, _carry_out(args, settings, registry, proposal, work))


def _options(args: argparse.Namespace) -> RemovalOptions:
    return RemovalOptions(
        keep_children=args.keep_children,
        keep_referrers=args.keep_referrers,
        allow_irreversible=args.allow_irreversible,
    )


def _is_partial(args: argparse.Namespace, proposal: Proposal) -> bool:
    """Whether something could not be judged or planned, or, with --strict, was held back."""
    judged, plan = proposal.judged, proposal.plan
    left_out = plan.left_out or proposal.untagged.left_out
    return bool(judged.source.failed or judged.unread or judged.left_behind or left_out or (args.strict and plan.kept))


def _tell(settings: Settings, proposal: Proposal) -> None:
    """Print warnings about the proposal on standard error."""
    judged, untagged = proposal.judged, proposal.untagged
    for name, why in untagged.left_out.items():
        sys.stderr.write(f"dregutil: no untagged manifest of {name} is selected: {why}\n")
    for mistake in (
        () if judged.source.failed else unmatched_selectors(judged.policies, judged.source.inventory, untagged)
    ):
        sys.stderr.write(f"dregutil: warning: {mistake.shown(str(settings.policy))}\n")
    for mistake in expiry_warnings(judged.policies, judged.facts):
        sys.stderr.write(f"dregutil: warning: {mistake.shown(str(settings.policy))}\n")
    for line in left_behind_lines(settings, judged.left_behind):
        note(settings, line)


def _asks(args: argparse.Namespace, proposal: Proposal) -> bool:
    return is_on_terminal() and not args.yes and bool(proposal.plan.steps)


def _named(args: argparse.Namespace, proposal: Proposal) -> list[str]:
    """Lines with the tags to remove, before the question; with --details they are shown already."""
    if args.details or proposal.refused or not _asks(args, proposal):
        return []
    return [*going_lines(proposal.judged.judgement, proposal.plan, width=width_of(sys.stderr)), ""]


def _carry_out(
    args: argparse.Namespace, settings: Settings, registry: Session, proposal: Proposal, work: Undertaking
) -> int:
    if proposal.refused or not _asks(args, proposal):
        for line in work.shown:
            note(settings, line)
    if proposal.refused:
        named = ", ".join(f"{one.name} ({one.taken})" for one in proposal.refused)
        raise BrakeError(
            f"more than max_remove would go: {named}; nothing was removed",
            advice="review it with --dry-run; to remove it anyway: --plan-out FILE, then `dregutil apply FILE`",
        )
    if not work.plan.steps:
        tell_unfinished(settings, registry, work)
        registry.remember(proposal)
        note(settings, "nothing to remove")
        count(settings, "removed digests", 0)
        return 0
    if work.is_over:
        note(settings, "--max-time was over before anything was removed")
        return 0
    return carry_out(args, settings, registry, work)


def _show(args: argparse.Namespace, settings: Settings, registry: Session, proposal: Proposal) -> None:
    if args.plan_out:
        write_plan(Path(args.plan_out), proposal.plan)
        write_policy_reasons(args, settings, registry, proposal)
        apply = settings.advised(f"apply {shlex.quote(args.plan_out)}")
        note(settings, f"the plan is in {args.plan_out}, {plan_sum(proposal.plan)}; {apply} carries it out")
    head = f"DRY RUN, nothing is removed · {settings.address.name} · read live just now"
    if args.details:
        objects: Sequence[dict[str, object]] = detail_objects(proposal.judged.judgement)
    else:
        objects = policy_objects(
            proposal.summaries,
            freed_by_policy(proposal.plan),
            proposal.last,
            kept=proposal.plan.kept,
            judgement=proposal.judged.judgement,
        )
    if settings.format != "text":
        tell_doubts(proposal.judged.lists)
    wanted = brake_lines(proposal.plan) if args.plan_out or not proposal.refused else ()
    emit(settings, objects, [head, *_lines(args, settings, proposal), *wanted])


def _lines(args: argparse.Namespace, settings: Settings, proposal: Proposal) -> list[str]:
    if settings.format != "text" and (args.dry_run or args.plan_out):
        return []
    judgement = proposal.judged.judgement
    width = width_of(sys.stdout if args.dry_run or args.plan_out else sys.stderr)
    found = [*detail_lines(judgement, width=width), ""] if args.details else []
    reviewed = "apply" if args.plan_out else "approve" if args.approve else ""
    freed = freed_by_policy(proposal.plan)
    found += policy_lines(proposal.summaries, freed, proposal.last, reviewed_before=reviewed, width=width)
    others = sum(not verdict.policy and verdict.decision is Decision.KEEP for verdict in judgement)
    if others:
        found.append(f"selected by no policy, and kept: {plural(others, 'tag')}")
    followers = sum(verdict.decision is Decision.FOLLOW for verdict in judgement)
    if followers:
        found.append(f"signatures and other referrers, which follow their subject: {plural(followers, 'tag')}")
    if args.details:
        found += ["", *rule_lines(proposal.rules, width=width), ""]
    found += list_lines(proposal.judged.lists, details=args.details)
    found += unknown_pull_lines(proposal.judged.policies, judgement.now)
    if proposal.judged.source.failed:
        number = plural(len(proposal.judged.source.failed), "repository")
        names = ", ".join(sorted(proposal.judged.source.failed)[:5])
        found.append(f"not read, and left as they are: {number} ({names})")
    if proposal.judged.unread:
        found.append(f"not read, and kept: the tags on {len(proposal.judged.unread):,} digests")
    held = sum(verdict.is_held for verdict in judgement)
    refused = () if args.plan_out or args.approve else proposal.refused
    undo = settings.advised("undo")
    found += budget_lines(proposal)
    if args.free is not None:
        found += free_lines(args.free, parse_size(args.free), proposal)
    elif proposal.left_by_limit:
        found.append(f"--limit {args.limit} leaves {plural(proposal.left_by_limit, 'tag')} for later runs")
        if not proposal.plan.steps:
            found.append("  no image to remove fits within it, or all are held back: a higher --limit removes more")
    found += plan_end_lines(
        proposal.plan, surprises(judgement), held, proposal.seconds, refused, undo=undo, details=args.details
    )
    return found
