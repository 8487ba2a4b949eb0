"""Policies as the judge applies them: globs, comparisons and expressions parsed. `policyfile` makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from enum import Enum
from fractions import Fraction
from typing import TypeAlias

from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.asked import Engine, Kubernetes
from dregutil.retention.pull_rules import PulledWithin, PullSource
from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.content_selector import ANYTHING, ContentSelector
from dregutil.select.glob import Glob
from dregutil.select.selector import Comparison

__all__ = [
    "All",
    "Budget",
    "Calendar",
    "DoomedList",
    "Expires",
    "Floor",
    "InUseList",
    "KeepRule",
    "Label",
    "LabelRule",
    "Last",
    "Limit",
    "NameList",
    "NamedIn",
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
    "flat",
    "named_group",
]

DAY = timedelta(days=1)


class Order(Enum):
    TIME = "time"
    VERSION = "version"
    GROUP = "regex_group"


class UnknownDate(Enum):
    """What replaces an implausible creation date: nothing, or the time when the records first saw the tag."""

    KEEP = "keep"
    FIRST_SEEN = "first_seen"


class Period(Enum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    YEARLY = "yearly"


@dataclass(frozen=True, slots=True)
class Last:
    """The newest tags in the policy's order, until `number` images are counted, or tags."""

    number: int
    text: str
    counts_tags: bool = False


@dataclass(frozen=True, slots=True)
class Calendar:
    """The newest of each of the last `number` days, weeks, months or years that have any."""

    period: Period
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Within:
    """Everything younger than `age`, or that may have appeared since."""

    age: timedelta
    text: str


@dataclass(frozen=True, slots=True)
class TagGlobs:
    globs: tuple[Glob, ...]
    text: str


@dataclass(frozen=True, slots=True)
class VersionRule:
    """Versions in one of `ranges`; a range is several comparisons that must all match."""

    ranges: tuple[tuple[Comparison, ...], ...]
    text: str


@dataclass(frozen=True, slots=True)
class All:
    """Rules that must keep a tag together."""

    rules: tuple[KeepRule, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """A label that must exist; with `value`, equal to it."""

    key: str
    value: str | None = None

    @property
    def text(self) -> str:
        return self.key if self.value is None else f"{self.key}={self.value}"

    def marks(self, content: ImageDetails) -> bool:
        """Whether an image has it, as a label or as an annotation; of an index, all images."""
        found = content.marked(self.key)
        return bool(found) if self.value is None else self.value in found


@dataclass(frozen=True, slots=True)
class LabelRule:
    """Images with any of `labels`."""

    labels: tuple[Label, ...]
    text: str


@dataclass(frozen=True, slots=True)
class NameList:
    """A file with a name in each line. `max_shrink`: a run is refused if it has lost this share since the last one."""

    file: str
    max_age: timedelta | None = None
    max_shrink: str = "30%"


@dataclass(frozen=True, slots=True)
class NamedIn:
    """Groups whose name, the group `by` of the regex, is in the list `file`.

    `names` are those of the list, None until it is read; `size` is how many it has, `age` how old the list is.
    """

    file: str
    by: str
    regexes: tuple[BoundedRegex, ...]
    text: str
    max_age: timedelta | None = None
    max_shrink: Fraction = Fraction(30, 100)
    names: frozenset[str] | None = None
    size: int = 0
    age: timedelta | None = field(default=None, compare=False)
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)


KeepRule: TypeAlias = Last | Calendar | Within | TagGlobs | VersionRule | LabelRule | NamedIn | PulledWithin | All


@dataclass(frozen=True, slots=True)
class ParsedSelect:
    """Which tags a policy applies to. All given conditions must match, each with any of its values.

    `content` is asked of what is behind a tag; its ages count by the creation date. `untagged` selects manifests
    without a tag, and nothing else.
    """

    tags: tuple[Glob, ...] = ()
    regexes: tuple[BoundedRegex, ...] = ()
    versions: tuple[tuple[Comparison, ...], ...] = ()
    labels: tuple[Label, ...] = ()
    untagged: bool = False
    content: ContentSelector = ANYTHING

    @property
    def reads_content(self) -> bool:
        return bool(self.labels or self.content)


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that may be removed: an exact share of the selected tags (0.29 is 29/100), a number of tags, or both."""

    share: Fraction | float | None = None
    number: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.share, float):
            object.__setattr__(self, "share", Fraction(str(self.share)))

    @property
    def text(self) -> str:
        share = "" if self.share is None else f"{float(self.share * 100):g}%"
        number = "" if self.number is None else f"{self.number} tags"
        return " and ".join(filter(None, (share, number)))

    def allows(self, removed: int, selected: int) -> bool:
        if self.share is not None and removed > Fraction(self.share) * selected:
            return False
        return self.number is None or removed <= self.number

    def joined(self, other: Limit) -> Limit:
        """What both limits allow."""
        shares = [Fraction(one.share) for one in (self, other) if one.share is not None]
        numbers = [one.number for one in (self, other) if one.number is not None]
        return Limit(min(shares, default=None), min(numbers, default=None))


@dataclass(frozen=True, slots=True)
class Expires:
    """The label or annotation that says when an image expires. A duration counts from the creation date, or from when
    the image came here if that is later; `from_seen`: from when the records know it here."""

    label: str
    from_seen: bool = False


@dataclass(frozen=True, slots=True)
class DoomedList:
    """A file with images to remove, by digest. `images` are those of this registry, and `age` is how old the list is;
    None until it is read."""

    file: str
    max_age: timedelta | None = None
    images: frozenset[tuple[Repository, Tag | None, Digest]] | None = None
    age: timedelta | None = field(default=None, compare=False)
    line: int = field(default=0, compare=False)
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most bytes that the tags of a policy may reach, and how that was written."""

    size: int
    text: str


