"""One step that deletes a digest: its intent on the disk, one DELETE, a look, an outcome."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from dregutil.apply.lost_answer import went_after_all
from dregutil.apply.put_back import put_back
from dregutil.apply.steps import StepState
from dregutil.apply.sweep import restore_tags
from dregutil.apply.taken_along import put_back_taken_along
from dregutil.apply.work import Work
from dregutil.errors import (
    DregutilError,
    ManifestError,
    OutcomeUnknownError,
    ProtocolError,
    PushedBackError,
    RegistryError,
    UnreachableError,
)
from dregutil.plan.model import Step
from dregutil.plan.outcome import Intent, Result
from dregutil.registry.http.retry import wait_before
from dregutil.registry.http.throttle import PATIENCE

__all__ = ["delete"]

_ATTEMPTS = 2  # of a write whose outcome was unknown, each from the full look
_THROTTLED = 503  # what a registry answers whose store pushes back
_LONGEST_WAIT = 5  # as the wait before a fifth attempt: about 8 s
_TAGS_FIRST = "GOOGLE_MANIFEST_DANGLING_TAG"
_SETTLE = 0.5  # seconds, before a tag is believed to outlive its digest: the answer may be a replica's that lags


async def delete(work: Work, state: StepState) -> None:
    """Carry out a step that deletes a digest, and note what became of it.

    Until one has shown whether the tags of a digest go with it, the others wait. Nothing is noted where the disk took
    so long that another look must come first. Raises DregutilError and StopRepositoryError.
    """
    run = work.run
    if run.tags_stay is None and state.step.tags and not state.is_swept:
        async with run.learning:
            if run.tags_stay is None:
                await _delete(work, state)
                return
    await _delete(work, state)


async def _delete(work: Work, state: StepState) -> None:
    step, graph = state.step, work.live.graph
    manifest = graph.manifests.get(step.digest)
    if manifest is None:
        _note_gone(work, state)
        return
    await work.intents.record(state, manifest)
    await work.live.heed_holds()
    if work.looks.is_over or not work.intents.covers(state):
        return  # the disk took too long, or a tag came: the next batch has another look
    # Another step may have read the repository again while this one's intent was written.
    accepted = await _send(work, state)
    if accepted is None:
        await restore_tags(work, state)
        work.run.note(step, Result.LEFT, state.dropped)
        return
    work.steps.remove(state)
    await put_back_taken_along(work.run, graph, step.digest, work.steps.goes)
    if _must_look(work, state) or not accepted:
        await _look(work, state, ours=accepted)
    else:
        work.run.note(step, Result.REMOVED)


@dataclass(slots=True)
class _Attempts:
    """How often a DELETE was sent without an answer, how often it may be, and until when (`time.monotonic`)."""

    until: float
    most: int = _ATTEMPTS
    unknown: int = 0
    has_untagged: bool = False  # its tags went first, since the registry wanted that

    @property
    def are_over(self) -> bool:
        return self.unknown >= self.most or time.monotonic() > self.until


async def _send(work: Work, state: StepState) -> bool | None:
    """Send a step's DELETE. True: it went by us; False: it was not there; None: by now the step no longer holds.

    Where its outcome is not known, or the registry pushed it back until the look was old, it begins again from the full
    look; where the registry says that it is overloaded, for as long as such a store may need. Raises DregutilError.
    """
    attempts = _Attempts(time.monotonic() + PATIENCE)
    while not state.dropped:
        try:
            accepted = await _send_once(work, state, attempts)
        except PushedBackError as error:
            failed: UnreachableError = error
        except OutcomeUnknownError as error:
            failed = error
            if await _went_unanswered(work, state, attempts, error):
                return True
        else:
            return None if accepted is None else accepted or attempts.unknown > 0 or attempts.has_untagged
        await work.looks.read_again()
        state.begin_again()
        if state.step.digest in work.live.graph.tags_of:  # maybe with a tag that was not on it before
            await work.intents.record(state, state.manifest)
        if attempts.are_over and not state.dropped:
            raise failed
    return None


async def _send_once(work: Work, state: StepState, attempts: _Attempts) -> bool | None:
    """Send the DELETE, and again where the registry wants the tags to go first (GCR, Artifact Registry).

    True: accepted; False: it was not there; None: the step was dropped while its tags went. Raises DregutilError.
    """
    tags_first = work.run.tags_stay or work.run.registry.tags_first
    if tags_first and state.step.tags and not attempts.has_untagged:
        attempts.has_untagged = True
        if not await _untag(work, state.send_tags_first()):
            raise DregutilError(
                f"the registry does not delete '{state.step.tags[0]}', which has to go before its digest"
            )
        return None if state.dropped else await _send_once(work, state, attempts)
    state.send()
    if work.looks.is_stale:
        raise PushedBackError("the last look is old by now: the DELETE was not sent")
    work.looks.note_gap()
    try:
        return await work.run.registry.delete_manifest(work.repository, state.step.digest)
    except RegistryError as error:
        if attempts.has_untagged or attempts.unknown or _TAGS_FIRST not in error.codes:
            raise
        attempts.has_untagged = True
        if not await _untag(work, state.refuse_tagged()):
            raise
    return None if state.dropped else await _send_once(work, state, attempts)


async def _untag(work: Work, intent: Intent) -> bool:
    """Remove the tags of a digest before it; False if one cannot go. Raises DregutilError.

    What is not known about a tag is a failure of the step, whose tags come back: no DELETE of the digest was sent.
    """
    try:
        return await work.run.untagger.untag_recorded(intent)
    except (OutcomeUnknownError, PushedBackError) as error:
        raise DregutilError(error.message, advice=error.advice) from error


async def _went_unanswered(work: Work, state: StepState, attempts: _Attempts, error: OutcomeUnknownError) -> bool:
    """Whether a digest went by a DELETE whose answer was lost. Until that is known, it counts as removed: what needs it
    gets it back. Raises DregutilError."""
    attempts.unknown += 1
    state.lose_answer()
    work.steps.remove(state)
    if await went_after_all(work.run.registry, work.repository, state.step.digest):
        return True
    if error.status == _THROTTLED and time.monotonic() <= attempts.until:
        await asyncio.sleep(wait_before(min(attempts.unknown, _LONGEST_WAIT), None))
        attempts.most = attempts.unknown + 1
    return False


def _must_look(work: Work, state: StepState) -> bool:
    """Whether one must look at once if a digest is gone.

    Always where others wait for it, where no tag shows it later, and until the registry has shown that tags go with
    their digest; for the others the last look, which reads every tag that is still listed, says so.
    """
    run, step = work.run, state.step
    first, run.has_looked = not run.has_looked, True
    waits = work.steps.has_dependents(step)
    elsewhere = bool(run.not_seen_apart(step))
    return first or waits or not step.tags or state.is_swept or elsewhere or run.tags_stay is not False


async def _look(work: Work, state: StepState, *, ours: bool) -> None:
    """Whether the digest is really gone; `ours`: it went by a request of this run.

    Where the registry cannot say (status 500, or nothing that can be read), that is no outcome for the record.
    """
    run, step, manifest = work.run, state.step, state.manifest
    try:
        found = await run.registry.find(work.repository, step.digest)
    except (RegistryError, ProtocolError, ManifestError) as error:
        run.tags_stay = run.tags_stay or False  # the last look shows it
        run.note_open(step, f"whether it went is not known: {error.message}")
        await run.look_elsewhere(step, manifest)  # another name of this store may have lost it all the same
        return
    if found is not None:
        await restore_tags(work, state)
        if ours:
            run.note(step, Result.FAILED, "the registry accepted the deletion, and the manifest is still there")
        elif step.tags:
            run.note(step, Result.FAILED, "the registry says that it is not there, and still has it")
        else:
            # Quay deletes only what a tag names, and collects the rest in its own time.
            run.note(step, Result.LEFT, "the registry deletes no untagged manifest; it collects them itself")
        return
    await run.look_elsewhere(step, manifest)
    if await _still_answers(work, state):
        await put_back(run.registry, work.repository, manifest, below={})
        work.steps.put_back(step.digest)
        run.note(step, Result.FAILED, f"the registry deleted it, and still answers by '{step.tags[0]}'")
    elif ours:
        run.note(step, Result.REMOVED)
    else:
        _note_gone(work, state)


async def _still_answers(work: Work, state: StepState) -> bool:
    """Whether a tag still names a digest that is gone, and cannot be removed by its name.

    Some servers keep an image by its tag when its digest is deleted: then the tags of the others go first. Where others
    wait for the step, this is asked at once: what such an image needs must not go.
    """
    run, step = work.run, state.step
    if state.intent is None or (run.tags_stay is False and not work.steps.has_dependents(step)):
        return False
    if not await _answers(work, step):
        run.tags_stay = run.tags_stay or (False if step.tags and not state.is_swept else None)
        return False
    await asyncio.sleep(_SETTLE)
    if not await _answers(work, step) or await run.registry.find(work.repository, step.digest) is not None:
        return False  # the tag went after all, or somebody has pushed the image again
    run.tags_stay = True
    return not await run.untagger.untag_recorded(state.intent) or await _answers(work, step)


async def _answers(work: Work, step: Step) -> bool:
    """Whether a tag of a step is on its digest. Raises DregutilError."""
    found = [await work.run.registry.find(work.repository, tag) for tag in step.tags]
    return any(resolved is not None and resolved.digest == step.digest for resolved in found)


def _note_gone(work: Work, state: StepState) -> None:
    """A digest that is not there: it went with its last tag or with what it belongs to, by this run, or before."""
    step, run = state.step, work.run
    ours = state.is_swept or any(run.result_of(need) is Result.REMOVED for need in step.needs)
    if state.intent is not None and ours:
        work.steps.remove(state)
        run.note(step, Result.REMOVED)
    else:
        run.note(step, Result.GONE)
