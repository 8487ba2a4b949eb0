"""Policies in a session: what a cleanup would remove, and why an image is kept or removed. Nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference, Repository
from dregutil.session.protected import load_policy
from dregutil.session.undo import UndoSession

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.inventory.untagged import UntaggedManifests
    from dregutil.oci.graph import RepositoryGraph
    from dregutil.plan.cleanup import Judged, Proposal, Remembered, ToJudge
    from dregutil.plan.model import Plan, PolicySource, RemovalOptions
    from dregutil.plan.why import Explanation
    from dregutil.retention.policy import PolicySet
    from dregutil.retention.proposal import RuleSummary
    from dregutil.retention.verdict import Verdict
    from dregutil.storage.collector import Collector

__all__ = ["CleanupSession"]


def _source(path: Path | None, judged: Judged) -> PolicySource | None:
    """The policy of a plan, by which a run reads its lists again; None for one that is in no file."""
    from dregutil.plan.model import PolicySource
    from dregutil.retention.names import name_rules

    if path is None:
        return None
    policies = judged.policies
    ages = {one.name: one.age.total_seconds() for one in judged.lists}
    names = {one.file: (one.file, _seconds(one.age), one.size) for one in name_rules(policies)}
    doomed = {one.file: _seconds(one.age) for policy in policies.policies for one in policy.doomed}
    aliases = policies.protect.aliases
    return PolicySource(
        str(path.absolute()), tuple(ages.items()), aliases, tuple(names.values()), tuple(doomed.items())
    )


def _seconds(age: timedelta | None) -> float:
    return 0.0 if age is None else age.total_seconds()


class CleanupSession(UndoSession):
    """A session that reads, removes, puts back, and applies policies."""

    async def plan_cleanup(
        self,
        policy: PolicySet | str | Path,
        *,
        file: Path | None = None,
        limit: int | None = None,
        free: int | None = None,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
        details: bool = False,
        only_shown: bool = False,
    ) -> Proposal:
        """What a cleanup by `policy`, the path of a file or policies made in Python, would remove. Reads the whole
        registry live, and notes the tags in the records; the registry is not changed.

        `file` is the file of policies that were read before. At most `limit` tags are removed, those of the oldest
        images; or no more of these than until `free` bytes are freed, together with what earlier runs have removed and
        the registry has not collected yet. With `details`, the size that each rule keeps is computed. `only_shown`:
        nothing will be removed, so records may be missing. Raises PolicyError, RefusedError if a list of images in use
        cannot be read or protects nothing here, JournalError, and the errors of reading.
        """
        from dregutil.plan.grounds import with_grounds

        policies, path = self._policies(policy, file)
        judged, untagged = await self._judge_live(policies, path, must_note=not only_shown)
        uncollected = 0 if free is None else await self._uncollected()
        most = (limit, None if free is None else free - uncollected)
        going, plan = await self._plan_judged(judged, most, options, collector)
        plan = replace(with_grounds(plan, judged.policies, judged.judgement), policy=_source(path, judged))
        plan = self._called(plan, "plan_cleanup", [path or ", ".join(one.name for one in policies.policies)], {})
        return self._proposal(judged, untagged, going, plan, path, details=details, uncollected=uncollected)

    def _proposal(
        self,
        judged: Judged,
        untagged: UntaggedManifests,
        going: Sequence[Verdict],
        plan: Plan,
        path: Path | None,
        *,
        details: bool,
        uncollected: int,
    ) -> Proposal:
        from dregutil.plan.cleanup import Proposal
        from dregutil.retention.proposal import summaries

        return Proposal(
            judged,
            untagged,
            summaries(judged.policies, judged.judgement, going),
            plan,
            seconds=self.seconds_for(plan),
            rules=self._rules(judged) if details else (),
            last=self._last_cleanup(path),
            left_by_limit=len(tuple(judged.judgement.removed())) - len(going),
            path=path,
            uncollected=uncollected,
        )

    async def _uncollected(self) -> int:
        """The bytes that were removed and that the registry has not collected: exactly with its storage; otherwise
        those of the recorded runs of which a blob is still there. Raises JournalError, UnreachableError, LoginError."""
        from dregutil.plan.waste import wasted
        from dregutil.session.uncollected import uncollected_bytes

        stored = self.stored()
        if stored is not None:
            return wasted(stored, datetime.now(UTC)).orphan_bytes
        async with self.connected() as registry:
            return await uncollected_bytes(registry, self.history.not_undone())

    def _rules(self, judged: Judged) -> tuple[RuleSummary, ...]:
        """What each rule keeps, with sizes."""
        from dregutil.plan.cleanup import held_by_rules
        from dregutil.retention.proposal import rule_summaries

        return rule_summaries(judged.judgement, held_by_rules(self.database, judged.judgement))

    async def _judge_live(
        self, policies: PolicySet, path: Path | None, *, must_note: bool
    ) -> tuple[Judged, UntaggedManifests]:
        """Read the whole registry, note its tags in the records, and judge it."""
        from dregutil.plan.cleanup import ToJudge
        from dregutil.retention.pulled import asks_for_pulls

        self.stored()
        lists, policies = await self._lists(policies, path), self._with_lists(policies, path)
        policies = self._with_logs(policies, path)
        notified = self._notified.last() if self._notified is not None and asks_for_pulls(policies) else None
        source = await self.crawl_whole(for_policy=True)
        if notified is not None and await self.notifications_arrive(notified, source.inventory) is False:
            self._warn_not_notified(notified)
        if source.complete:
            self._save(source)
        self._note(source, path, must=must_note)
        self._learn_indexes(self.records.missing_digests(source.inventory))
        untagged = await self.find_untagged(policies, source)
        self._learn_indexes({name: one.indexes for name, one in untagged.found.items()})
        return await self._judge(ToJudge(policies, lists, source, untagged), path), untagged

    def _warn_not_notified(self, last: datetime) -> None:
        self._warn(
            f"the registry's notifications do not arrive, the last one is of {last:%Y-%m-%d %H:%M} UTC: "
            "what was pulled since is not known",
            "see that dregutil listen runs, and what it and the registry's log say; "
            "in a gap longer than max_gap everything counts as pulled",
        )

    async def _plan_judged(
        self,
        judged: Judged,
        most: tuple[int | None, int | None],
        options: RemovalOptions | None,
        collector: Collector | None,
    ) -> tuple[Sequence[Verdict], Plan]:
        """The verdicts to carry out, all of them or the oldest images, at `most` so many tags and bytes, and their
        plan."""
        from dregutil.plan.cleanup import not_taken, reach_in
        from dregutil.plan.model import RemovalOptions
        from dregutil.retention.budget import oldest_within
        from dregutil.retention.proposal import selection_of

        if any(one.untag for one in judged.policies.policies):
            options = replace(options or RemovalOptions(), untag=True)

        async def make(going: Sequence[Verdict]) -> Plan:
            selection = selection_of(judged.policies, going)
            return await self.plan_selection(selection, judged.source.inventory, options, collector)

        everything, reach = tuple(judged.judgement.removed()), reach_in(self.database)
        going = oldest_within(judged.judgement, most, reach)
        plan = await make(going)
        if len(going) < len(everything) and not_taken(going, plan):
            # Otherwise images that are held back would use up the limit in every run.
            going = oldest_within(judged.judgement, most, reach, not_taken(everything, await make(everything)))
            plan = await make(going)
        return going, plan

    async def find_untagged(
        self, policies: PolicySet, source: CrawlResult, only: Sequence[Repository] | None = None
    ) -> UntaggedManifests:
        """The manifests that policies with `untagged: true` may remove, in all repositories or in `only` some.

        With the registry's storage, all untagged manifests; otherwise those that lost their last tag according to the
        records, or that the registry's service lists, and that the registry still has. Raises JournalError,
        StorageError, UnreachableError and LoginError.
        """
        from dregutil.inventory.find_untagged import find_known_untagged, find_stored_untagged
        from dregutil.inventory.untagged import UntaggedManifests
        from dregutil.retention.policy import applies_to

        asking = [policy for policy in policies.policies if policy.select.untagged]
        stored = self.stored() if asking else None
        names = set(only if only is not None else (*source.inventory.repositories, *source.listings))
        if stored is not None and only is None and self.listed is None:
            names |= stored.repositories.keys() - source.failed.keys()
        wanted = sorted(name for name in names if any(applies_to(policy, name) for policy in asking))
        if not wanted:
            return UntaggedManifests()
        history = self.records.history
        if stored is not None and self.storage is not None:
            return find_stored_untagged(self.storage, stored, source.inventory, history, wanted)
        listed = any(source.listings[name].untagged for name in wanted if name in source.listings)
        if not listed and not any(history.untagged(name) for name in wanted):
            return UntaggedManifests()
        async with self.connected() as registry:
            return await find_known_untagged(registry, source, self.known(), history, wanted)

    async def why(self, policy: PolicySet | str | Path, image: str, *, file: Path | None = None) -> Explanation:
        """Every rule and reference that keeps or removes an image, `repository:tag` or `repository@digest`. Raises
        UsageError for an image without tag and digest, NotFoundError, and the errors of `plan_cleanup`."""
        from dregutil.plan.cleanup import ToJudge
        from dregutil.plan.why import (
            Explanation,
            left_behind,
            unjudged,
            verdict_on,
        )
        from dregutil.retention.explain import explain
        from dregutil.select.find import check_was_read

        reference = Reference.parse(image, registry=self.address)
        if reference.tag is None and reference.digest is None:
            raise UsageError(f"{image} names no tag", advice="name one image: repository:tag or repository@digest")
        policies, path = self._policies(policy, file)
        lists, policies = await self._lists(policies, path), self._with_lists(policies, path)
        policies = self._with_logs(policies, path)
        repository = reference.repository
        source = await self.inventory(only=None if lists else [repository], for_policy=True)
        untagged = await self.find_untagged(policies, source, [repository])
        judged = await self._judge(ToJudge(policies, lists, source, untagged, [repository]), path)
        verdicts = judged.judgement.verdicts.get(repository, ())
        verdict = verdict_on(reference, verdicts)
        found: Explanation | None = None
        if verdict is not None:
            found = Explanation(verdict, tuple(explain(judged.policies, verdicts, verdict, judged.judgement.now)))
        elif reference.tag is None and reference.digest is not None:
            graph = await self._survey(repository, reference.digest, source, untagged)
            found = unjudged(graph, reference.digest, verdicts, untagged.left_out.get(repository, ""))
        elif reference.tag is not None:
            on = [digest for _, tag, digest in judged.left_behind if tag == reference.tag]
            found = left_behind(repository, reference.tag, on[0]) if on else None
        if found is None:
            check_was_read(reference, source)
            raise await self._absent(reference)
        return self._with_records(found, repository, source)

    def _with_records(self, found: Explanation, repository: Repository, source: CrawlResult) -> Explanation:
        """Add the hold of the image, its last pull, and where else it is. Raises JournalError."""
        from dregutil.plan.why import with_elsewhere, with_hold, with_pull

        facts = found.verdict.facts
        held = self._current_holds().on(repository, facts.tag, facts.digest)
        report = self.last_pulls([(repository, facts.tag, facts.digest)])
        found = with_pull(found, report.images[0].pull, report.sources, report.now)
        return with_elsewhere(with_hold(found, held), source.inventory)

    async def _judge(self, asked: ToJudge, path: Path | None) -> Judged:
        """Judge the registry with the records of this machine; `path` is the file of the policies."""
        from dregutil.plan.cleanup import Remembered, judge_registry
        from dregutil.retention.pulled import asks_for_pulls

        def remember(names: Collection[Repository]) -> Remembered:
            records = self.records
            taken = records.taken()
            missing = records.missing(asked.source.inventory, names, taken)
            found = Remembered(records.history, missing, self._current_holds(), records.young_since(path))
            if not asks_for_pulls(asked.policies):
                return found
            store = self._known_pulls
            return replace(found, pulls=store.pulls, sources=store.sources())

        return await judge_registry(self.address, self.database, asked, remember, self.read_contents)

    async def _survey(
        self, repository: Repository, digest: Digest, source: CrawlResult, untagged: UntaggedManifests
    ) -> RepositoryGraph:
        from dregutil.inventory.find_untagged import survey_repositories

        known = self.known().with_untagged(untagged)
        async with self.connected() as registry:
            graphs = await survey_repositories(registry, source.inventory, known, {repository: {digest: None}})
        return graphs[repository]

    def _policies(self, policy: PolicySet | str | Path, file: Path | None) -> tuple[PolicySet, Path | None]:
        """The policies, and their file."""
        return (load_policy(policy), Path(policy)) if isinstance(policy, str | Path) else (policy, file)
