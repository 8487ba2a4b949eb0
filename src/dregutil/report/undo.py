"""An undo, as lines and as objects: what cannot come back, what was left or failed, what was put back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.apply.clearing import UNCLEAR_ADVICE, unclear_text
from dregutil.apply.undo.plan import UndoEntry, UndoPlan
from dregutil.apply.undo.run import UndoResult, UndoRun
from dregutil.report.plan_table import tags_text
from dregutil.report.text import column_lines

__all__ = ["entry_lines", "entry_object", "plan_problem_lines", "run_problem_lines"]

_MOST_LISTED = 3  # of one kind; with more, the first is shown, and their number


def plan_problem_lines(plan: UndoPlan, *, details: bool) -> Iterator[str]:
    """What of a plan cannot come back or could not be read, and tags that are left alone. Without `details`, one line
    stands for many."""
    lost = [(entry, entry.lost) for entry in plan.entries if entry.lost]
    unread = [(entry, entry.unread) for entry in plan.entries if entry.unread and not entry.lost]
    yield from _lines("cannot come back", lost, details=details)
    yield from _lines("left, to be tried again", unread, details=details)
    for entry in plan.entries:
        for tag in entry.moved:
            yield f"left alone: {entry.repository}:{tag} points to another digest now"


def run_problem_lines(result: UndoRun, *, details: bool) -> Iterator[str]:
    """What an undo could not put back after all, and what it found on the way."""
    for kind in (UndoResult.LOST, UndoResult.FAILED):
        found = [(entry, why) for entry, what, why in result.entries if what == kind and not entry.lost]
        yield from _lines(kind, found, details=details, named=False)
    for repository, tag in result.moved:
        yield f"left alone: {repository}:{tag} points to another digest now"
    for repository, tag, digest in result.repaired:
        yield f"{repository}:{tag} was copied from a tag of the interrupted run, and names {digest.short} now"
    for repository, tag, candidates in result.unclear:
        yield unclear_text(repository, tag, candidates)
    if result.unclear:
        yield UNCLEAR_ADVICE


def entry_object(entry: UndoEntry, result: str) -> dict[str, object]:
    return {
        "repository": entry.repository,
        "digest": entry.manifest.digest,
        "tags": list(entry.tags),
        "result": result,
    }


def entry_lines(entries: Sequence[UndoEntry], *, width: int | None = None) -> list[str]:
    """A line for each manifest. `width`: that of the terminal; digests are then short."""
    rows = [
        (
            entry.repository,
            entry.manifest.digest,
            tags_text(entry.tags, is_short=width is not None) if entry.tags else "",
        )
        for entry in entries
    ]
    return [line.rstrip() for line in column_lines(rows, width=width)] if rows else []


def _lines(what: str, found: Sequence[tuple[UndoEntry, str]], *, details: bool, named: bool = True) -> Iterator[str]:
    texts = (f"{_name(entry, named=named)}: {why}" for entry, why in found)
    if details or len(found) <= _MOST_LISTED:
        yield from (f"{what}: {text}" for text in texts)
        return
    tags = sum(len(entry.tags) for entry, _ in found)
    number = f"{len(found):,} manifests" + (f" ({tags:,} tag{'s' if tags > 1 else ''})" if tags else "")
    yield f"{what}: {number}; --details lists them, the first is {next(texts)}"


def _name(entry: UndoEntry, *, named: bool) -> str:
    name = f"{entry.repository} {entry.manifest.digest.short}"
    return f"{name} ({', '.join(entry.tags) or 'no tags'})" if named else name
