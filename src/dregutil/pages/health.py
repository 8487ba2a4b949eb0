"""What is wrong with a registry → the part of a report about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from dregutil.inventory.health.storage import Finding, Flaw
from dregutil.oci.names import Digest, Repository
from dregutil.pages import model
from dregutil.pages.label import label
from dregutil.pages.limits import Limits
from dregutil.pages.week import Command
from dregutil.session.results import Overview

__all__ = ["Checked", "findings", "health_part"]

# An image cannot be pulled whole. The others concern signatures and the collector.
_BROKEN = (Flaw.MISSING_CHILD, Flaw.DANGLING_TAG, Flaw.UNREADABLE, Flaw.LEFT_BEHIND, Flaw.MISSING_BLOB)


@dataclass(frozen=True, slots=True)
class Checked:
    """What doctor's check found. `by`: what it read; `command` is the one that shows it again."""

    by: Literal["registry", "storage"]
    findings: Sequence[Finding]
    command: str = "doctor"


def findings(found: Overview, checked: Checked | None, command: Command) -> list[model.Finding]:
    """What the records and the reading show, and what doctor's check found: what is broken first."""
    rows = [*_of_records(found, command, is_checked=checked is not None)]
    if checked is not None:
        again = command(checked.command)
        for one in checked.findings:
            if one.flaw is not Flaw.LEFT_BEHIND:  # the records know more of these
                what = f"{one.repository}  {one.what}".strip()
                rows.append(_finding(one.flaw.value, what, again, is_broken=one.flaw in _BROKEN))
    return sorted(rows, key=lambda one: not one.broken)


def health_part(rows: Sequence[model.Finding], checked: Checked | None, limits: Limits) -> model.Health:
    """As many of the findings as `limits` allow."""
    return model.Health(
        checked="records" if checked is None else checked.by,
        findings=[*rows[: limits.findings]],
        left_out=len(rows[limits.findings :]),
    )


def _of_records(found: Overview, command: Command, *, is_checked: bool) -> Iterator[model.Finding]:
    for header, how in found.interrupted:
        yield _finding("unfinished run", f"{header.run} did not end", command(how))
    for repository, tag, run in found.left_behind:
        text = f"{repository}:{tag} is on a placeholder of an interrupted run"
        how = f"apply --resume {run}" if run else "history"
        yield _finding(Flaw.LEFT_BEHIND.value, text, command(how), is_broken=True)
    if is_checked:
        return
    for name, error in sorted(found.source.failed.items()):
        yield _finding("not read", f"{name}: {error.message}", command("doctor"))
    places = _places(found)
    for digest, error in sorted(found.unreadable.items()):
        where = f"{places[digest]}@{digest.short}" if digest in places else digest.short
        yield _finding("not read", f"{where}: {error.message}", command("doctor"))


def _places(found: Overview) -> dict[Digest, Repository]:
    """A repository that has a tag on each digest that could not be read."""
    if not found.unreadable:
        return {}
    held = found.source.shown.holders_of([*found.unreadable])
    return {digest: holders[0][0] for digest, holders in held.items()}


def _finding(check: str, what: str, command: str, *, is_broken: bool = False) -> model.Finding:
    return model.Finding(check=check, found=label(what), broken=is_broken, command=command)