@dataclass(frozen=True, slots=True)
class ParsedPolicy:
    """An entry of `policies`. `group_by` has `major`, `minor`, `variant` or names of groups of the regex.

    `order_by` is the group of the regex whose number orders the tags. With `expires` or `doomed`, only what has
    expired or is in these lists is removed, and only if no rule keeps it.

    `line` and `column` are its place in the file, from 1; 0 if it was written in Python. `file` is named only if the
    policies are from several.
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
    expires: Expires | None = None
    order_by: str = ""
    doomed: tuple[DoomedList, ...] = ()
    keep_under: Budget | None = None
    line: int = 0
    column: int = 0
    file: str = ""

    @property
    def ranks(self) -> bool:
        """Whether a rule depends on which tags are the newest."""
        return any(isinstance(rule, Last | Calendar) for rule in flat(self.keep))

    @property
    def uses_dates(self) -> bool:
        """Whether a date can decide, apart from `min_age`. For manifests without a tag it always does."""
        return (
            self.select.untagged
            or self.keep_under is not None
            or any(
                isinstance(rule, Calendar | Within) or (isinstance(rule, Last) and self.order is Order.TIME)
                for rule in flat(self.keep)
            )
        )


@dataclass(frozen=True, slots=True)
class InUseList:
    """A list of images in use: the path of a file, or `-` for standard input. `line` and `column` are its place in the
    policy file."""

    file: str
    max_age: timedelta | None = None
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class ParsedProtect:
    """What no policy can remove. `aliases` are other host names of the registry, for reading `in_use`. `pulls`: what
    `pulled_within` relies on."""

    tags: tuple[Glob, ...] = ()
    repositories: tuple[Glob, ...] = ()
    in_use: tuple[InUseList | Kubernetes | Engine, ...] = ()
    aliases: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    pulls: tuple[PullSource, ...] = ()

    def joined(self, other: ParsedProtect) -> ParsedProtect:
        """What either of the two protects."""
        return ParsedProtect(
            tags=(*self.tags, *other.tags),
            repositories=(*self.repositories, *other.repositories),
            in_use=(*self.in_use, *other.in_use),
            aliases=(*self.aliases, *other.aliases),
            labels=(*self.labels, *other.labels),
            pulls=tuple(dict.fromkeys((*self.pulls, *other.pulls))),
        )


@dataclass(frozen=True, slots=True)
class Floor:
    """What no policy under it can go below."""

    keep: tuple[KeepRule, ...] = ()
    protect: ParsedProtect = ParsedProtect()
    min_age: timedelta | None = None
    max_remove: Limit | None = None


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A parsed policy file, or several. `zone` is the time zone of the calendar rules. `floor` is in the policies
    already."""

    policies: tuple[ParsedPolicy, ...]
    protect: ParsedProtect = ParsedProtect()
    zone: tzinfo = UTC
    name: str = ""
    floor: Floor | None = None


def flat(rules: Sequence[KeepRule]) -> Sequence[KeepRule]:
    """All rules, including those inside `all`."""
    found: list[KeepRule] = []
    for rule in rules:
        found += flat(rule.rules) if isinstance(rule, All) else [rule]
    return found


def applies_to(policy: ParsedPolicy, repository: str) -> bool:
    return any(glob.matches(repository) for glob in policy.repositories)


def named_group(regexes: Sequence[BoundedRegex], name: str, tag: str) -> str | None:
    """What a named group of the first expression that matches the whole tag has found; None if none matches."""
    for regex in regexes:
        found = regex.fullmatch(tag)
        if found is not None and name in regex.groupindex:
            return found[name] or ""
    return None
