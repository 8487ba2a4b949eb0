"""The rows of a plan: what is removed with what goes along below it, what stays, and each repository in a line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dregutil.oci.names import Repository, Tag, parse_signature_tag
from dregutil.plan.along import along_of, freed_with
from dregutil.plan.model import Action, Kept, Plan, Step, StepKind
from dregutil.report.layout import Column, table_lines
from dregutil.report.text import short_tag
from dregutil.report.units import size_text
from dregutil.select.version import tag_order

__all__ = ["in_version_order", "kept_lines", "repository_lines", "step_lines", "tags_text"]

_MOST_TAGS = 6  # tags named in a cell
_MOST_REPOSITORIES = 20  # lines of the summary
_COLUMNS = (
    Column(""),
    Column("DIGEST"),
    Column("TAGS", cut="middle", least=12),
    Column("WHAT", cut="end", least=11),
    Column("CREATED"),
    Column("SIZE", right=True),
    Column("FREES", right=True),
    Column("BECAUSE", cut="end", least=12),
)


def step_lines(plan: Plan, *, width: int | None, most: int | None = None) -> Iterator[str]:
    """A row for each selected digest, by repository and in version order, with what goes along below it. The bytes that
    a row frees include those of the rows below.

    `width`: that of the terminal; digests and signature tags are then short, and what does not fit is cut. `most`: the
    selected digests to show, the first of each repository in turn; a line says how many more there are.
    """
    rows = _Rows(plan, is_short=width is not None)
    left = most
    several = len(rows.repositories) > 1
    columns = [column for column in _COLUMNS if column.title != "BECAUSE" or rows.have_reasons]
    for repository in rows.repositories:
        if left == 0:
            break
        if several:
            yield repository
        found, shown = rows.of(repository, left)
        left = None if left is None else left - shown
        yield from table_lines(columns, [row[: len(columns)] for row in found], width=width)
    if most is not None and rows.number > most:
        yield f"… and {rows.number - most:,} more: --details"


def kept_lines(
    kept: Iterable[Kept], *, is_short: bool = False, with_repository: bool = True, tags_width: int = 0
) -> Iterator[str]:
    """A line for each digest that was selected but stays."""
    for entry in sorted(kept, key=lambda one: (one.repository, in_version_order(one.tags))):
        name = f"{entry.repository}  " if with_repository else ""
        hint = f" (--untag drops {tags_text(entry.tags)} alone)" if entry.reason.startswith("also ") else ""
        digest = entry.digest.hex[:12] if is_short else entry.digest
        tags = tags_text(entry.tags, is_short=is_short)
        yield f"KEEP    {name}{digest}  {tags:{tags_width}}  {entry.reason}{hint}"


def repository_lines(plan: Plan, *, width: int | None) -> Iterator[str]:
    """A line for each repository: how many of its tags go, how many were held back, what it frees; those that free
    the most first. None if there is one repository only."""
    found = {name: _Summary(name) for name in (*plan.by_repository, *(one.repository for one in plan.kept))}
    if len(found) < 2:
        return
    for step in plan.steps:
        one = found[step.repository]
        one.tags += len(step.tags)
        one.untagged += step.is_untagged
        one.frees += step.frees
    for kept in plan.kept:
        found[kept.repository].held += max(len(kept.tags), 1)
    ordered = sorted(found.values(), key=lambda one: (-one.frees, one.repository))
    before = {name: f" of {number:,}" for name, number in plan.tags_before.items()}
    has_untagged = any(one.untagged for one in ordered)
    columns = [
        Column("REPOSITORY", cut="middle", least=20),
        Column("TAGS TO GO", right=True),
        *([Column("UNTAGGED", right=True)] if has_untagged else ()),
        Column("HELD BACK", right=True),
        Column("FREES", right=True),
    ]
    rows = [
        [
            one.repository,
            f"{one.tags:,}{before.get(one.repository, '')}",
            *([f"{one.untagged:,}"] if has_untagged else ()),
            f"{one.held:,}",
            size_text(one.frees),
        ]
        for one in ordered[:_MOST_REPOSITORIES]
    ]
    yield from table_lines(columns, rows, width=width)
    if len(ordered) > len(rows):
        yield f"… and {len(ordered) - len(rows):,} more repositories"


def tags_text(tags: Sequence[str], *, is_short: bool = False) -> str:
    """The first of several tags, and how many more there are."""
    if not tags:
        return "(untagged)"
    shown = [short_tag(tag) if is_short else tag for tag in tags]
    return ", ".join(shown) if len(tags) <= _MOST_TAGS else f"{', '.join(shown[:5])} and {len(tags) - 5} more"


@dataclass
class _Summary:
    repository: Repository
    tags: int = 0
    untagged: int = 0
    held: int = 0
    frees: int = 0


class _Rows:
    """The rows of a plan, a repository at a time."""

    def __init__(self, plan: Plan, *, is_short: bool) -> None:
        self.is_short = is_short
        self._steps = plan.by_repository
        self.repositories = tuple(sorted(self._steps))
        self._freed = freed_with(plan.steps)
        self._owner = along_of(plan.steps)
        self.have_reasons = any(step.because != "selected" for step in plan.steps if step.number not in self._owner)
        self.number = len(plan.steps) - len(self._owner)

    def of(self, repository: Repository, most: int | None) -> tuple[list[tuple[str, ...]], int]:
        """The rows of a repository, for at most so many selected digests, and the number of these."""
        below: dict[int, list[Step]] = defaultdict(list)
        roots: list[Step] = []
        for step in self._steps[repository]:
            if step.number in self._owner:
                below[self._owner[step.number]].append(step)
            else:
                roots.append(step)
        shown = sorted(roots, key=lambda one: (not one.tags, in_version_order(one.tags), one.number))[:most]
        rows = [row for step in shown for row in (self._root(step), *map(self._along, below[step.number]))]
        return rows, len(shown)

    def _root(self, step: Step) -> tuple[str, ...]:
        word = "UNTAG" if step.action is Action.UNTAG else "REMOVE"
        what = step.kind.value
        if step.kind is StepKind.INDEX and step.platforms:
            what = "1 platform" if len(step.platforms) == 1 else f"{len(step.platforms)} platforms"
        created = "-" if step.created is None else f"{step.created:%Y-%m-%d}"
        because = "" if step.because == "selected" else step.because
        tags = tags_text(step.tags, is_short=self.is_short)
        frees = size_text(self._freed[step.number])
        return word, self._digest(step), tags, what, created, size_text(step.size), frees, because

    def _along(self, step: Step) -> tuple[str, ...]:
        what = step.kind.value
        if step.because.startswith("attestation"):
            what = "attestation"
        elif any(parse_signature_tag(tag) is not None for tag in step.tags):
            what = "signature"
        tags = tags_text(step.tags, is_short=self.is_short) if step.tags else ""
        return "  +", self._digest(step), tags, what, "", size_text(step.size), "", ""

    def _digest(self, step: Step) -> str:
        return step.digest.hex[:12] if self.is_short else step.digest


def in_version_order(tags: Sequence[Tag]) -> tuple[object, ...]:
    """The place of a digest among others, by its first tag; those without a tag come first."""
    return (tag_order(tags[0]),) if tags else ()
