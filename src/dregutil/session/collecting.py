"""Garbage collections in a session: what the registry's own collector would sweep, and running it.

A plan only reads; to learn whether the registry takes pushes, it begins an upload and cancels it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dregutil import clock
from dregutil.errors import InterruptedRunError, JournalError, RefusedError, StorageError, UsageError
from dregutil.oci.names import Digest, Repository
from dregutil.session.cleanup import CleanupSession

if TYPE_CHECKING:
    from dregutil.journal.collections import CollectionRecord, Collections
    from dregutil.journal.record import RunHeader, RunRecord
    from dregutil.oci.manifest import Manifest
    from dregutil.plan.collection import CollectionPlan, Comparison, FinalRun, Prediction, Refusal
    from dregutil.plan.undoable import Undoable
    from dregutil.session.results import CollectionRun
    from dregutil.session.stop import Stop
    from dregutil.storage.collector_command import CollectorCommand
    from dregutil.storage.garbage_collector import Generation
    from dregutil.storage.stored import StoredRegistry

__all__ = ["CollectingSession"]

_PROBE = Repository("dregutil-probe")
_FRESH = 60.0  # seconds after which a plan is made again before it runs
_READ_ONLY = "set storage.maintenance.readonly.enabled to true and restart the registry, or stop it"


class CollectingSession(CleanupSession):
    """A session that also runs the garbage collector of a registry."""

    _to_collect: tuple[CollectionPlan | None, int, float] = (None, 0, 0.0)  # the last plan, under which lock, and when

    async def plan_collection(
        self,
        command: Sequence[str],
        *,
        keep_undo: str | timedelta = "7d",
        assume_read_only: bool = False,
    ) -> CollectionPlan:
        """What a garbage collection by `command` (the words of `registry garbage-collect [-m] CONFIG`) would sweep, and
        why it is refused, if it is. The session needs the option `storage`, which is read anew. Nothing is collected;
        whether the registry takes pushes is found out with an upload that is cancelled at once.

        It is refused while a run is unfinished, or if one younger than `keep_undo` ("7d", or a timedelta) could no
        longer be undone. `assume_read_only`: it is not refused where it cannot be found out whether the registry takes
        pushes. Raises UsageError, StorageError, JournalError, and RefusedError if nothing can be predicted because the
        storage is damaged or cannot be read completely.
        """
        from dregutil.apply.collector_run import command_generation
        from dregutil.plan.collection import CollectionPlan, check_is_whole, predicted
        from dregutil.plan.reclaim import possible_collectors
        from dregutil.select.quantity import parse_duration
        from dregutil.storage.collector_command import CollectorCommand

        if isinstance(command, str):
            raise TypeError(f"command is a list of words: {command.split()!r}")
        parsed = CollectorCommand.parse(command)
        kept = parse_duration(keep_undo) if isinstance(keep_undo, str) else keep_undo
        stored = self._read_anew()
        check_is_whole(stored)
        own = await command_generation(parsed)
        generation = await self._registry_generation(stored) if own is None else own
        collectors = possible_collectors(generation, parsed.collector)
        predictions = tuple(predicted(stored, collector) for collector in collectors)
        final = tuple(self._made_final(stored, [one.left for one in predictions]))
        not_writable, is_running = await self._state_of_registry(stored, assumed=assume_read_only)
        refusals = (*_prevented(stored, predictions), *not_writable, *self._needed_records(final, kept))
        if own is not None and not refusals:
            refusals = tuple([one async for one in _contradicted(parsed, stored, predictions[0])])
        found = CollectionPlan(parsed, stored, predictions, final, refusals, kept, assume_read_only, is_running)
        self._to_collect = (found, self._locks if self._is_locked else 0, clock.now())
        return found

    async def collect(self, plan: CollectionPlan, *, stop: Stop | None = None) -> CollectionRun:
        """Run the collector of a `plan`, locked and recorded, then read the storage again and compare. Once `stop` is
        set, SIGINT is sent to the collector. A plan that is not fresh is made again first.

        Raises, before anything runs: RefusedError if the plan is refused, if what it would sweep has changed, or if the
        command cannot be started; StorageError and JournalError. What fails later is in the result.
        """
        from dregutil.apply.collector_run import run_collector
        from dregutil.session.results import CollectionRun
        from dregutil.session.stop import Stop

        with self._working(), (stop or Stop()).event() as event:
            began = time.monotonic()
            plan = await self._fresh(plan)
            read = time.monotonic()
            for refusal in plan.refusals:
                raise RefusedError(f"{refusal.why}; nothing was collected", advice=refusal.advice)
            collections = self._collections
            self._settle(collections, plan.before)
            record = self._begun(plan, collections.new_name(datetime.now(UTC)))
            collections.write(record)
            output = collections.output(record.name)
            try:
                ended = await run_collector(plan.command.words, output, event)
            except (InterruptedRunError, RefusedError, OSError):
                collections.discard(record.name)
                raise
            collected = time.monotonic()
            comparison, unread = self._compared(plan)
            final = self._final_after(plan, is_known=comparison is not None and not ended.goes_on)
            seconds = (read - began, collected - read, time.monotonic() - collected)
            result = CollectionRun(record.name, plan, ended, output, comparison, final, unread, seconds)
            if not ended.goes_on:
                try:
                    collections.write(_ended(record, result))
                except JournalError as error:
                    self._warn(error.message, error.advice)
        return result

    def collections(self) -> tuple[CollectionRecord, ...]:
        """The recorded garbage collections of this registry, oldest first; a warning names what cannot be read."""
        found, unread = self._collections.read(self.identity)
        for why in unread:
            self._warn(why)
        return tuple(found)

    def _read_anew(self) -> StoredRegistry:
        """The storage as it is now: an object store is listed when it is opened."""
        self._storage = self._stored = None
        stored = self.stored()
        if stored is None:
            raise UsageError("no storage was named", advice="name it with --storage PATH (storage=PATH)")
        return stored

    async def _registry_generation(self, stored: StoredRegistry) -> Generation | None:
        """The generation of the registry's collector, as it shows."""
        from dregutil.plan.live import collector_generation

        async with self.connected() as registry:
            return await collector_generation(registry, stored.repositories)

    async def _state_of_registry(self, stored: StoredRegistry, *, assumed: bool) -> tuple[tuple[Refusal, ...], bool]:
        """Why the registry is in no state to be collected (it takes pushes, that is not known, or the storage is not
        its own), and whether it runs."""
        from dregutil.apply.uploads import Uploads, uploads_answer
        from dregutil.plan.collection import Refusal

        probed = next((held for held in stored.repositories.values() if held.tags), None)
        name = next(iter(stored.repositories), _PROBE) if probed is None else probed.repository
        async with self.connected() as registry:
            answer = await uploads_answer(registry, name, is_there=name in stored.repositories)
            at, is_running = registry.address.name, answer.uploads is not Uploads.STOPPED
            if answer.uploads is Uploads.TAKEN:
                what = f"{at} is not read-only: a push while garbage is collected loses blobs{answer.why}"
                return (Refusal(what, _READ_ONLY),), is_running
            if answer.uploads is Uploads.UNKNOWN and not assumed:
                what = f"it is not known whether {at} is read-only: {answer.why}"
                return (
                    Refusal(what, "make sure that nothing can be pushed, then give --assume-read-only"),
                ), is_running
            if answer.uploads is Uploads.READ_ONLY and probed is not None:
                differing = sorted({*await registry.tags(probed.repository)} ^ probed.tags.keys())
                if differing:
                    what = f"{stored.place} differs from {at} in {probed.repository}:{differing[0]}"
                    return (Refusal(what, "name this registry's own storage with --storage"),), is_running
        return (), is_running

    def _made_final(self, before: StoredRegistry, after: Sequence[StoredRegistry]) -> Iterator[FinalRun]:
        """The removals of which an undo can put back less in one of the storages `after` than in `before`; newest
        first."""
        from dregutil.plan.collection import FinalRun
        from dregutil.plan.undoable import lost_to_undo

        recorded = self._children_elsewhere()
        for record, run in self._undoable():
            then = lost_to_undo(before, run, recorded)
            if any(lost_to_undo(stored, run, recorded) - then for stored in after):
                yield FinalRun(record.run, record.started, record.finished or record.started)

    def _undoable(self) -> Iterator[tuple[RunRecord, Undoable]]:
        """The removals of which something can be put back, newest first."""
        from dregutil.journal.removed import removed_by
        from dregutil.plan.undoable import Undoable

        for record, left in self.history.not_undone():
            yield record, Undoable(removed_by(record), left, _others(record))

    def _children_elsewhere(self) -> Mapping[tuple[Repository, Digest], Manifest]:
        """The children of a removed index that another run removed: of two indexes that have a child the first leaves
        it."""
        wanted = {place for _, run in self._undoable() for place in run.children_of_others()}
        return {
            (name, intent.manifest.digest): intent.manifest
            for _, run in (self._undoable() if wanted else ())
            for name, intents in run.removed.items()
            for intent in intents
            if (name, intent.manifest.digest) in wanted
        }

    def _needed_records(self, final: Sequence[FinalRun], kept: timedelta) -> Iterator[Refusal]:
        """Why what runs removed may not become final now."""
        from dregutil.plan.collection import Refusal, named
        from dregutil.select.quantity import duration_as_written

        open_runs = self.interrupted()
        if open_runs:
            names = named([header.run for header, _ in open_runs])
            how = f"{self._advise(open_runs[0][1])} continues it"
            yield Refusal(f"a run is not finished: {names}", how)
        after = datetime.now(UTC) - kept
        young = [one.run for one in final if one.changed > after]
        damaged = [one.run for one in self.history.headers() if one.started > after and not self._is_readable(one)]
        age = duration_as_written(kept)
        if young:
            how = "wait, or give a shorter --keep-undo (0d: all of them become final)"
            yield Refusal(f"runs of the last {age} could not be undone any more: {named(young)}", how)
        if damaged:
            how = "`dregutil history` says what is wrong with it; --keep-undo 0d collects anyway"
            yield Refusal(f"runs of the last {age} have records that cannot be read: {named(damaged)}", how)

    def _is_readable(self, header: RunHeader) -> bool:
        """Whether the whole record of a run can be read."""
        if header.is_damaged or header.is_newer:
            return False
        try:
            return not self.store.get(header.run).damaged
        except JournalError:
            return False

    async def _fresh(self, plan: CollectionPlan) -> CollectionPlan:
        """The plan, or the same made again. Raises RefusedError if another set of blobs would be swept."""
        last, lock, when = self._to_collect
        if plan is last and lock == self._locks and clock.now() - when < _FRESH:
            return plan
        again = await self.plan_collection(
            plan.command.words, keep_undo=plan.keep_undo, assume_read_only=plan.assume_read_only
        )
        if [one.swept.keys() for one in again.predictions] != [one.swept.keys() for one in plan.predictions]:
            raise RefusedError(
                "the storage has changed since the plan was made; nothing was collected", advice="plan it again"
            )
        return again

    def _begun(self, plan: CollectionPlan, name: str) -> CollectionRecord:
        from dregutil.journal.collections import CollectionRecord, Freed

        return CollectionRecord(
            name,
            self.identity,
            datetime.now(UTC).replace(microsecond=0),
            list(plan.command.words),
            {str(one.collector): Freed(len(one.swept), one.size) for one in plan.predictions},
            [one.run for one in plan.final],
        )

    def _settle(self, collections: Collections, stored: StoredRegistry) -> None:
        """Find out what was taken by earlier collections that did not end, and record that."""
        import msgspec

        from dregutil.plan.undoable import lost_to_undo

        unended = [one for one in self.collections() if one.ended is None]
        if not unended:
            return
        recorded = self._children_elsewhere()
        lost = {record.run for record, run in self._undoable() if lost_to_undo(stored, run, recorded)}
        for one in unended:
            taken = [run for run in one.runs if run in lost]
            now = datetime.now(UTC).replace(microsecond=0)
            collections.write(msgspec.structs.replace(one, ended=now, runs=taken))

    def _final_after(self, plan: CollectionPlan, *, is_known: bool) -> tuple[str, ...]:
        """The runs that the collection took something of; if that is not known, those that were predicted."""
        after = self._stored if is_known else None
        predicted = tuple(one.run for one in plan.final)
        return predicted if after is None else tuple(one.run for one in self._made_final(plan.before, [after]))

    def _compared(self, plan: CollectionPlan) -> tuple[Comparison | None, str]:
        """What the collection did, by the storage as it is now; or why that cannot be known."""
        from dregutil.plan.collection import compared, first_of

        try:
            after = self._read_anew()
        except StorageError as error:
            return None, error.message
        if after.is_partial:
            return None, first_of([odd for odd in after.oddities if odd.unread])
        return compared(plan.before, after, plan.predictions), ""


