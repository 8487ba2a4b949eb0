"""`remove-repos`, `remove-tags` and `remove-digests`: select and plan; show the plan, save it, or carry it out."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from dregutil.cli.approving import check_approving, put_for_approval
from dregutil.cli.commands.query import select
from dregutil.cli.consent import check_consent, check_older_consent, is_on_terminal
from dregutil.cli.execution import Undertaking, carry_out, tell_unfinished
from dregutil.cli.images import check_images, select_listed
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note
from dregutil.cli.reasons import check_reasons, write_reasons
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.cli.storage import collector_of, read_stored, storage_code
from dregutil.errors import NotFoundError, UsageError
from dregutil.oci.placeholder import LEFT_BEHIND
from dregutil.plan.file import plan_sum, write_plan
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.report.plan_table import kept_lines
from dregutil.report.removal import brake_lines, plan_lines, plan_objects
from dregutil.report.terminal import width_of
from dregutil.select.selection import keep_digests, unmatched_tags
from dregutil.session.sync import Session
from dregutil.storage.stored import StoredRegistry

__all__ = ["remove_digests", "remove_repos", "remove_tags"]


def remove_repos(args: argparse.Namespace, settings: Settings) -> int:
    return _remove_selected(args, settings)


def remove_tags(args: argparse.Namespace, settings: Settings) -> int:
    check_images(args)
    return _remove_selected(args, settings)


def _remove_selected(args: argparse.Namespace, settings: Settings) -> int:
    check_reasons(args)
    check_approving(args, settings)
    check_older_consent(args, settings)
    with opened(settings) as registry:
        return _remove(args, settings, registry)


def _remove(args: argparse.Namespace, settings: Settings, registry: Session) -> int:
    stored = read_stored(registry, settings)
    chosen = select if getattr(args, "images", None) is None else select_listed
    source, selection, code = chosen(args, settings, registry)
    if args.untag:
        selection = keep_digests(selection)
    plan = registry.plan_selection(selection, source.inventory, _options(args), collector_of(args))
    for line in _unlisted_lines(plan, stored):
        note(settings, line)
    work = Undertaking(plan, unmatched_tags(selection, source.inventory, registry.live_tags()))
    return max(code, storage_code(stored), _go_on(args, settings, registry, work))


def remove_digests(args: argparse.Namespace, settings: Settings) -> int:
    check_reasons(args)
    check_consent(args, "--dry-run shows what would go; -y removes without asking")
    if len(args.repo) > 1:
        raise UsageError("-r is given twice, and digests are those of one repository")
    with opened(settings) as registry:
        stored = read_stored(registry, settings)
        plan, absent = registry.plan_digests(
            args.repo[0], args.digest, with_tags=args.with_tags, options=_options(args), collector=collector_of(args)
        )
        for digest in absent:
            sys.stderr.write(f"dregutil: {args.repo[0]} has no manifest {digest}\n")
        if absent and not plan.steps and not plan.kept:
            return NotFoundError.exit_code
        code = max(storage_code(stored), PARTIAL if absent else 0)
        return max(code, _go_on(args, settings, registry, Undertaking(plan)))


def _options(args: argparse.Namespace) -> RemovalOptions:
    untag = getattr(args, "untag", False)
    return RemovalOptions(untag, args.keep_children, args.keep_referrers, args.allow_irreversible)


def _go_on(args: argparse.Namespace, settings: Settings, registry: Session, work: Undertaking) -> int:
    """Show the plan, or carry it out; returns the exit code."""
    plan = work.plan
    code = PARTIAL if plan.left_out or (args.strict and plan.kept) else 0
    left = [(one.repository, tag, one.digest) for one in plan.kept if one.reason == LEFT_BEHIND for tag in one.tags]
    for line in left_behind_lines(settings, left):
        note(settings, line)
    seconds = registry.seconds_for(plan)
    is_shown = args.dry_run or args.plan_out or (is_on_terminal() and not args.yes)
    plan = registry.dated(plan) if is_shown else plan
    if getattr(args, "approve", False):
        undo = settings.advised("undo")
        lines = plan_lines(plan, unmatched=work.unmatched, undo=undo, seconds=seconds)
        put_for_approval(args, settings, plan, chain(lines, brake_lines(plan)))
        return code
    if args.dry_run or args.plan_out:
        _show(args, settings, plan, work.unmatched, seconds)
        return code
    return max(code, _execute(args, settings, registry, replace(work, plan=plan, seconds=seconds)))


def _unlisted_lines(plan: Plan, stored: StoredRegistry | None) -> Iterator[str]:
    """Lines about manifests that stay in repositories to be removed: the API does not list them without a tag."""
    if not plan.names_repositories or not plan.steps:
        return
    if stored is None:
        yield "the registry does not list manifests without a tag, so any that exist stay; --storage shows them"
        return
    planned = {(step.repository, step.digest) for step in plan.steps}
    planned |= {(kept.repository, kept.digest) for kept in plan.kept}
    for name in plan.repositories:
        held = stored.repositories.get(name)
        left = sorted(digest for digest in (held.revisions if held else ()) if (name, digest) not in planned)
        if left:
            shown = ", ".join(digest.short for digest in left[:5]) + (" …" if len(left) > 5 else "")
            what = "1 manifest that no tag names stays" if len(left) == 1 else f"{len(left):,} manifests stay untagged"
            yield f"{name}: {what}: {shown}; a policy with `select: {{untagged: true}}` takes them"


def _execute(args: argparse.Namespace, settings: Settings, registry: Session, work: Undertaking) -> int:
    plan = work.plan
    asks = is_on_terminal() and not args.yes
    is_short = width_of(sys.stderr) is not None
    for line in () if asks and plan.steps else kept_lines(plan.kept, is_short=is_short):
        note(settings, line)
    for repository, why in plan.left_out.items():
        sys.stderr.write(f"dregutil: {repository} is left as it is: {why}\n")
    for warning in () if asks else plan.reclaim.warnings:
        sys.stderr.write(f"dregutil: WARNING: {warning}\n")
    if not plan.steps:
        tell_unfinished(settings, registry, work)
        note(settings, "nothing to remove")
        emit(settings, [], [])
        count(settings, "removed digests", 0)
        return 0
    return carry_out(args, settings, registry, work)


def _show(args: argparse.Namespace, settings: Settings, plan: Plan, unmatched: int, seconds: float) -> None:
    if args.plan_out:
        write_plan(Path(args.plan_out), plan)
        write_reasons(args, settings, plan)
        note(settings, f"the plan is in {args.plan_out}, {plan_sum(plan)}; {_apply(args, settings)} carries it out")
    head = f"DRY RUN, nothing is removed · {settings.address.name} · read live just now"
    lines = plan_lines(
        plan,
        unmatched=unmatched,
        undo=settings.advised("undo"),
        seconds=seconds,
        width=width_of(sys.stdout),
    )
    emit(settings, plan_objects(plan), chain([head], lines, brake_lines(plan)))


def _apply(args: argparse.Namespace, settings: Settings) -> str:
    return settings.advised(f"apply {shlex.quote(args.plan_out)}")
