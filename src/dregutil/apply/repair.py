"""What the last look finds needed of what a run deleted comes back, and what is left of a removal goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from dregutil.apply.dangling import clear_left_behind, find_homes
from dregutil.apply.put_back import (
    if_free,
    just_denied_twice,
    just_seen_on_placeholder,
    put_back,
    put_back_missing,
    put_back_tags,
)
from dregutil.apply.run import ends_run
from dregutil.apply.work import Work
from dregutil.errors import DregutilError, JournalError, LoginError, UnreachableError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Tag
from dregutil.plan.model import Step, StepKind
from dregutil.plan.outcome import BrokenTag, Intent, Result

__all__ = ["Repair", "bring_what_came_needs"]

_THERE_AGAIN = "is still there, or there again"


async def bring_what_came_needs(work: Work) -> None:
    """Put back at once what indexes need that came since the last look: the last one may not see them, where a replica
    lags. Raises DregutilError."""
    removed = work.steps.removed
    came = {tag: digest for tag, digest in work.looks.take_came().items() if tag not in work.live.own_tags}
    if not came or not removed:
        return
    manifests = work.live.graph.manifests
    for tag, digest in sorted(came.items()):
        if not removed.keys().isdisjoint(_below(digest, manifests)):
            await Repair(work, {}).tag(tag, digest)


def _below(digest: Digest, manifests: Mapping[Digest, Manifest]) -> set[Digest]:
    """A digest, and what it needs at any depth, as far as `manifests` tell."""
    found, pending = {digest}, [digest]
    while pending:
        manifest = manifests.get(pending.pop())
        children = () if manifest is None else (child.digest for child in manifest.children)
        new = set(children) - found
        found |= new
        pending += new
    return found


class Repair:
    """Repairs one repository after the last DELETE. One repair at a time.

    `tags` are the tags as they were just read: those that are put back are added.
    """

    def __init__(self, work: Work, tags: dict[Tag, Digest]) -> None:
        self._run = work.run
        self._registry = work.run.registry
        self._repository = work.repository
        self._steps = work.steps
        self._graph = work.live.graph  # the last reading of the repository
        self._tags = tags

    async def off_placeholder(self, tag: Tag, digest: Digest) -> Digest:
        """Put a tag back that a late write left on a placeholder of this run; returns what the tag names then."""
        original = self._run.untagger.original(self._repository, tag, digest)
        if original is None:
            return digest
        await put_back_tags(self._registry, self._repository, original, (tag,), guard=just_seen_on_placeholder)
        return original.digest

    async def tag(self, tag: Tag, digest: Digest) -> None:
        """Put back what a tag, which is on `digest`, needs of what the run deleted. Raises DregutilError."""
        await self._there_again(tag, digest)
        await self._bring_needed(tag, digest)

    def note_there_again(self, step: Step, tag: Tag) -> None:
        """Note that a tag that was to go is there. Where the step has failed already, that reason says more."""
        if self._run.result_of(step.number) is not Result.FAILED:
            self._run.note(step, Result.FAILED, f"'{tag}' {_THERE_AGAIN}")

    async def _there_again(self, tag: Tag, digest: Digest) -> None:
        """A tag that was to go with its digest, and is on it: then what refers to that stays too.

        Some servers have dropped the digest and answer by the tag all the same: it is put back from the record, with
        what it needs.
        """
        state = self._steps.removed.get(digest)
        if state is not None and tag in state.step.tags:
            is_gone = await self._registry.resolve(self._repository, digest) is None
            put = await self._put(tag, digest) if is_gone else []
            self._steps.put_back(digest)
            self.note_there_again(state.step, tag)
            self._note_put_back(put, f"'{tag}' {_THERE_AGAIN}")
            await self._bring_referrers(tag, state.step)

    async def _bring_needed(self, tag: Tag, digest: Digest) -> None:
        """Put back `digest` and what it needs, at whatever depth."""
        if digest in self._steps.removed:
            await self._bring_back(tag, digest, "a tag that came meanwhile needs it")
        manifest = await self._registry.manifest(self._repository, digest)
        for child in () if manifest is None else manifest.children:
            if child.digest in self._steps.removed:
                await self._bring_back(tag, child.digest, "an index that came meanwhile needs it")
            else:
                known = self._graph.manifests.get(child.digest)
                if known is None or known.children:
                    await self._bring_needed(tag, child.digest)

    async def _bring_back(self, tag: Tag, digest: Digest, why: str) -> None:
        state = self._steps.removed[digest]
        put = await self._put(tag, digest)
        steps = [self._steps.removed[other].step for other in put if other in self._steps.removed]
        self._note_put_back(put, why)
        if put:
            for other in dict.fromkeys((state.step, *steps)):
                await self._bring_referrers(tag, other)

    async def _put(self, tag: Tag, digest: Digest) -> list[Digest]:
        """Put back what `tag` needs; returns what was put. Where it fails, the tag is named: it is whole only once the
        run is taken up."""
        below = self._steps.removed_manifests
        put: list[Digest] = []
        try:
            await put_back(self._registry, self._repository, below[digest], below=below, put=put)
        except DregutilError as error:
            self._run.broken[self._repository, tag] = BrokenTag(self._repository, tag, digest, error.message)
            if ends_run(error):
                raise
        return put

    async def _bring_referrers(self, tag: Tag, subject: Step) -> None:
        """What referred to something that is there again, with its tags: signatures, and what refers to those."""
        for digest, state in list(self._steps.removed.items()):
            step, manifest = state.step, state.manifest
            refers = subject.number in step.needs and step.kind is StepKind.REFERRER
            if refers and digest in self._steps.removed:
                await self._bring_back(tag, digest, f"{subject.digest.short}, to which it refers, is there again")
                if digest not in self._steps.removed:
                    await put_back_missing(self._registry, self._repository, manifest, step.tags)
                    self._tags.update(dict.fromkeys(step.tags, digest))

    def _note_put_back(self, put: Iterable[Digest], why: str) -> None:
        for digest in put:
            state = self._steps.put_back(digest)
            if state is not None:
                self._run.note(state.step, Result.LEFT, f"put back: {why}")

    async def dangling(self, tags: Sequence[Tag]) -> set[Tag]:
        """Listed tags that name nothing: a delete cut short, or a push that a delete overtook.

        Those of the plan are removed; those of others get back what they were on. Returns those for which nothing was
        found. Raises DregutilError.
        """
        went_alone = self._steps.went_alone
        home = {tag: digest for digest, state in self._steps.removed.items() for tag in state.step.tags}
        ours: dict[Digest, list[Tag]] = defaultdict(list)
        foreign = []
        for tag in tags:
            if tag in went_alone:
                await self._untag_again(tag, went_alone[tag])
            elif tag in home:
                ours[home[tag]].append(tag)
            else:
                foreign.append(tag)
        removed = self._steps.removed_manifests
        await clear_left_behind(self._registry, self._repository, ours, removed)
        homes = await find_homes(self._registry, self._repository, foreign, removed) if foreign else {}
        for tag, digest in homes.items():
            self._tags[tag] = digest
            self._note_put_back(self._with_children(digest), f"'{tag}' came meanwhile and needs it")
        return {tag for tag in foreign if tag not in homes}

    async def _untag_again(self, tag: Tag, step: Step) -> None:
        """Remove a tag alone once more: where a server took the placeholder on which it lay and failed at the tag, as
        2.8.2 does (status 500) while another tag of the repository is written."""
        manifest = self._graph.manifests.get(step.digest)
        if manifest is None or not await if_free(self._registry, self._repository, tag):
            return  # another user has pushed it since
        beside = tuple(other for other, digest in self._tags.items() if digest == step.digest)
        try:
            await put_back_tags(self._registry, self._repository, manifest, (tag,), guard=just_denied_twice)
            await self._run.untagger.untag(Intent(step.number, self._repository, (tag,), manifest, beside=beside))
        except (UnreachableError, LoginError, JournalError) as error:
            self._run.note(step, Result.FAILED, f"'{tag}' may be there again: {error.message}")
            raise
        except DregutilError:
            return  # the next look tells where the tag is

    def _with_children(self, digest: Digest) -> list[Digest]:
        """What the run deleted of a digest and of what is below it."""
        state = self._steps.removed.get(digest)
        if state is None:
            return []
        children = state.manifest.children
        return [*(below for child in children for below in self._with_children(child.digest)), digest]