def _others(record: RunRecord) -> Mapping[Repository, Sequence[Repository]]:
    """For each repository of a run those that its plan knew to have the same digests."""
    found: dict[Repository, list[Repository]] = {}
    for step in record.plan.steps:
        found.setdefault(step.repository, []).extend(step.also_in)
    return found


def _prevented(stored: StoredRegistry, predictions: Sequence[Prediction]) -> Iterator[Refusal]:
    """Why the collector may not run on this storage: it would stop, or sweep what a tag needs or stands for."""
    from dregutil.plan.collection import Refusal, named, tags_on_placeholders

    for one in predictions:
        if one.stops:
            what = f"the collector of {one.collector} stops with an error at {one.stops}, and frees nothing"
            yield Refusal(what, "repair that first; `dregutil doctor --storage PATH` shows all of it")
        if one.tags:
            what = f"the collector of {one.collector} would sweep what tags need: {named(one.tags)}"
            how = "run it without -m" if one.collector.deletes_untagged else "push these images again first"
            yield Refusal(what, how)
    moved = tags_on_placeholders(stored)
    if moved:
        what = f"an interrupted run left tags on a placeholder, and what they named would be swept: {named(moved)}"
        yield Refusal(what, "resume or undo that run first, with its state folder; or push or remove these tags")


