"""`remove-repos` and `remove-tags`: select, plan, show, ask, apply."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from dregutil.apply import Outcome, Result, RunResult, apply_plan
from dregutil.cli.connection import connect_options
from dregutil.cli.output import count, emit, note
from dregutil.cli.query import select
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.cli.source import Source
from dregutil.errors import DregutilError
from dregutil.inventory import Inventory
from dregutil.plan import Plan, RemovalOptions
from dregutil.registry import connect, connect_writable
from dregutil.removal import plan_removal
from dregutil.report.removal import kept_lines, left_lines, plan_lines, plan_objects, removed_steps, summary_lines
from dregutil.report.text import pair_lines
from dregutil.selection import Selection

__all__ = ["remove_repos", "remove_tags"]

_INTERRUPTED = 130


def remove_repos(args: argparse.Namespace, settings: Settings) -> int:
    return _remove(args, settings)


def remove_tags(args: argparse.Namespace, settings: Settings) -> int:
    return _remove(args, settings)


def _remove(args: argparse.Namespace, settings: Settings) -> int:
    source, selection, code = select(args, settings)
    options = RemovalOptions(args.untag, args.keep_children, args.keep_referrers, args.allow_irreversible)
    plan = _plan(settings, source.inventory, selection, options)
    code = max(code, PARTIAL if plan.left_out else 0, PARTIAL if args.strict and plan.kept else 0)
    if args.dry_run:
        _show(settings, plan, selection)
        return code
    for line in kept_lines(plan.kept):
        note(settings, line)
    for repository, why in plan.left_out.items():
        sys.stderr.write(f"dregutil: {repository} is left as it is: {why}\n")
    if not plan.steps:
        note(settings, "nothing to remove")
        count(settings, "removed digests", 0)
        return code
    if not args.yes and not _agreed(plan, selection):
        note(settings, "nothing was removed")
        return code
    result = _apply(settings, plan, source.inventory)
    return max(code, _report(args, settings, source, plan, result))


def _plan(settings: Settings, inventory: Inventory, selection: Selection, options: RemovalOptions) -> Plan:
    """Made with a client that can only read."""

    async def make() -> Plan:
        async with connect(settings.address, connect_options(settings)) as registry:
            return await plan_removal(registry, selection, inventory, options, command=shlex.join(sys.argv[1:]))

    return asyncio.run(make())


def _show(settings: Settings, plan: Plan, selection: Selection) -> None:
    lines = [f"DRY RUN, nothing is removed · {settings.address.name} · read live just now"]
    emit(settings, plan_objects(plan), [*lines, *plan_lines(plan, unmatched=selection.unmatched)])


def _agreed(plan: Plan, selection: Selection) -> bool:
    """Asked on a terminal only, as the older tool's scripts expect."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    sys.stderr.writelines(f"{line}\n" for line in plan_lines(plan, unmatched=selection.unmatched))
    sys.stderr.write("Remove them? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _apply(settings: Settings, plan: Plan, inventory: Inventory) -> RunResult:
    async def carry_out() -> RunResult:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end_early() -> None:
            # The first Ctrl-C lets the requests in flight end; a second one ends the process as it always does.
            stop.set()
            loop.remove_signal_handler(signal.SIGINT)

        with suppress(NotImplementedError, RuntimeError):
            loop.add_signal_handler(signal.SIGINT, end_early)
        async with connect_writable(settings.address, connect_options(settings)) as registry:
            return await apply_plan(
                registry,
                plan,
                known_tags=inventory.as_mapping(),
                on_outcome=_progress(settings, len(plan.steps)),
                stop=stop,
            )

    return asyncio.run(carry_out())


def _progress(settings: Settings, number: int) -> Callable[[Outcome], None]:
    done: set[int] = set()
    show = sys.stderr.isatty() and not settings.quiet

    def update(outcome: Outcome) -> None:
        done.add(outcome.step.number)
        if show:
            end = "\r\x1b[K" if len(done) == number else ""
            sys.stderr.write(f"\r\x1b[K{len(done):,} of {number:,} steps{end}")
            sys.stderr.flush()

    return update


def _report(args: argparse.Namespace, settings: Settings, source: Source, plan: Plan, result: RunResult) -> int:
    _record(settings, source, result)
    for line in (*left_lines(result), *summary_lines(plan, result)):
        note(settings, line)
    removed = removed_steps(result)
    objects: list[dict[str, object]] = [
        {"repository": step.repository, "digest": step.digest, "tags": list(step.tags), "other_tags": []}
        for step in removed
    ]
    emit(settings, objects, pair_lines([(step.repository, step.digest) for step in removed]))
    count(settings, "removed digests", len(removed))
    return _exit_code(args, result)


def _exit_code(args: argparse.Namespace, result: RunResult) -> int:
    done = result.of(Result.REMOVED) or result.of(Result.GONE)
    if result.error is not None:
        if done:
            sys.stderr.write(f"dregutil: {result.error.message}\n")
            return PARTIAL
        raise result.error
    if any(outcome.why.startswith("not tried") for outcome in result.outcomes):
        return _INTERRUPTED
    if result.of(Result.FAILED):
        return PARTIAL if done else 1
    return PARTIAL if args.strict and result.of(Result.LEFT) else 0


def _record(settings: Settings, source: Source, result: RunResult) -> None:
    """Bring the cache up to date with what was read at the end; only where it was whole before."""
    if settings.cache is None or not result.tags_after or not source.whole:
        return
    try:
        with settings.cache.lock():
            current = settings.cache.read()
            if current is None:
                return
            for repository, tags in result.tags_after.items():
                current.replace(repository, tags)
            settings.cache.write(current)
    except (OSError, DregutilError) as error:
        why = getattr(error, "strerror", None) or error
        sys.stderr.write(f"dregutil: warning: the cache file {settings.cache.path} was not written: {why}\n")
