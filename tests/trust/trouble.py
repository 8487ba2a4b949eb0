"""The input of a run: selections, and disturbances."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from dregutil.plan.model import RemovalOptions
from dregutil.select.selection import MatchRules
from trust.front import Lie
from trust.meddler import KINDS
from trust.world import TAGS

__all__ = [
    "LIES",
    "MEANWHILE",
    "NAME",
    "PLACE",
    "PUSHES",
    "SELECTIONS",
    "SOME_TAGS",
    "SWITCHES",
    "TROUBLE",
    "Selection",
    "Trouble",
]

Selection = tuple[list[int], list[str], MatchRules, RemovalOptions]
NAME = st.integers(0, 1)
PLACE = st.integers(0, 20)
SOME_TAGS = st.lists(st.sampled_from(TAGS), min_size=1, max_size=2, unique=True)
SELECTIONS = st.tuples(
    st.lists(NAME, min_size=1, max_size=2, unique=True),
    st.lists(st.sampled_from(TAGS), min_size=1, max_size=4, unique=True),
    st.builds(MatchRules, match_all_tags=st.booleans(), ignore_other_repositories=st.booleans()),
    st.builds(
        RemovalOptions,
        untag=st.booleans(),
        keep_children=st.booleans(),
        keep_referrers=st.booleans(),
        allow_irreversible=st.booleans(),
    ),
)
_SWITCHED = ("untags", "last_tag_takes", "cascades", "has_referrers", "pages_tags", "answers_by_tag")
SWITCHES = st.fixed_dictionaries({name: st.booleans() for name in _SWITCHED})
# A push of another client during a run: before which request, or, below 0, before which write (so that no reading shows
# it); its kind; and which of the candidates.
BEFORE = st.one_of(st.integers(0, 80), st.integers(-12, -3))
PUSHES = st.lists(st.tuples(BEFORE, st.sampled_from(KINDS), PLACE), min_size=1, max_size=4)
LIES = st.lists(
    st.one_of(
        st.builds(Lie, st.just("omits"), st.integers(0, 60), place=PLACE),
        st.builds(Lie, st.just("absent"), st.integers(0, 60)),
        st.builds(Lie, st.just("lags"), st.integers(0, 60), st.integers(1, 8)),
        st.builds(Lie, st.just("cached"), st.integers(0, 10), with_age=st.booleans()),
    ),
    min_size=1,
    max_size=2,
)
MEANWHILE = "^(new|over)-"  # tags that others pushed during earlier runs: the next run removes them


@dataclass
class Trouble:
    """The disturbances of one run: after how many effects it is killed, and what the disk then shows of the lines that
    were not synced yet; what is pushed in the meantime; the wrong answers of the registry; by how many days the clock
    is off."""

    kill_after: int | None = None
    torn: list[int] = field(default_factory=list)
    pushes: list[tuple[int, str, int]] = field(default_factory=list)
    lies: list[Lie] = field(default_factory=list)
    clock: int = 0


TROUBLE = st.builds(
    Trouble,
    kill_after=st.one_of(st.none(), st.integers(0, 30)),
    torn=st.lists(st.integers(0, 3), max_size=4),
    pushes=st.one_of(st.just([]), PUSHES),
    lies=st.one_of(st.just([]), st.just([]), LIES),
    clock=st.one_of(st.just(0), st.integers(-400, 400)),
)
