"""Policies and a registry's tags → verdicts, and what a cleanup would remove.

Reads the content database; a callback fetches what is not in it. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dregutil.errors import DregutilError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.inventory.tag_history import Missing, TagHistory
from dregutil.inventory.untagged import UntaggedManifests
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.plan.model import Plan
from dregutil.pulls.pull import RepositoryPulls, Source
from dregutil.retention.budget import BudgetReport, Reach, within_budgets
from dregutil.retention.facts import Facts, wanted_digests
from dregutil.retention.holds import Holds
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, ListReport, find_in_use, images_in, refuse_caches_alone
from dregutil.retention.judge import judge
from dregutil.retention.policy import PolicySet
from dregutil.retention.proposal import PolicySummary, RuleSummary, kept_alone
from dregutil.retention.pulled import with_pulls
from dregutil.retention.read_lists import manifests_of
from dregutil.retention.verdict import Judgement, TagFacts, Verdict

__all__ = [
    "Judged",
    "LastCleanup",
    "Proposal",
    "Remembered",
    "ToJudge",
    "held_by_rules",
    "judge_registry",
    "not_taken",
    "reach_in",
]

ReadMissing = Callable[[Collection[tuple[Repository, Digest]]], Awaitable[Mapping[Digest, DregutilError]]]
"""Reads the content of digests into the content database; returns those that could not be read, and why."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the records of this machine know: when tags appeared, which tags the last crawls no longer found, what is
    held, and, if earlier records were lost, when the new ones began. `pulls`, if a policy asks for them, returns those
    of a repository, from what has recorded them: `sources`."""

    history: TagHistory
    missing: Mapping[Repository, Mapping[Tag, Missing]] = field(default_factory=dict)
    holds: Holds = field(default_factory=Holds)
    young_since: datetime | None = None
    pulls: Callable[[Repository], RepositoryPulls] | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts on a registry, and what they were made from. `unread`: digests whose content could not be read, and why;
    `left_behind`: tags that an interrupted run left on a placeholder, which are not judged."""

    policies: PolicySet
    source: CrawlResult
    facts: Mapping[Repository, Sequence[TagFacts]]
    judgement: Judgement
    lists: tuple[ListReport, ...] = ()
    unread: Mapping[Digest, DregutilError] = field(default_factory=dict)
    left_behind: tuple[tuple[Repository, Tag, Digest], ...] = ()
    budgets: tuple[BudgetReport, ...] = ()


@dataclass(frozen=True, slots=True)
class ToJudge:
    """The policies with their lists of images in use, and what they judge: the tags in `source` and the manifests in
    `untagged`, of all repositories or `only` some."""

    policies: PolicySet
    lists: Sequence[ListFile]
    source: CrawlResult
    untagged: UntaggedManifests
    only: Sequence[Repository] | None = None

    @property
    def tags(self) -> Mapping[Repository, Mapping[Tag, Digest]]:
        """The tags of each repository that is judged."""
        names = self.only or dict.fromkeys((*self.source.inventory.repositories, *self.untagged.found))
        return {name: self.source.inventory.tags(name) for name in names}


async def judge_registry(
    address: RegistryAddress,
    database: ContentDatabase,
    asked: ToJudge,
    remember: Callable[[Collection[Repository]], Remembered],
    read_missing: ReadMissing,
) -> Judged:
    """Judge a registry by policies.

    `remember` returns what the records know about repositories; it is called after their contents are read. Raises
    RefusedError if a list of images in use protects nothing in this registry, JournalError, and what `read_missing`
    raises.
    """
    policies, source, wanted = asked.policies, asked.source, asked.tags
    own = registry_hosts(address, policies.protect.aliases)
    images = [(file, images_in(file, own)) for file in asked.lists]  # first, because a bad list refuses everything
    holders = [*wanted_digests(policies, wanted)]
    holders += [(name, digest) for name in wanted for digest in asked.untagged.roots(name)]
    unread = await read_missing(holders)
    lookup, is_whole = manifests_of(database), asked.only is None
    in_use, reports = find_in_use(policies.protect, images, source.inventory, address, lookup, is_whole=is_whole)
    refuse_caches_alone(reports)
    records = remember(tuple(wanted))
    digests = {digest for _, digest in holders}
    read = Facts(database, unread, digests, records.holds, records.young_since, source.listings, records.pulls)
    left_behind = tuple((name, tag, tags[tag]) for name, tags in wanted.items() for tag in read.on_placeholders(tags))
    facts = _facts(read, asked.untagged, records, _without(wanted, {digest for _, _, digest in left_behind}))
    now = datetime.now(UTC)
    policies = with_pulls(policies, records.sources, now)
    judgement, budgets = within_budgets(policies, judge(policies, facts, now=now, in_use=in_use), reach_in(database))
    return Judged(policies, source, facts, judgement, reports, unread, left_behind, budgets)


