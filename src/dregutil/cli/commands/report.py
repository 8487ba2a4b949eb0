"""`report`: one file about a registry: this week, where the bytes are, a plan with its reasons, health."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dregutil import __version__
from dregutil.cli.opened import opened
from dregutil.cli.output import note
from dregutil.cli.policies import chosen_policy
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.cli.storage import read_stored, storage_code
from dregutil.errors import RefusedError, UsageError
from dregutil.files import write_named
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.pages.bundle_files import bundle
from dregutil.pages.health import Checked
from dregutil.pages.limits import Limits
from dregutil.pages.make import Found, report_of
from dregutil.pages.markdown import markdown
from dregutil.pages.page import encoded, fitted
from dregutil.pages.plan import PlanFound
from dregutil.pages.week import ListSeen
from dregutil.plan.cleanup import Proposal
from dregutil.plan.file import read_plan
from dregutil.plan.model import Plan
from dregutil.report.terminal import write_data
from dregutil.retention.policy import InUseList
from dregutil.session.results import Overview
from dregutil.session.sync import Session
from dregutil.storage.stored import StoredRegistry

__all__ = ["report"]

_FORMS = ("html", "md", "json")
_SUFFIXES = {".md": "md", ".markdown": "md", ".json": "json"}


def report(args: argparse.Namespace, settings: Settings) -> int:
    form = _form(args)
    if args.plan is not None and args.policy is not None:
        raise UsageError("--plan and -f are two plans", advice="give one of them")
    if args.no_plan and (args.plan is not None or args.policy is not None):
        raise UsageError("--no-plan, and a plan", advice="give one of them")
    with opened(settings) as registry:
        stored = read_stored(registry, settings)
        made = _planned(args, settings, registry)
        overview = registry.overview(since=args.since, policy=made.policy, source=made.source)
        checked = _checked(registry, settings, stored) if args.check else None
        found = Found(
            program=f"dregutil {__version__}",
            registry=settings.address.name,
            command=f"dregutil {settings.command}",
            overview=overview,
            plan=made.compared(overview),
            checked=checked,
            lists=made.lists,
            advised=lambda command: settings.advised(command).strip("`"),
        )
        text = _rendered(found, form)
    _write(args, settings, text)
    is_partial = not overview.is_read or bool(checked is not None and checked.findings) or made.is_refused
    return max(storage_code(stored), PARTIAL if is_partial else 0)


def _form(args: argparse.Namespace) -> str:
    """The form of the report: that of --format, else that of the file's name. Raises UsageError."""
    named = args.format if "format" in args else None
    form = named or _SUFFIXES.get(Path(args.out).suffix, "html")
    if form not in _FORMS:
        raise UsageError(f"--format {form}: a report is html, md or json")
    if args.out == "-" and form == "html" and sys.stdout.isatty():
        raise UsageError("a page is not for a terminal", advice="name a file: -o report.html, or take --format md")
    if args.out != "-" and not Path(args.out).absolute().parent.is_dir():
        raise UsageError(f"-o {args.out}: there is no folder {Path(args.out).parent}")
    return form


@dataclass(frozen=True, slots=True)
class _Planned:
    """The plan of a report, what was read for it, and the file of its policy."""

    found: PlanFound | None = None
    source: CrawlResult | None = None
    lists: Sequence[ListSeen] = ()
    policy: str | None = None

    @property
    def is_refused(self) -> bool:
        return self.found is not None and bool(self.found.refused)

    def compared(self, overview: Overview) -> PlanFound | None:
        """The plan with the run that it is compared with."""
        if self.found is None:
            return None
        return replace(self.found, compared=overview.compared, compared_left=overview.compared_left)


def _planned(args: argparse.Namespace, settings: Settings, registry: Session) -> _Planned:
    if args.plan is not None:
        plan, _ = read_plan(Path(args.plan))
        registry.check_is_own(plan.registry, "plan")
        command = settings.advised(f"apply {shlex.quote(args.plan)}").strip("`")
        policy = None if plan.policy is None else plan.policy.file
        return _Planned(PlanFound(args.plan, is_file=True, plan=plan, command=command), None, _lists_of(plan), policy)
    if settings.policy is None or args.no_plan:
        return _Planned()
    chosen = chosen_policy(settings)
    name = str(settings.policy)
    try:
        proposal = registry.plan_cleanup(chosen.policies, file=chosen.file, only_shown=True)
    except RefusedError as error:
        return _Planned(PlanFound(name, is_file=False, refused=error.message), policy=name)
    return _proposed(settings, name, proposal)


def _proposed(settings: Settings, name: str, proposal: Proposal) -> _Planned:
    refused = ", ".join(f"{one.name} ({one.taken})" for one in proposal.refused)
    judged = proposal.judged
    found = PlanFound(
        name,
        is_file=False,
        plan=proposal.plan,
        refused=f"more than max_remove would go: {refused}" if refused else "",
        command=settings.advised(f"cleanup -f {shlex.quote(name)}").strip("`"),
        judgement=judged.judgement,
    )
    lists = [
        ListSeen(one.name, one.age.total_seconds(), _max_age(proposal, one.name), one.images, one.matched)
        for one in judged.lists
    ]
    return _Planned(found, judged.source, lists, name)


def _max_age(proposal: Proposal, name: str) -> float | None:
    ages = {one.file: one.max_age for one in proposal.judged.policies.protect.in_use if isinstance(one, InUseList)}
    found = ages.get(name)
    return None if found is None else found.total_seconds()


def _lists_of(plan: Plan) -> list[ListSeen]:
    """The lists that protected images when a plan was made, with their age now."""
    if plan.policy is None:
        return []
    since = (datetime.now(UTC) - plan.made_at).total_seconds()
    return [ListSeen(name, age + since) for name, age in plan.policy.lists]


def _checked(registry: Session, settings: Settings, stored: StoredRegistry | None) -> Checked:
    if stored is not None:
        command = f"doctor --storage {shlex.quote(settings.storage or '')}"
        return Checked("storage", registry.check_storage().findings, command)
    return Checked("registry", registry.check().findings)


def _rendered(found: Found, form: str) -> str:
    if form == "html":
        script, style = bundle()
        return fitted(lambda limits: report_of(found, limits), script, style)
    document = report_of(found, Limits())
    return markdown(document) if form == "md" else f"[\n{encoded(document)}\n]\n"


def _write(args: argparse.Namespace, settings: Settings, text: str) -> None:
    if args.out == "-":
        write_data(sys.stdout, text)
        return
    write_named(Path(args.out), [text.encode()], "the report")
    note(settings, f"the report is in {args.out}")
