"""The last pull of a tag, and since when pulls are known."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.coverage import recorded_since, source_since
from dregutil.pulls.evidence import last_pull
from dregutil.pulls.pull import Gap, Pull, RepositoryPulls, Source, SourceKind, Span

WEB, NAME, OTHER = Repository("shop/web"), Tag("1.0"), Tag("2.0")
INDEX, CHILD, DEEP, STRANGER = (Digest.of(name) for name in (b"index", b"child", b"deep", b"stranger"))
BEGAN = datetime(2026, 8, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def pull(reference: Tag | Digest, day: int) -> Pull:
    return Pull(WEB, reference, BEGAN + day * DAY, "docker/28", SourceKind.EVENTS)


def known(*pulls: Pull) -> RepositoryPulls:
    found = sorted(pulls, key=lambda one: one.at)
    return RepositoryPulls(
        {one.reference: one for one in found if isinstance(one.reference, Digest)},
        {one.reference: one for one in found if isinstance(one.reference, Tag)},
    )


@pytest.mark.parametrize("reference", [NAME, INDEX, CHILD, DEEP])
def test_a_pull_of_the_name_the_digest_or_what_is_below(reference: Tag | Digest) -> None:
    pulls = known(pull(reference, 3), pull(STRANGER, 9), pull(OTHER, 9))
    assert last_pull(pulls, NAME, INDEX, [CHILD, DEEP]) == pull(reference, 3)


def test_no_pull() -> None:
    assert last_pull(known(pull(STRANGER, 9), pull(OTHER, 9)), NAME, INDEX, [CHILD]) is None
    assert last_pull(known(pull(NAME, 9)), None, INDEX) is None


PULLS = st.lists(st.builds(pull, st.sampled_from([NAME, OTHER, INDEX, CHILD, STRANGER]), st.integers(0, 99)))


@pytest.mark.property
@given(PULLS, PULLS)
def test_more_evidence_never_makes_the_last_pull_earlier(some: list[Pull], more: list[Pull]) -> None:
    before, after = (last_pull(known(*pulls), NAME, INDEX, [CHILD]) for pulls in (some, [*some, *more]))
    assert before is None or (after is not None and after.at >= before.at)


def source(*spans: tuple[int, int], gaps: tuple[tuple[int, int], ...] = ()) -> Source:
    """Spans and gaps in hours."""
    return Source(
        SourceKind.EVENTS,
        "one",
        tuple(Span(BEGAN + since * HOUR, BEGAN + until * HOUR) for since, until in spans),
        tuple(Gap(BEGAN + since * HOUR, BEGAN + until * HOUR, "lost") for since, until in gaps),
    )


@pytest.mark.parametrize(
    ("given_source", "now", "since"),
    [
        (source(), 10, None),
        (source((0, 100)), 100, 0),
        (source((0, 100)), 124, 0),  # a day without news is no gap
        (source((0, 100)), 125, None),
        (source((0, 100), (110, 200)), 200, 0),
        (source((0, 100), (125, 200)), 200, 125),
        (source((0, 200), gaps=((50, 60),)), 200, 0),
        (source((0, 200), gaps=((50, 75),)), 200, 75),
        (source((0, 200), gaps=((50, 60), (100, 130), (140, 150))), 200, 130),
        (source((0, 200), gaps=((150, 190),)), 300, None),
        (source((0, 200), gaps=((170, 200),)), 200, 200),
        (source((50, 60), (0, 55)), 60, 0),
        (source((0, 400)), 100, 0),
    ],
)
def test_since_when_one_source_has_recorded(given_source: Source, now: int, since: int | None) -> None:
    found = source_since(given_source, BEGAN + now * HOUR, DAY)
    assert found == (None if since is None else BEGAN + since * HOUR)


def test_every_source_must_have_recorded() -> None:
    now = BEGAN + 200 * HOUR
    assert recorded_since([source((0, 200)), source((50, 200))], now, DAY) == BEGAN + 50 * HOUR
    assert recorded_since([source((0, 200)), source((50, 100))], now, DAY) is None
    assert recorded_since([], now, DAY) is None


HOURS = st.tuples(st.integers(0, 200), st.integers(0, 60)).map(lambda pair: (pair[0], pair[0] + pair[1]))
SPANS = st.lists(HOURS, max_size=6)


@pytest.mark.property
@given(SPANS, SPANS, HOURS)
def test_a_gap_never_makes_the_recording_longer(
    spans: list[tuple[int, int]], gaps: list[tuple[int, int]], more: tuple[int, int]
) -> None:
    now = BEGAN + 200 * HOUR
    before = source_since(source(*spans, gaps=tuple(gaps)), now, DAY)
    after = source_since(source(*spans, gaps=(*gaps, more)), now, DAY)
    assert after is None or (before is not None and after >= before)


@pytest.mark.property
@given(SPANS, SPANS, st.integers(0, 48))
def test_what_counts_as_recorded_has_no_longer_gap(
    spans: list[tuple[int, int]], gaps: list[tuple[int, int]], most: int
) -> None:
    """Checked at every half hour: a span has its ends, a gap does not."""
    now = 200
    found = source_since(source(*spans, gaps=tuple(gaps)), BEGAN + now * HOUR, most * HOUR)
    recorded = [
        half / 2
        for half in range(2 * now + 1)
        if any(since <= half / 2 <= until for since, until in spans)
        and not any(since < half / 2 < until for since, until in gaps)
    ]
    if found is None:
        assert not recorded or now - recorded[-1] > most
        return
    began = (found - BEGAN) / HOUR
    counted = [*(one for one in recorded if one >= began), now]
    assert counted[0] == began
    assert all(after - before <= most or after - before == 0.5 for before, after in itertools.pairwise(counted))
    earlier = [one for one in recorded if one < began]
    assert not earlier or began - earlier[-1] > most
