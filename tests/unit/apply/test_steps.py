"""A step's phases: each transition from each phase, and what a DELETE needs before it is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dregutil.apply.steps import ImpossibleStepError, Phase, Steps, StepState
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Step, StepKind
from dregutil.plan.outcome import Intent, Outcome, Result

R = Repository("r")
RAW = b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'
MANIFEST: Manifest = parse_manifest(RAW, "application/vnd.oci.image.index.v1+json", Digest.of(RAW))
TAG, OTHER = Tag("1.0"), Tag("2.0")


def step(number: int = 1, *, needs: tuple[int, ...] = (), action: Action = Action.DELETE) -> Step:
    digest = MANIFEST.digest if number == 1 else Digest.of(str(number).encode())
    return Step(number, action, R, digest, (TAG,), StepKind.IMAGE, "", needs)


def intent(*tags: Tag, number: int = 1) -> Intent:
    return Intent(number, R, tags or (TAG,), MANIFEST)


def outcome(result: Result) -> Outcome:
    return Outcome(step(), result)


def state_in(phase: Phase) -> StepState:
    """A step that came to a phase as the program brings it there."""
    state = StepState(step())
    if phase is Phase.PLANNED:
        return state
    if phase is Phase.HELD:
        state.settle(outcome(Result.LEFT))
        return state
    state.intend(intent())
    if phase is Phase.INTENDED:
        return state
    state.send()
    if phase is Phase.UNKNOWN:
        state.lose_answer()
    elif phase is Phase.GONE:
        state.settle(outcome(Result.REMOVED))
    return state


ALL = frozenset(Phase)
Transition = Callable[[StepState], object]
# Each transition, from where it is allowed, and where it leads.
TRANSITIONS: list[tuple[str, Transition, frozenset[Phase], Phase]] = [
    ("intend", lambda state: state.intend(intent()), frozenset((Phase.PLANNED, Phase.INTENDED)), Phase.INTENDED),
    ("hand over", lambda state: state.hand_over(intent()), frozenset((Phase.PLANNED, Phase.INTENDED)), Phase.INTENDED),
    ("send", lambda state: state.send(), frozenset((Phase.INTENDED,)), Phase.SENT),
    ("refuse", lambda state: state.refuse_tagged(), frozenset((Phase.SENT,)), Phase.INTENDED),
    ("lose the answer", lambda state: state.lose_answer(), frozenset((Phase.SENT,)), Phase.UNKNOWN),
    ("begin again", lambda state: state.begin_again(), frozenset((Phase.SENT, Phase.UNKNOWN)), Phase.INTENDED),
    ("take up", lambda state: state.take_up(intent()), frozenset((Phase.GONE,)), Phase.GONE),
    ("removed", lambda state: state.settle(outcome(Result.REMOVED)), ALL - {Phase.HELD}, Phase.GONE),
    ("found gone", lambda state: state.settle(outcome(Result.GONE)), ALL - {Phase.HELD}, Phase.GONE),
    ("left", lambda state: state.settle(outcome(Result.LEFT)), ALL, Phase.HELD),
    ("failed", lambda state: state.settle(outcome(Result.FAILED)), ALL, Phase.HELD),
]


@pytest.mark.parametrize(("name", "act", "allowed", "after"), TRANSITIONS, ids=[one[0] for one in TRANSITIONS])
def test_each_transition_from_each_phase(name: str, act: Transition, allowed: frozenset[Phase], after: Phase) -> None:
    for phase in Phase:
        state = state_in(phase)
        assert state.phase is phase
        if phase in allowed:
            act(state)
            assert state.phase is after, (name, phase)
        else:
            with pytest.raises(ImpossibleStepError, match="step 1"):
                act(state)
            assert state.phase is phase, "what is refused changes nothing"


def test_nothing_is_sent_whose_intent_is_not_on_the_disk() -> None:
    state = StepState(step())
    state.hand_over(intent(), swept=True)
    with pytest.raises(ImpossibleStepError, match="not on the disk"):
        state.send()
    state.recorded()
    state.keep_tags()  # a sweep that failed: nobody knows what of it was recorded
    with pytest.raises(ImpossibleStepError, match="not on the disk"):
        state.send()
    state.intend(intent())
    state.send()


def test_nothing_is_sent_that_no_longer_holds() -> None:
    state = state_in(Phase.INTENDED)
    state.drop("also 'stable'")
    with pytest.raises(ImpossibleStepError, match="no longer holds"):
        state.send()
    assert state.phase is Phase.INTENDED


@pytest.mark.parametrize("result", Result)
def test_nothing_is_sent_that_has_an_outcome(result: Result) -> None:
    state = state_in(Phase.INTENDED)
    state.settle(outcome(result))
    with pytest.raises(ImpossibleStepError):
        state.send()


def test_an_open_outcome_is_one() -> None:
    """What became of it is not known: it is for whoever takes the run up, after another look."""
    state = state_in(Phase.UNKNOWN)
    state.settle(Outcome(step(), Result.FAILED, is_open=True))
    assert state.phase is Phase.HELD
    with pytest.raises(ImpossibleStepError):
        state.begin_again()


def test_an_intent_covers_the_tags_that_it_names_once_it_is_on_the_disk() -> None:
    state = StepState(step())
    assert not state.covers([])
    state.hand_over(intent(TAG, OTHER))
    assert not state.covers([TAG])
    state.recorded()
    assert state.covers([TAG])
    assert state.covers([TAG, OTHER])
    assert not state.covers([TAG, Tag("3.0")])


def test_what_was_handed_over_again_is_not_on_the_disk() -> None:
    state = state_in(Phase.INTENDED)
    state.hand_over(intent())
    assert not state.is_recorded


def test_a_refused_digest_gives_the_tags_of_its_intent() -> None:
    state = StepState(step())
    state.intend(intent(TAG, OTHER))
    state.send()
    assert state.refuse_tagged().tags == (TAG, OTHER)
    assert state.is_swept


def test_tags_that_went_first_still_come_back_where_a_later_intent_names_others() -> None:
    state = state_in(Phase.INTENDED)
    state.send_tags_first()
    state.intend(intent(OTHER))
    assert state.intent is not None
    assert state.intent.tags == (TAG, OTHER)


def test_what_was_removed_can_always_be_put_back() -> None:
    """What was deleted is in `removed` only with the manifest from which it can come back."""
    first, second = StepState(step()), StepState(step(2))
    steps = Steps([first, second])
    with pytest.raises(ImpossibleStepError, match="no intent"):
        steps.remove(first)
    second.intend(intent(number=2))
    first.intend(intent())
    steps.remove(second)
    steps.remove(first)
    assert [*steps.removed] == [second.step.digest, first.step.digest], "in the order in which they went"
    assert steps.removed_manifests[first.step.digest] is MANIFEST
    assert steps.put_back(second.step.digest) is second
    assert steps.put_back(second.step.digest) is None
    assert [*steps.removed] == [first.step.digest]


def test_what_was_recorded_has_begun() -> None:
    state = StepState(step())
    begun = [Steps([state]).has_begun]
    state.intend(intent())
    assert [*begun, Steps([state]).has_begun] == [False, True]


def test_a_tag_that_went_alone_is_remembered_although_it_came_again() -> None:
    state = StepState(step(action=Action.UNTAG))
    steps = Steps([state])
    assert not steps.went_alone
    state.settle(Outcome(state.step, Result.REMOVED))
    assert steps.went_alone == {TAG: state.step}
    state.settle(Outcome(state.step, Result.FAILED, "'1.0' is still there, or there again"))
    assert steps.went_alone == {TAG: state.step}
    left = StepState(step(action=Action.UNTAG))
    left.settle(Outcome(left.step, Result.LEFT))
    assert not left.went_alone


def test_what_goes_is_what_is_deleted_and_still_holds() -> None:
    deleted, untagged = StepState(step()), StepState(step(2, action=Action.UNTAG))
    steps = Steps([deleted, untagged])
    assert steps.goes(deleted.step.digest)
    assert not steps.goes(untagged.step.digest)
    deleted.drop("also 'stable'")
    assert not steps.goes(deleted.step.digest)


def test_with_an_intent_go_those_of_what_hangs_on_it_then_those_that_come_next() -> None:
    states = [
        StepState(step(number, needs=needs)) for number, needs in ((1, ()), (2, ()), (3, ()), (4, (1,)), (5, (4,)))
    ]
    steps = Steps(states)
    assert [state.step.number for state in steps.following(states[0].step, 2)] == [4, 5, 2, 3]
    assert [state.step.number for state in steps.following(states[1].step, 2)] == [3, 4]
    assert steps.has_dependents(states[0].step)
    assert not steps.has_dependents(states[1].step)


def test_pending_and_swept() -> None:
    states = [StepState(step(number)) for number in (1, 2, 3)]
    steps = Steps(states)
    states[0].settle(outcome(Result.LEFT))
    states[1].hand_over(intent(number=2), swept=True)
    assert steps.pending == states[1:]
    assert steps.swept == {2}
    states[1].keep_tags()
    assert steps.swept == frozenset()
