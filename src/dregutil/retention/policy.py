"""Policies as the judge applies them: globs, comparisons and expressions parsed. `policyfile` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from enum import Enum
from fractions import Fraction
from typing import TypeAlias

from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.glob import Glob
from dregutil.select.selector import Comparison

__all__ = [
    "All",
    "Calendar",
    "InUseList",
    "KeepRule",
    "Label",
    "Last",
    "Limit",
    "Order",
    "ParsedPolicy",
    "ParsedProtect",
    "ParsedSelect",
    "Period",
    "PolicySet",
    "TagGlobs",
    "UnknownDate",
    "VersionRule",
    "Within",
    "applies_to",
]

DAY = timedelta(days=1)


class Order(Enum):
    TIME = "time"
    VERSION = "version"


class UnknownDate(Enum):
    """What stands in for a creation date that nobody can believe: nothing, or when our records first saw the tag."""

    KEEP = "keep"
    FIRST_SEEN = "first_seen"


class Period(Enum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


@dataclass(frozen=True, slots=True)
class Last:
    """The newest, in the policy's order, until `number` images have been passed."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """The newest of each of the last `number` days, weeks, months or years that have any."""

    period: Period
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Within:
    """Whatever is younger than `age`, or can have come since."""

    age: timedelta
    text: str


@dataclass(frozen=True, slots=True)
class TagGlobs:
    globs: tuple[Glob, ...]
    text: str


@dataclass(frozen=True, slots=True)
class VersionRule:
    """Versions for which one of `ranges` holds; a range is comparisons that hold together."""

    ranges: tuple[tuple[Comparison, ...], ...]
    text: str


@dataclass(frozen=True, slots=True)
class All:
    """Rules that must hold together."""

    rules: tuple[KeepRule, ...]
    text: str


KeepRule: TypeAlias = Last | Calendar | Within | TagGlobs | VersionRule | All


@dataclass(frozen=True, slots=True)
class Label:
    """A label that must be there; with `value`, equal to it."""

    key: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedSelect:
    """Which tags a policy speaks of. Each of the conditions that is there must hold; within one, any of its values.

    `untagged` selects manifests that no tag names, and nothing else.
    """

    tags: tuple[Glob, ...] = ()
    regexes: tuple[BoundedRegex, ...] = ()
    versions: tuple[tuple[Comparison, ...], ...] = ()
    labels: tuple[Label, ...] = ()
    untagged: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that may go: a share of the selected tags, exactly as written (0.29 is 29/100), or a number of tags."""

    share: Fraction | float | None = None
    number: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.share, float):
            object.__setattr__(self, "share", Fraction(str(self.share)))

    @property
    def text(self) -> str:
        return f"{float(self.share * 100):g}%" if self.share is not None else f"{self.number} tags"

    def allows(self, removed: int, selected: int) -> bool:
        if self.share is not None:
            return removed <= Fraction(self.share) * selected
        return self.number is None or removed <= self.number


@dataclass(frozen=True, slots=True)
class ParsedPolicy:
    """One entry of `policies`. `group_by` holds `major`, `minor`, `variant` or names of the regex's groups.

    `line` and `column` are its place in the file, from 1.
    """

    name: str
    repositories: tuple[Glob, ...]
    keep: tuple[KeepRule, ...]
    select: ParsedSelect = ParsedSelect()
    group_by: tuple[str, ...] = ()
    order: Order = Order.TIME
    unknown_date: UnknownDate = UnknownDate.KEEP
    min_age: timedelta = DAY
    max_remove: Limit = Limit(share=Fraction(30, 100))
    untag: bool = False
    allow_empty: bool = False
    line: int = 0
    column: int = 0

    @property
    def ranks(self) -> bool:
        """Whether a rule asks which tags are the newest."""
        return any(isinstance(rule, Last | Calendar) for rule in flat(self.keep))

    @property
    def uses_dates(self) -> bool:
        """Whether a date can decide (besides `min_age`). Of what has no tag, nothing else is known."""
        return self.select.untagged or any(
            isinstance(rule, Calendar | Within) or (isinstance(rule, Last) and self.order is Order.TIME)
            for rule in flat(self.keep)
        )


@dataclass(frozen=True, slots=True)
class InUseList:
    """A list of images in use: a file's path, or `-` for standard input; `line` and `column` are where that stands."""

    file: str
    max_age: timedelta | None = None
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class ParsedProtect:
    """What no policy can take. `aliases` are other host names of the same registry, for reading `in_use`."""

    tags: tuple[Glob, ...] = ()
    repositories: tuple[Glob, ...] = ()
    in_use: tuple[InUseList, ...] = ()
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A policy file, read. `zone` is for the buckets of the calendar."""

    policies: tuple[ParsedPolicy, ...]
    protect: ParsedProtect = ParsedProtect()
    zone: tzinfo = UTC
    name: str = ""


def flat(rules: Sequence[KeepRule]) -> Sequence[KeepRule]:
    """All rules, those inside `all` too."""
    found: list[KeepRule] = []
    for rule in rules:
        found += flat(rule.rules) if isinstance(rule, All) else [rule]
    return found


def applies_to(policy: ParsedPolicy, repository: str) -> bool:
    return any(glob.matches(repository) for glob in policy.repositories)
