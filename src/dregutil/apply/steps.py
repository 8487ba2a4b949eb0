"""The steps of a repository, each with all that is known of it while a run carries it out. Values, no requests.

A step is at one of six phases:

    planned     nothing of it is in the record
    intended    its intent is in the record, or about to be: nothing was sent, or what was sent changed nothing
    sent        its DELETE was sent
    unknown     its DELETE was sent, and the answer was lost
    gone        what it names is not there
    held        it stays, or failed; its outcome says why

A DELETE is sent only from `intended`, with an intent that is on the disk, for a step that still holds and has no
outcome. `send` refuses all else, whatever the code around it does.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Tag
from dregutil.plan.model import Action, Step
from dregutil.plan.outcome import Intent, Outcome, Result

__all__ = ["ImpossibleStepError", "Phase", "StepState", "Steps"]


class ImpossibleStepError(RuntimeError):
    """A fault of the program: it was about to do with a step what must not be done. Nothing was sent."""


class Phase(enum.Enum):
    PLANNED = "planned"
    INTENDED = "intended"
    SENT = "sent"
    UNKNOWN = "unknown"
    GONE = "gone"
    HELD = "held"


class StepState:
    """One step: its phase, its intent, and the reason why it no longer holds, where it does not.

    `is_swept`: its tags go, or went, before its digest; `went_by_name`: by their names, so that the server may have
    taken the digest with the last one. Only the methods change a state.
    """

    __slots__ = (
        "_is_durable",
        "_went_alone",
        "dropped",
        "intent",
        "is_swept",
        "outcome",
        "phase",
        "step",
        "went_by_name",
    )

    def __init__(self, step: Step) -> None:
        self.step = step
        self.phase = Phase.PLANNED
        self.intent: Intent | None = None
        self.outcome: Outcome | None = None
        self.dropped = ""
        self.is_swept = False
        self.went_by_name = False
        self._is_durable = False
        self._went_alone = False

    @property
    def manifest(self) -> Manifest:
        """What the step takes away. Raises ImpossibleStepError where there is no intent."""
        return self._intent.manifest

    @property
    def _intent(self) -> Intent:
        if self.intent is None:
            raise self._refused("has no intent")
        return self.intent

    @property
    def is_recorded(self) -> bool:
        """Whether its intent is on the disk."""
        return self.intent is not None and self._is_durable

    @property
    def result(self) -> Result | None:
        """What became of it so far."""
        return None if self.outcome is None else self.outcome.result

    @property
    def is_left_open(self) -> bool:
        """Whether it failed since no answer came."""
        return self.outcome is not None and self.outcome.is_open

    @property
    def went_alone(self) -> bool:
        """Whether its tag was removed at one time, and its digest was to stay."""
        return self._went_alone

    def covers(self, tags: Collection[Tag]) -> bool:
        """Whether its intent is on the disk and names all of `tags`."""
        return self.intent is not None and self._is_durable and set(tags) <= set(self.intent.tags)

    # What is known of it

    def drop(self, why: str) -> None:
        """It no longer holds: it is not sent any more, and what it belongs to stays with it."""
        self.dropped = why

    def intend(self, intent: Intent) -> None:
        """Its intent is on the disk now. Later ones name the tags that came since; those that went first are still to
        come back if the digest stays."""
        self._require("recorded", Phase.PLANNED, Phase.INTENDED)
        if self.is_swept and self.intent is not None:
            intent = replace(intent, tags=tuple(dict.fromkeys((*self.intent.tags, *intent.tags))))
        self.phase, self.intent, self._is_durable = Phase.INTENDED, intent, True

    def hand_over(self, intent: Intent, *, swept: bool = False) -> None:
        """Its tags go first, or it is about a tag alone: who removes tags records the intent before sending anything.

        Until `recorded` says so, it does not count as being on the disk.
        """
        self._require("handed over", Phase.PLANNED, Phase.INTENDED)
        self.phase, self.intent, self._is_durable, self.is_swept = Phase.INTENDED, intent, False, swept

    def sweep(self, *, by_name: bool) -> None:
        """Its tags were removed first, by their names or by way of a placeholder."""
        self.is_swept, self.went_by_name = True, by_name

    def recorded(self) -> None:
        """What was handed over has been recorded."""
        self._is_durable = self._intent is not None

    def keep_tags(self) -> None:
        """Its tags do not go first after all; its intent is recorded anew before it is sent."""
        self.is_swept = self._is_durable = False

    def take_up(self, intent: Intent) -> None:
        """An earlier part of the run has removed it; that part's record has the intent."""
        self._require("taken up", Phase.GONE)
        self.intent, self._is_durable = intent, True

    # Its DELETE

    def send(self) -> None:
        """Its DELETE is about to be sent. Refused where it must not be."""
        self._require("sent", Phase.INTENDED)
        if not self.is_recorded:
            raise self._refused("is not on the disk")
        if self.dropped or self.outcome is not None:
            raise self._refused("no longer holds")
        self.phase = Phase.SENT

    def send_tags_first(self) -> Intent:
        """The registry keeps the tags of a digest that is deleted: those of the intent, which is returned, go first."""
        self._require("sent", Phase.INTENDED)
        self.sweep(by_name=True)
        return self._intent

    def refuse_tagged(self) -> Intent:
        """The registry deletes no digest that has tags: those of the intent, which is returned, go first."""
        self._require("refused", Phase.SENT)
        self.phase = Phase.INTENDED
        self.sweep(by_name=True)
        return self._intent

    def lose_answer(self) -> None:
        """Whether its DELETE was carried out is not known."""
        self._require("left without an answer", Phase.SENT)
        self.phase = Phase.UNKNOWN

    def begin_again(self) -> None:
        """The whole repository was read since: what its DELETE did, if anything, shows there."""
        self._require("begun again", Phase.SENT, Phase.UNKNOWN)
        self.phase = Phase.INTENDED

    # What became of it

    def settle(self, outcome: Outcome) -> None:
        """Take in what became of it. A later outcome is about what is there again, or was put back: it stays then."""
        if not outcome.result.is_done:
            self.phase = Phase.HELD
        elif self.phase is Phase.HELD:
            raise self._refused("is held, and cannot go")
        else:
            self.phase = Phase.GONE
        self.outcome = outcome
        self._went_alone |= self.step.action is Action.UNTAG and outcome.result is Result.REMOVED

    def _require(self, what: str, *phases: Phase) -> None:
        if self.phase not in phases:
            raise self._refused(f"is {self.phase.value}, and cannot be {what}")

    def _refused(self, why: str) -> ImpossibleStepError:
        return ImpossibleStepError(f"step {self.step.number} ({self.step.repository}, {self.step.digest.short}) {why}")


