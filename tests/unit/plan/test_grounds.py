"""What of a saved plan stays by what is known of pulls when it is carried out."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.names import Repository, Tag
from dregutil.plan.grounds import since_by_pulls
from dregutil.plan.model import Action, Grounds, Plan, Step, StepKind
from dregutil.pulls.pull import Pull, Source, SourceKind, Span
from dregutil.retention.policyfile import read_policy
from histories import NOW, digest_of

APP = Repository("app")
DAY = timedelta(days=1)
POLICY = read_policy("""version: 1
protect: {pulls: [{log: true}]}
policies: [{name: p, repositories: [app], keep: {all: [{pulled_within: 90d}, {tags: "x*"}]}}]
""")
NOT_RECORDED = "whether it was pulled since the plan was made is not recorded"


def kept(
    *,
    pulled: float | None,
    before: float | None = None,
    until: float = 0.0,
    since: float = 100,
    repository: str = "app",
    kind: StepKind = StepKind.IMAGE,
) -> str:
    """Why the one image of a plan that was made 5 days ago stays. `pulled`: its last pull, days ago; `before`: that
    which was known when the plan was made; `since` and `until`: what is recorded."""

    def ago(days: float) -> datetime:
        return NOW - days * DAY

    known = None if before is None else ago(before)
    digest = digest_of("1")
    grounds = Grounds(pulled=known)
    step = Step(1, Action.DELETE, Repository(repository), digest, (Tag("1"),), kind, "p", grounds=grounds)
    pull = None if pulled is None else Pull(APP, digest, ago(pulled), "", SourceKind.LOG)
    sources = [Source(SourceKind.LOG, "one", (Span(ago(since), ago(until)),))]
    found = since_by_pulls(Plan("r", ago(5), "", (step,)), POLICY, sources, NOW, lambda _: pull)
    return found.get((step.repository, digest), {}).get(None, "")


@pytest.mark.parametrize(
    ("pulled", "before", "why"),
    [
        (None, None, ""),
        (4, None, "pulled since the plan was made"),
        (4, 50, "pulled since the plan was made"),
        (40, None, f"known by now: pulled on {NOW - 40 * DAY:%Y-%m-%d %H:%M} UTC"),
        (40, 50, f"known by now: pulled on {NOW - 40 * DAY:%Y-%m-%d %H:%M} UTC"),
        (40, 40, ""),
        (96, None, ""),
    ],
    ids=["never", "since", "again", "known since", "an earlier one was known", "known before", "too long ago"],
)
def test_what_is_known_of_pulls_since_the_plan(pulled: float | None, before: float | None, why: str) -> None:
    assert kept(pulled=pulled, before=before) == why


def test_everything_stays_if_pulls_were_not_recorded_since() -> None:
    assert kept(pulled=None, until=3) == NOT_RECORDED
    assert kept(pulled=None, until=0.5) == ""
    assert kept(pulled=None, until=3, repository="other") == "", "no policy asks for its pulls"


def test_what_was_not_recorded_when_the_plan_was_made_is_no_reason_now() -> None:
    assert kept(pulled=None, since=12) == ""
    assert kept(pulled=None, since=12, until=3) == ""


@pytest.mark.parametrize("kind", [StepKind.CHILD, StepKind.REFERRER])
def test_what_goes_along_stays_only_with_what_it_belongs_to(kind: StepKind) -> None:
    """A pull of a child is one of its index, whose step says what was known of it."""
    assert kept(pulled=40, kind=kind) == ""
    assert kept(pulled=None, until=3, kind=kind) == ""
    assert kept(pulled=4, kind=kind) == "pulled since the plan was made"


ages = st.none() | st.floats(0, 120)


@given(ages, ages, ages, st.floats(0, 4), st.sampled_from(StepKind))
def test_more_evidence_of_pulls_keeps_no_less(
    before: float | None, some: float | None, more: float | None, until: float, kind: StepKind
) -> None:
    latest = min((one for one in (some, more) if one is not None), default=None)
    if kept(pulled=some, before=before, until=until, kind=kind):
        assert kept(pulled=latest, before=before, until=until, kind=kind)