def reach_in(database: ContentDatabase) -> Reach:
    """What digests refer to, as far as their contents were read."""

    def reach(digest: Digest) -> Mapping[Digest, int]:
        found: dict[Digest, int] = {}
        pending = [digest]
        while pending:
            one = pending.pop()
            manifest = None if one in found else database.manifest(one)
            if manifest is not None:
                found[one] = len(manifest.raw)
                found.update((blob.digest, blob.size or 0) for blob in manifest.blobs if blob.digest not in found)
                pending += [child.digest for child in manifest.children]
        return found

    return reach


def _facts(
    read: Facts, untagged: UntaggedManifests, records: Remembered, wanted: Mapping[Repository, Mapping[Tag, Digest]]
) -> Mapping[Repository, Sequence[TagFacts]]:
    return {
        name: (
            *read.of(name, tags, records.history.of(name, tags)),
            *read.of_untagged(name, untagged.roots(name)),
            *read.of_missing(name, records.missing.get(name, {})),
        )
        for name, tags in wanted.items()
    }


@dataclass(frozen=True, slots=True)
class LastCleanup:
    """The counts of the last cleanup by a policy, for comparison: tags, by policy; and names, by list."""

    when: datetime
    selected: Mapping[str, int]
    removed: Mapping[str, int]
    lists: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a cleanup would do. `plan` removes what the policies do not keep, and takes about `seconds`.

    `untagged` are the manifests that were found without a tag. `left_by_limit`: how many tags a limit leaves for later
    runs. `last`: the counts of the last cleanup with this policy file. `path`: that file; None if the policies were
    made in Python. `uncollected`: bytes that earlier runs removed and the registry has not collected, if they count.
    """

    judged: Judged
    untagged: UntaggedManifests
    summaries: tuple[PolicySummary, ...]
    plan: Plan
    seconds: float = 0.0
    rules: tuple[RuleSummary, ...] = ()
    last: LastCleanup | None = None
    left_by_limit: int = 0
    path: Path | None = None
    uncollected: int = 0

    @property
    def refused(self) -> tuple[PolicySummary, ...]:
        """The policies that would remove more than their `max_remove`; then the plan is not applied."""
        return tuple(one for one in self.summaries if one.refused)


def held_by_rules(database: ContentDatabase, judgement: Judgement) -> Mapping[tuple[str, str], int]:
    """By policy and reason, the bytes that only this reason keeps: an upper bound of what would come back without it,
    because not everything that stays was read."""
    keys: dict[tuple[str, str] | None, int] = {}

    def lines() -> Iterator[tuple[Repository, list[tuple[str, bytes]]]]:
        for verdict in judgement:
            if not verdict.goes:
                number = keys.setdefault(kept_alone(verdict), len(keys))
                yield Repository(str(number)), [(verdict.facts.tag or "", verdict.facts.digest.key)]

    held = {row.repository: row.unique for row in DiskUsage(database, lines()).measure("repo").rows()}
    return {key: held.get(Repository(str(number)), 0) for key, number in keys.items() if key is not None}


def not_taken(going: Collection[Verdict], plan: Plan) -> Set[tuple[Repository, Digest]]:
    """The images of `going` that their plan does not remove."""
    taken = {(step.repository, step.digest) for step in plan.steps}
    return {(verdict.repository, verdict.facts.digest) for verdict in going} - taken


def _without(
    repositories: Mapping[Repository, Mapping[Tag, Digest]], digests: Set[Digest]
) -> Mapping[Repository, Mapping[Tag, Digest]]:
    """The tags that name none of `digests`."""
    if not digests:
        return repositories
    return {
        name: {tag: digest for tag, digest in tags.items() if digest not in digests}
        for name, tags in repositories.items()
    }
