"""A report in parts, which every form of it shows: a line of facts each, and tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta

from dregutil.report.after_cleanup.model import CleanupReport, Count, Removed, State
from dregutil.report.units import duration_text, plural, size_text
from dregutil.select.quantity import age_as_written

__all__ = ["Section", "facts", "headline", "sections"]

_STATES = {
    State.DRY_RUN: "dry run: nothing is removed",
    State.REFUSED: "refused: nothing was removed",
    State.NOT_CARRIED_OUT: "not carried out: nothing was removed",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A table with its title; the columns in `numbers` are aligned to the right. `note` is a line below it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()
    note: str = ""


def headline(report: CleanupReport) -> str:
    """The result in a line: `registry.example.com: removed 12 tags`."""
    number = _tags(report, report.total.removed)
    if report.state in (State.REMOVED, State.PARTLY_FAILED, State.INTERRUPTED):
        how = "" if report.state is State.REMOVED else f"{report.state.value}, "
        return f"{report.registry}: {how}removed {number}"
    if report.is_dry:
        return f"{report.registry}: dry run, {number} would go"
    if report.state is State.NOTHING:
        return f"{report.registry}: nothing to remove"
    return f"{report.registry}: cleanup {_STATES.get(report.state, report.state.value)}"


def facts(report: CleanupReport) -> Iterator[tuple[str, str]]:
    """Names and values, the most important first."""
    yield "Registry", report.registry
    yield "When", f"{report.started.astimezone(UTC):%Y-%m-%d %H:%M} UTC, took {duration_text(report.seconds)}"
    yield "Policy", report.policy_file or "-"
    yield "Result", _STATES.get(report.state, report.state.value)
    if report.why:
        yield "Because", report.why
    total = report.total
    if total.selected:
        verb = "Would go" if report.is_dry else "Removed"
        yield verb, f"{total.removed:,} of {_tags(report, total.selected)} that the policies select"
        if total.removed or report.total.bytes_freed:
            yield "Frees", f"{_amount(report)} when the registry collects its garbage"
        yield "Kept", f"{total.kept:,}"
    if total.gone:
        yield "Already gone", f"{total.gone:,}"
    if report.failures:
        yield "Failures", f"{len(report.failures) + report.more_failures:,}"
    if report.run:
        yield "Run", report.run
    if report.undo:
        yield "To undo it", report.undo


def _tags(report: CleanupReport, number: int) -> str:
    """`3 tags`; with a policy for manifests without a tag, these are among them."""
    if any(one.untagged for one in report.policies):
        return f"{number:,} tags and untagged manifests"
    return plural(number, "tag")


def _amount(report: CleanupReport) -> str:
    size = size_text(report.total.bytes_freed)
    return size if report.is_exact else f"at most {size}"


def sections(report: CleanupReport) -> Iterator[Section]:
    """The tables, without those that would be empty."""
    by = f"label {report.team_label}" if report.team_label else "first part of the repository's name"
    for found in (
        _counts("Policies", "Policy", report.policies, dry=report.is_dry),
        _counts("Teams", "Team", report.teams, dry=report.is_dry, note=f"A team is the {by}."),
        _removed(report),
        Section(
            "What stayed", ("Because", "Tags"), tuple((why, f"{n:,}") for why, n in report.stayed), frozenset((1,))
        ),
        _failures(report),
        _lists(report),
    ):
        if found.rows:
            yield found


def _counts(title: str, noun: str, counts: Sequence[Count], *, dry: bool, note: str = "") -> Section:
    rows = tuple(
        (
            f"{one.name} (untagged)" if one.untagged else one.name or "-",
            *(f"{number:,}" for number in (one.selected, one.removed, one.kept, one.failed)),
            size_text(one.bytes_freed) if one.removed else "-",
        )
        for one in counts
    )
    columns = (noun, "Tags", "Would go" if dry else "Removed", "Kept", "Failed", "Frees")
    return Section(title, columns, rows, frozenset(range(1, 6)), note)


def _removed(report: CleanupReport) -> Section:
    notes = [f"{report.more_removed:,} more are left out."] if report.more_removed else []
    if report.along:
        what = "1 child or referrer" if report.along == 1 else f"{report.along:,} children and referrers"
        notes.append(f"{what} {'go' if report.is_dry else 'went'} with them.")
    rows = tuple(map(_removed_row, report.removed))
    columns = ("Image", "Policy", "Team", "Size", "Because")
    title = "What would go" if report.is_dry else "What was removed"
    return Section(title, columns, rows, frozenset((3,)), " ".join(notes))


def _removed_row(one: Removed) -> tuple[str, ...]:
    return (one.image, one.policy or "-", one.team or "-", size_text(one.size) if one.size else "-", one.because)


def _failures(report: CleanupReport) -> Section:
    rows = tuple((one.what or "the run", one.why) for one in report.failures)
    note = f"{report.more_failures:,} more are left out." if report.more_failures else ""
    return Section("Failures", ("What", "Why"), rows, note=note)


def _lists(report: CleanupReport) -> Section:
    rows = tuple(
        (one.name, age_as_written(timedelta(seconds=one.seconds)), f"{one.images:,}", f"{one.matched:,}")
        for one in report.lists
    )
    return Section("Lists of images in use", ("List", "Age", "Images", "Here"), rows, frozenset((1, 2, 3)))
