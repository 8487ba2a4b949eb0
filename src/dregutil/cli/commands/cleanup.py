"""`cleanup`: judge a registry by a policy, show it, write the plan down, or carry it out."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dregutil.cli.commands.remove import collector_of, plan_live
from dregutil.cli.contents import open_contents, seen_before
from dregutil.cli.execution import Undertaking, carry_out, tell_unfinished
from dregutil.cli.in_use import read_lists, tell_doubts
from dregutil.cli.left_behind import left_behind_lines
from dregutil.cli.output import count, emit, note, plural
from dregutil.cli.policy_warnings import vain_selectors
from dregutil.cli.records import crawl_whole, note_crawl, with_missing
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.retention import (
    Judged,
    held_by_rules,
    judge_registry,
    load_policy,
)
from dregutil.cli.settings import Settings
from dregutil.cli.source import Source, save
from dregutil.cli.storage import storage_code, stored_registry
from dregutil.cli.untagged import find_untagged, tell_left_out
from dregutil.errors import BrakeError, UsageError
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.inventory.untagged import UntaggedManifests
from dregutil.journal.history import RunHistory
from dregutil.journal.last_cleanup import LastCleanup, LastCleanupFile
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository
from dregutil.plan.file import plan_sum, write_plan
from dregutil.plan.model import Plan, RemovalOptions
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
)
from dregutil.report.removal import brake_lines
from dregutil.retention import Decision, PolicySet, Verdict
from dregutil.retention.in_use import ListFile
from dregutil.retention.proposal import (
    PolicySummary,
    RuleSummary,
    limited,
    rule_summaries,
    selection_of,
    summaries,
    surprises,
)
from dregutil.select.quantity import parse_duration
from dregutil.storage.stored import StoredRegistry

__all__ = ["cleanup"]


@dataclass(frozen=True, slots=True)
class _Proposal:
    """What a policy asks for, planned on live repositories."""

    judged: Judged
    rules: tuple[RuleSummary, ...]
    summaries: tuple[PolicySummary, ...]
    plan: Plan
    seconds: float
    last: LastCleanup | None
    left_by_limit: int = 0

    @property
    def refused(self) -> tuple[PolicySummary, ...]:
        return tuple(one for one in self.summaries if one.refused)


def cleanup(args: argparse.Namespace, settings: Settings) -> int:
    with seen_before(settings) as seen:
        return _cleanup(args, settings, seen)


def _cleanup(args: argparse.Namespace, settings: Settings, seen: KnownManifests) -> int:
    started = time.monotonic()
    only_shows = bool(args.dry_run or args.plan_out)
    policies = load_policy(args.policy)
    if not only_shows and not args.yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nobody can be asked here", advice="look with --dry-run; -y removes without asking")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit {args.limit}: no number of tags", advice="a whole number from 1 is meant")
    deadline = None if args.max_time is None else started + parse_duration(args.max_time).total_seconds()
    stored = stored_registry(settings)
    lists = read_lists(policies, Path(args.policy).absolute().parent)
    source = crawl_whole(settings)
    if source.whole:
        save(settings, source.inventory)
    note_crawl(settings, source, must=not only_shows, policy=Path(args.policy))
    indexes = RunHistory(RunStore(settings.state_dir), settings.address.identity).known_indexes()
    known = Known(source.inventory.as_mapping(), indexes, seen)
    if stored is not None:
        known = known.with_indexes_of(stored)
    known = with_missing(settings, source, known)
    untagged = find_untagged(settings, policies, source, known)
    _warn(args, policies, source, untagged)
    known, readings = known.with_untagged(untagged), FreshSurveys()
    proposal = _propose(args, settings, (policies, lists, source, untagged), (known, readings, stored))
    left_out = proposal.plan.left_out or untagged.left_out
    judged = proposal.judged
    for line in left_behind_lines(settings, judged.left_behind):
        note(settings, line)
    partly = bool(
        source.failed or judged.unread or judged.left_behind or left_out or (args.strict and proposal.plan.kept)
    )
    code = max(storage_code(settings), PARTIAL if partly else 0)
    if only_shows:
        _show(args, settings, proposal)
        return max(code, BrakeError.exit_code) if proposal.refused and not args.plan_out else code
    work = Undertaking(
        proposal.plan,
        source.inventory,
        source.whole,
        known,
        readings,
        seconds=proposal.seconds,
        deadline=deadline,
        shown=(*_named(args, proposal), *_lines(args, settings, proposal)),
    )
    code = max(code, _carry_out(args, settings, proposal, work))
    _remember(settings, args, proposal)
    return code


def _warn(args: argparse.Namespace, policies: PolicySet, source: Source, untagged: UntaggedManifests) -> None:
    tell_left_out(untagged)
    for vain in () if source.failed else vain_selectors(policies, source.inventory, untagged):
        sys.stderr.write(f"dregutil: warning: {vain.shown(args.policy)}\n")


def _propose(
    args: argparse.Namespace,
    settings: Settings,
    wanted: tuple[PolicySet, Sequence[ListFile], Source, UntaggedManifests],
    live: tuple[Known, FreshSurveys, StoredRegistry | None],
) -> _Proposal:
    """Judge, and plan what goes; nothing is changed."""
    policies, lists, source, untagged = wanted
    known, readings, stored = live
    with open_contents(settings) as database:
        judged = judge_registry(settings, database, policies, lists, source, untagged, policy=Path(args.policy))
        rules = rule_summaries(judged.judgement, held_by_rules(database, judged.judgement)) if args.details else ()
    options = RemovalOptions(
        any(policy.untag for policy in policies.policies),
        args.keep_children,
        args.keep_referrers,
        args.allow_irreversible,
    )

    def make(going: Sequence[Verdict]) -> tuple[Plan, float]:
        selection = selection_of(policies, going)
        return plan_live(settings, selection, source.inventory, options, known, readings, stored, collector_of(args))

    going = limited(judged.judgement, args.limit)
    plan, seconds = make(going)
    everything = tuple(judged.judgement.removed())
    if len(going) < len(everything) and _held(going, plan):
        # What is held would stand in the way of the rest, night after night.
        going = limited(judged.judgement, args.limit, _held(everything, make(everything)[0]))
        plan, seconds = make(going)
    last = _last_run(settings, args).read()
    left = len(everything) - len(going)
    return _Proposal(judged, rules, summaries(policies, judged.judgement, going), plan, seconds, last, left)


def _held(going: Iterable[Verdict], plan: Plan) -> Set[tuple[Repository, Digest]]:
    """The images of which a plan that was made for them takes nothing."""
    taken = {(step.repository, step.digest) for step in plan.steps}
    return {(verdict.repository, verdict.facts.digest) for verdict in going} - taken


def _last_run(settings: Settings, args: argparse.Namespace) -> LastCleanupFile:
    return LastCleanupFile(settings.state_dir, settings.address.identity, Path(args.policy))


def _asks(args: argparse.Namespace, proposal: _Proposal) -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty() and not args.yes and bool(proposal.plan.steps)


def _named(args: argparse.Namespace, proposal: _Proposal) -> list[str]:
    """The tags that go, for whoever is asked about them and has not seen all rows."""
    if args.details or proposal.refused or not _asks(args, proposal):
        return []
    return [*going_lines(proposal.judged.judgement, proposal.plan), ""]


def _carry_out(args: argparse.Namespace, settings: Settings, proposal: _Proposal, work: Undertaking) -> int:
    if proposal.refused or not _asks(args, proposal):
        for line in work.shown:
            note(settings, line)
    if proposal.refused:
        named = ", ".join(f"{one.name} ({one.taken})" for one in proposal.refused)
        raise BrakeError(
            f"more than max_remove would go: {named}; nothing was removed",
            advice="look with --dry-run; if it is meant, review --plan-out FILE and `dregutil apply FILE`",
        )
    if not work.plan.steps:
        tell_unfinished(settings, RunStore(settings.state_dir), work)
        note(settings, "nothing to remove")
        count(settings, "removed digests", 0)
        return 0
    if work.is_over:
        note(settings, "the time is over before anything was removed")
        return 0
    return carry_out(args, settings, work)


def _show(args: argparse.Namespace, settings: Settings, proposal: _Proposal) -> None:
    if args.plan_out:
        write_plan(Path(args.plan_out), proposal.plan)
        apply = settings.advised(f"apply {shlex.quote(args.plan_out)}")
        note(settings, f"the plan is in {args.plan_out}, {plan_sum(proposal.plan)}; {apply} carries it out")
    head = f"DRY RUN, nothing is removed · {settings.address.name} · read live just now"
    if args.details:
        objects: Sequence[dict[str, object]] = detail_objects(proposal.judged.judgement)
    else:
        objects = policy_objects(proposal.summaries, freed_by_policy(proposal.plan), proposal.last)
    if settings.format != "text":
        tell_doubts(proposal.judged.lists)
    wanted = brake_lines(proposal.plan) if args.plan_out or not proposal.refused else ()
    emit(settings, objects, [head, *_lines(args, settings, proposal), *wanted])


def _lines(args: argparse.Namespace, settings: Settings, proposal: _Proposal) -> list[str]:
    if settings.format != "text" and (args.dry_run or args.plan_out):
        return []
    judgement = proposal.judged.judgement
    found = [*detail_lines(judgement), ""] if args.details else []
    found += policy_lines(proposal.summaries, freed_by_policy(proposal.plan), proposal.last)
    others = sum(not verdict.policy and verdict.decision is Decision.KEEP for verdict in judgement)
    if others:
        found.append(f"selected by no policy, and kept: {plural(others, 'tag')}")
    followers = sum(verdict.decision is Decision.FOLLOW for verdict in judgement)
    if followers:
        found.append(f"signatures and the like, which go with what they are about: {plural(followers, 'tag')}")
    if args.details:
        found += ["", *rule_lines(proposal.rules), ""]
    found += list_lines(proposal.judged.lists, details=args.details)
    if proposal.judged.source.failed:
        number = plural(len(proposal.judged.source.failed), "repository")
        names = ", ".join(sorted(proposal.judged.source.failed)[:5])
        found.append(f"not read, and left as they are: {number} ({names})")
    if proposal.judged.unread:
        found.append(f"not read, and kept: the tags on {len(proposal.judged.unread):,} digests")
    held = sum(verdict.is_held for verdict in judgement)
    refused = () if args.plan_out else proposal.refused
    undo = settings.advised("undo")
    if proposal.left_by_limit:
        found.append(f"--limit {args.limit} leaves {plural(proposal.left_by_limit, 'tag')} for later runs")
        if not proposal.plan.steps:
            found.append("  none of the images that go fits in it, or all are held: a higher --limit takes more")
    found += plan_end_lines(proposal.plan, surprises(judgement), held, proposal.seconds, refused, undo=undo)
    return found


def _remember(settings: Settings, args: argparse.Namespace, proposal: _Proposal) -> None:
    file = _last_run(settings, args)
    selected = {one.name: one.selected for one in proposal.summaries}
    removed = {one.name: one.removed for one in proposal.summaries}
    try:
        file.write(datetime.now(UTC), selected, removed)
    except OSError as error:
        sys.stderr.write(f"dregutil: warning: {file.path} was not written: {error.strerror or error}\n")
