"""`serve`: pages about a registry, until it is ended."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil import __version__
from dregutil.cli.address import is_loopback, listening_address
from dregutil.cli.passed_on import global_options
from dregutil.cli.recorded import Recorded, recorded
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.journal.actor import user_name
from dregutil.journal.policy_file import load_policy
from dregutil.plan.approval import one_person
from dregutil.select.quantity import parse_duration
from dregutil.serve.app import run
from dregutil.serve.files import ServeFolder
from dregutil.serve.model import Job
from dregutil.serve.people import Person, Role, Roles
from dregutil.serve.program import Program
from dregutil.serve.site import Asked, Options

if TYPE_CHECKING:
    from dregutil.serve.team import Team

__all__ = ["serve"]

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HEADER = re.compile(r"[A-Za-z0-9-]+")


def serve(args: argparse.Namespace, settings: Settings) -> int:
    options = _options(args)
    address = settings.address
    if settings.repositories_from == "-":
        raise UsageError("standard input is read once, and serve reads the registry again", advice="name a file")

    if settings.policy is not None:
        load_policy(settings.policy)  # its mistakes are said now, not by each job

    def shown(words: Sequence[str]) -> str:
        return settings.advised(shlex.join(words)).strip("`")

    asked = Asked(
        registry=address.name,
        identity=address.identity,
        program=f"dregutil {__version__}",
        command=f"dregutil {settings.command}",
        policy=None if settings.policy is None else str(settings.policy),
    )
    program = Program(global_options(args), _environment(settings), shown)
    with recorded(settings) as records:
        team = _team(records, address.identity)
        folder = _folder(settings.state_dir, address.identity, records, team)
        run(options, asked, program, folder, settings.cache, _tell, _tell_waiting, _Failures().tell, team)
    return 0


def _team(records: Recorded, identity: str) -> Team | None:
    """The store that the server is a face of; None without one."""
    if records.database is None:
        return None
    from dregutil.serve.team import Team

    return Team(records.folder, records.database, identity)


def _folder(state: Path, identity: str, records: Recorded, team: Team | None) -> ServeFolder:
    """What the server keeps and reads: of a store, what this machine has a copy of."""
    if team is None:
        return ServeFolder(state, identity, records.runs, records.facts(identity))
    from dregutil.serve.team import TeamRuns

    return ServeFolder(state, identity, TeamRuns(team), replace(records, database=team.database).facts(identity))


def _tell(address: str) -> None:
    if "?token=" in address:
        sys.stderr.write(f"open {address}\n  the address works once; Ctrl-C ends the server\n")
    else:
        sys.stderr.write(f"listening on {address}\n  the proxy leads there; Ctrl-C ends the server\n")
    sys.stderr.flush()


class _Failures:
    """Says on one line that a job failed; the same is not said again before it went well."""

    def __init__(self) -> None:
        self._said: dict[str, str | None] = {}

    def tell(self, job: Job) -> None:
        if job.state == "done":
            self._said.pop(job.kind, None)
        if job.state != "failed" or job.kind == "why" or self._said.get(job.kind, "") == job.message:
            return
        self._said[job.kind] = job.message
        sys.stderr.write(f"dregutil: {job.kind} failed: {job.message or 'it did not say why'}\n")
        sys.stderr.flush()


def _tell_waiting() -> None:
    sys.stderr.write("the run in progress is interrupted, as Ctrl-C would; waiting until it has ended in good order\n")
    sys.stderr.flush()


def _environment(settings: Settings) -> dict[str, str]:
    """That of this process, with the password that was given or asked for: no command line ever has it."""
    if isinstance(settings.password, str):
        return {**os.environ, "REGISTRY_PASSWORD": settings.password}
    return dict(os.environ)


def _options(args: argparse.Namespace) -> Options:
    """Raises UsageError."""
    host, port = listening_address(args.addr, "127.0.0.1:8090")
    names = {Role.VIEWER: args.viewer, Role.PLANNER: args.planner, Role.APPROVER: args.approver}
    _check_proxy(args, host, has_roles=any(names.values()))
    return Options(
        host=host,
        port=port,
        owner=Person(user_name(), Role.APPROVER),
        hosts=tuple(_host(text) for text in args.host),
        user_header=args.user_header,
        trusted=tuple(_network(text) for text in args.trusted_proxy),
        roles=Roles(names),
        approvals=args.approvals,
        refresh_every=0.0 if args.refresh_every == "0" else parse_duration(args.refresh_every).total_seconds(),
    )


def _check_proxy(args: argparse.Namespace, host: str, *, has_roles: bool) -> None:
    if args.approvals < 1:
        raise UsageError(f"--approvals {args.approvals}: at least one person approves a plan")
    if args.user_header is None:
        if not is_loopback(host):
            raise UsageError(
                f"--addr {args.addr}: others could reach this, and it could not tell who asks",
                advice="put a proxy with logins before it: --user-header and --trusted-proxy; or listen on 127.0.0.1",
            )
        if args.trusted_proxy or has_roles or args.approvals > 1:
            raise UsageError(
                "without --user-header there is one person, with all roles",
                advice="name the header in which the proxy says who asks",
            )
        return
    if not _HEADER.fullmatch(args.user_header):
        raise UsageError(f"--user-header {args.user_header}: not the name of a header")
    if not args.trusted_proxy:
        raise UsageError(
            "--user-header is believed from the proxy alone", advice="name its address with --trusted-proxy"
        )
    if not has_roles:
        raise UsageError("nobody may look at anything", advice="give roles: --viewer '*' --approver NAME")
    people = {one_person(name) for name in args.approver}
    if args.approvals > 1 and "*" not in people and len(people) < args.approvals:
        raise UsageError(
            f"--approvals {args.approvals} is never reached: --approver names {_people(len(people))}",
            advice="name more approvers; one more than that if approvers make plans",
        )


def _host(text: str) -> str:
    """A name as browsers ask for it. Raises UsageError for one with a port or a path, which would never match."""
    name = text.removeprefix("[").removesuffix("]")
    if not _NAME.fullmatch(name) and not _is_address(name):
        raise UsageError(f"--host {text}: not a name", advice="give it without a port, such as registry.example.com")
    return name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise UsageError(
            f"--trusted-proxy {text}: not an address", advice="such as 127.0.0.1 or 10.1.0.0/16"
        ) from error


def _people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"