class Steps:
    """The steps of one repository in the plan's order, and what was deleted there by them."""

    def __init__(self, states: Sequence[StepState]) -> None:
        self._states = states
        self._place = {state.step.number: place for place, state in enumerate(states)}
        self._deletes = {state.step.digest: state for state in states if state.step.action is Action.DELETE}
        self._dependents: dict[int, list[StepState]] = defaultdict(list)
        for state in states:
            for need in state.step.needs:
                self._dependents[need].append(state)
        self._removed: dict[Digest, StepState] = {}

    def __iter__(self) -> Iterator[StepState]:
        return iter(self._states)

    def __getitem__(self, number: int) -> StepState:
        return self._states[self._place[number]]

    @property
    def pending(self) -> list[StepState]:
        """Those that have no outcome yet."""
        return [state for state in self._states if state.outcome is None]

    @property
    def has_begun(self) -> bool:
        """Whether anything was recorded or removed."""
        return bool(self._removed) or any(state.intent is not None for state in self._states)

    @property
    def swept(self) -> frozenset[int]:
        """The numbers of those whose tags go, or went, first: that is no reason to leave them."""
        return frozenset(state.step.number for state in self._states if state.is_swept)

    @property
    def own_tags(self) -> frozenset[Tag]:
        """The tags that the plan removes."""
        return frozenset(tag for state in self._states for tag in state.step.tags)

    @property
    def went_alone(self) -> Mapping[Tag, Step]:
        """The tags that were removed and whose digests were to stay."""
        return {state.step.tags[0]: state.step for state in self._states if state.went_alone}

    def goes(self, digest: Digest) -> bool:
        """Whether a digest is to be deleted, and that still holds."""
        state = self._deletes.get(digest)
        return state is not None and not state.dropped

    def following(self, step: Step, most: int) -> Iterable[StepState]:
        """Those that hang on a step, at whatever depth, then the next `most` of the plan."""
        yield from self._hanging_on(step.number)
        place = self._place[step.number]
        yield from self._states[place + 1 : place + 1 + most]

    def _hanging_on(self, number: int) -> Iterator[StepState]:
        for state in self._dependents.get(number, ()):
            yield state
            yield from self._hanging_on(state.step.number)

    def has_dependents(self, step: Step) -> bool:
        """Whether others wait for a step."""
        return step.number in self._dependents

    # What was deleted

    @property
    def removed(self) -> Mapping[Digest, StepState]:
        """The digests that the run has deleted here, or may have, in the order in which they went."""
        return self._removed

    @property
    def removed_manifests(self) -> dict[Digest, Manifest]:
        return {digest: state.manifest for digest, state in self._removed.items()}

    def remove(self, state: StepState) -> None:
        """A digest went, or may have gone: from now on what needs it gets it back."""
        state.manifest  # noqa: B018 - raises where there is nothing from which it could be put back
        self._removed[state.step.digest] = state

    def put_back(self, digest: Digest) -> StepState | None:
        """A digest is there again; returns its step, where the run had deleted it."""
        return self._removed.pop(digest, None)
