"""`--reasons-out`: a plan that is saved, with what goes and what stays and why, as JSON: the `plan` of a report."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.files import write_named

if TYPE_CHECKING:
    from dregutil.pages.plan import PlanFound
    from dregutil.plan.cleanup import Proposal
    from dregutil.plan.model import Plan
    from dregutil.session.sync import Session

__all__ = ["check_reasons", "policy_reasons", "write_policy_reasons", "write_reasons"]


def check_reasons(args: argparse.Namespace) -> None:
    """Raises UsageError for `--reasons-out` without `--plan-out`."""
    if args.reasons_out and not args.plan_out:
        raise UsageError("--reasons-out belongs to --plan-out", advice="name a file for the plan, too")


def write_reasons(args: argparse.Namespace, settings: Settings, plan: Plan) -> None:
    """Write the reasons of a plan, if the command line names a file for them. Raises UsageError."""
    if args.reasons_out:
        from dregutil.pages.plan import PlanFound

        _write(args, PlanFound(args.plan_out, is_file=True, plan=plan, command=_command(args, settings)))


def write_policy_reasons(args: argparse.Namespace, settings: Settings, registry: Session, proposal: Proposal) -> None:
    """As `write_reasons`, with what the policies keep, and the difference from the last run by this policy."""
    if args.reasons_out:
        _write(args, _of_policy(settings, registry, proposal, _command(args, settings)))


def policy_reasons(settings: Settings, registry: Session, proposal: Proposal) -> bytes:
    """What `--reasons-out` writes, for a store."""
    return _encoded(_of_policy(settings, registry, proposal, ""))


def _of_policy(settings: Settings, registry: Session, proposal: Proposal, command: str) -> PlanFound:
    from dregutil.pages.plan import PlanFound

    compared, left = registry.last_removal(None if proposal.path is None else str(proposal.path))
    refused = ", ".join(f"{one.name} ({one.taken})" for one in proposal.refused)
    return PlanFound(
        str(settings.policy),
        is_file=False,
        plan=proposal.plan,
        refused=f"more than max_remove would go: {refused}" if refused else "",
        command=command,
        judgement=proposal.judged.judgement,
        compared=compared,
        compared_left=left,
    )


def _write(args: argparse.Namespace, found: PlanFound) -> None:
    write_named(Path(args.reasons_out), [_encoded(found), b"\n"], "the reasons")


def _encoded(found: PlanFound) -> bytes:
    from dregutil.pages.limits import Limits
    from dregutil.pages.page import encoded
    from dregutil.pages.plan import plan_part

    return encoded(plan_part(found, Limits())).encode()


def _command(args: argparse.Namespace, settings: Settings) -> str:
    return settings.advised(f"apply {shlex.quote(args.plan_out)}").strip("`")