async def _contradicted(
    command: CollectorCommand, stored: StoredRegistry, prediction: Prediction
) -> AsyncIterator[Refusal]:
    """Whether the collector's own dry run names other blobs: another storage than `stored`, or a wrong prediction."""
    from dregutil.apply.collector_run import dry_run
    from dregutil.plan.collection import Refusal, named

    found = await dry_run(command)
    if found is None:
        return
    strange = sorted(found - stored.blobs.keys())
    other = sorted(found ^ prediction.swept.keys())
    if strange:
        what = f"the collector would sweep blobs that {stored.place} does not have: {named(strange)}"
        yield Refusal(what, "name the storage of the collector's own configuration with --storage")
    elif other:
        what = f"by its own dry run the collector would not sweep what {stored.place} shows: {named(other)}"
        yield Refusal(what, "name the storage of the collector's own configuration with --storage")


def _ended(record: CollectionRecord, result: CollectionRun) -> CollectionRecord:
    import msgspec

    from dregutil.journal.collections import Freed

    found = result.comparison
    return msgspec.structs.replace(
        record,
        ended=datetime.now(UTC).replace(microsecond=0),
        runs=list(result.final),
        freed=None if found is None else Freed(len(found.freed), found.size),
        exit_code=result.exit.code,
        differs=None if found is None else not found.is_as_predicted,
    )
