"""What a session would remove: the plans of a removal, made with the client that only reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from dregutil.errors import CatalogClosedError, NotFoundError, UsageError
from dregutil.oci.names import Digest, Repository
from dregutil.select.named import parse_named, parse_repositories
from dregutil.session.holds import HoldSession

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dregutil.inventory.crawl_result import CrawlResult
    from dregutil.inventory.known import Known
    from dregutil.inventory.tags import Inventory
    from dregutil.plan.model import Plan, RemovalOptions
    from dregutil.select.digests import Beginning
    from dregutil.select.query import Query, Selectors
    from dregutil.select.selection import MatchRules, Selection
    from dregutil.storage.collector import Collector

__all__ = ["PlanningSession"]

_MOST_DATED = 500


class PlanningSession(HoldSession):
    """A session that reads, holds, and plans removals."""

    _planned: Plan | None = None  # the last plan made here: its duration can be estimated

    async def plan_removal(
        self,
        *repositories: str,
        rules: MatchRules | None = None,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
        digests: Collection[str] | None = None,
        with_tags: bool = False,
        **selectors: Unpack[Selectors],
    ) -> Plan:
        """The plan that removes the selected tags of repositories (names or globs), or manifests of one repository by
        their `digests`. Reads the registry, and changes nothing.

        `selectors` are listed in `Selectors`, such as `tags=["<1.4"]` and `older_than="90d"`; all of them must
        match. A digest is removed only if all its tags, in every repository, are selected; `rules` change that.
        `collector` says how the registry runs its garbage collector, which decides how much is freed. Raises
        UsageError if no selector is given, or if `tags` together match every version, IntersectionError if `rules`
        ask for it, and what `tags` raises.

        `digests` are whole, or unique beginnings; NotFoundError names one that does not exist. A digest that has tags
        stays, unless these go `with_tags`. Other repositories that have it keep theirs.
        """
        if digests is not None:
            if len(repositories) != 1 or rules is not None or selectors:
                raise UsageError("digests are those of one repository, without other selectors and rules")
            plan, absent = await self.plan_digests(
                repositories[0], digests, with_tags=with_tags, options=options, collector=collector
            )
            if absent:
                raise NotFoundError(f"{repositories[0]} has no manifest {absent[0]}")
            return self._called(plan, "plan_removal", repositories, {"digests": [*digests], "with_tags": with_tags})
        if with_tags:
            raise UsageError("with_tags belongs to digests", advice="name them with digests=[…]")
        selection, inventory = await self._select(repositories, rules, self._query(selectors))
        plan = await self.plan_selection(selection, inventory, options, collector)
        return self._called(plan, "plan_removal", repositories, selectors)

    async def _select(
        self, repositories: Sequence[str], rules: MatchRules | None, query: Query
    ) -> tuple[Selection, Inventory]:
        """What `query` selects in repositories, and the tags from which it was selected."""
        from dregutil.select.every_version import EVERY_VERSION_ADVICE
        from dregutil.select.selection import MatchRules, select_tags

        if not repositories or not query.selects:
            raise UsageError(
                "no repository was named" if not repositories else "no tags are selected",
                advice="name repositories, and tags or versions with tags=[…]; plan_repository_removal takes all tags",
            )
        if query.every is not None:
            raise UsageError(query.every.text("tags"), advice=EVERY_VERSION_ADVICE)
        rules = rules or MatchRules()
        only = query.contents.with_bases(parse_named(repositories, self.address).only)
        found = await self.inventory(only=only if rules.ignore_other_repositories else None)
        names = self.named(repositories, found)
        self._warn_of_unmatched(query, names, found.inventory)
        digests = None
        if query.contents.is_asked:
            tags = [(name, tag, digest) for name in names for tag, digest in found.inventory.tags(name).items()]
            holders = [(name, digest) for name, tag, digest in tags if query.tags.matches(tag)]
            digests = (await self.search(found, query.contents, holders)).digests
        return select_tags(found.inventory, names, query.tags, rules, digests=digests), found.inventory

    async def plan_repository_removal(
        self,
        *repositories: str,
        rules: MatchRules | None = None,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
    ) -> Plan:
        """The plan that removes every tag of repositories. The brake does not apply to it. As `plan_removal`."""
        from dregutil.select.selection import MatchRules, select_repositories

        if not repositories:
            raise UsageError("no repository was named")
        rules = rules or MatchRules()
        names = parse_repositories(repositories, self.address)
        found = await self.inventory(only=names if rules.ignore_other_repositories else None)
        self.named(names, found)
        selection = select_repositories(found.inventory, names, rules)
        plan = await self.plan_selection(selection, found.inventory, options, collector)
        return self._called(plan, "plan_repository_removal", repositories, {})

    async def plan_digests(
        self,
        repository: str,
        digests: Collection[str],
        *,
        with_tags: bool = False,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
    ) -> tuple[Plan, tuple[Digest, ...]]:
        """The plan that removes manifests of a repository, and those of `digests` that do not exist. As `plan_removal`
        with `digests`. Raises NotFoundError for the beginning of a digest that none has."""
        from dregutil.select.digests import Beginning, parse_digests, select_digests

        parsed = parse_digests(digests)
        if not parsed:
            raise UsageError("no digest was named")
        name = self.address.repository(repository)
        found = await self._with_other_repositories(name)
        beginnings = [one for one in parsed if isinstance(one, Beginning)]
        known = await self._known_digests(name, found.inventory, beginnings) if beginnings else frozenset()
        wanted: dict[Digest, None] = {}
        for one in parsed:
            digest = one.only_one(known) if isinstance(one, Beginning) else one
            if digest is None:
                raise NotFoundError(
                    f"no known manifest of {name} begins with {one}",
                    advice="give the whole digest: a registry does not list manifests without a tag",
                )
            wanted[digest] = None
        selection = select_digests(name, wanted, with_tags=with_tags)
        plan = await self.plan_selection(selection, found.inventory, options, collector)
        there = {step.digest for step in plan.steps} | {kept.digest for kept in plan.kept}
        return plan, () if plan.left_out else tuple(digest for digest in wanted if digest not in there)

    async def _with_other_repositories(self, name: Repository) -> CrawlResult:
        """The tags of the whole registry: another name may be the same store, so that its tags go with the digest. Only
        those of the repository `name`, with a warning, if the registry does not list the others."""
        try:
            return await self.inventory()
        except CatalogClosedError as error:
            self._warn(
                f"{error.message}: whether another name is the same repository as {name} is not known",
                "name the repositories with --repositories-from, and tags there that go with the digest are put back",
            )
            return await self.inventory(only=(name,))

    async def _known_digests(
        self, name: Repository, inventory: Inventory, beginnings: Iterable[Beginning]
    ) -> frozenset[Digest]:
        """The digests of a repository that are known: on tags, in indexes, in the records, in the storage, and those in
        the content database that the repository has and that begin so."""
        from dregutil.inventory.contents.search import digests_beginning_with
        from dregutil.inventory.find_untagged import survey_repositories

        known = self._known_untagged(name)
        candidates = {
            digest for one in beginnings for digest in digests_beginning_with(self.database, one.hex, one.algorithm)
        }
        stored = self.stored()
        held = None if stored is None else stored.repositories.get(name)
        async with self.connected() as registry:
            graph = (await survey_repositories(registry, inventory, known, {name: {}}))[name]
            found = {*graph.tags.values(), *graph.manifests, *(held.revisions if held else ())}
            found.update(child.digest for manifest in graph.manifests.values() for child in manifest.children)
            for digest in sorted(candidates - found):
                if await registry.find(name, digest) is not None:
                    found.add(digest)
        return frozenset(found)

    def _known_untagged(self, *names: Repository) -> Known:
        """What is known, with the manifests that lost their last tag according to the records: they may be indexes,
        which hold their children."""
        lost = {name: self.records.history.untagged(name) for name in names}
        return self.known().with_indexes({name: frozenset(since) for name, since in lost.items()})

    async def plan_selection(
        self,
        selection: Selection,
        inventory: Inventory,
        options: RemovalOptions | None = None,
        collector: Collector | None = None,
    ) -> Plan:
        """The plan that removes a selection made from `inventory`. Raises UnreachableError and LoginError; a repository
        that cannot be read completely is left out, and named in the plan."""
        from dregutil.plan.live import plan_removal
        from dregutil.storage.collector import Collector

        self._forget()
        named = {entry.repository for entry in selection.selected if entry.is_named and not entry.tags}
        known = self._known_untagged(*named)
        async with self.connected() as registry:
            self._planned = await plan_removal(
                registry,
                selection,
                inventory,
                options,
                command=self._options.get("command", ""),
                known_indexes=known.indexes,
                seen=known.seen,
                readings=self.surveys,
                collector=collector or Collector.DEFAULT,
                stored=self.stored(),
                holds=self._current_holds(),
            )
        return self._planned

    async def dated(self, plan: Plan) -> Plan:
        """`plan` with the dates of what was selected, as far as they are known. Those of the first images that were
        never read are read now: at most 500, because a plan is shown for its rows, and removed without them."""
        from dregutil.oci.image import known_date
        from dregutil.plan.model import StepKind

        roots = [step for step in plan.steps if step.kind in (StepKind.IMAGE, StepKind.INDEX)]
        missing = set(self.database.missing(step.digest for step in roots))
        wanted = [(step.repository, step.digest) for step in roots if step.digest in missing]
        await self.read_contents(wanted[:_MOST_DATED])
        dates: dict[Digest, datetime | None] = {}
        for digest in {step.digest for step in roots} - {digest for _, digest in wanted[_MOST_DATED:]}:
            details = self.database.details(digest)
            dates[digest] = None if details is None else known_date(details.created, datetime.now(UTC))
        found = replace(plan, steps=tuple(replace(step, created=dates.get(step.digest)) for step in plan.steps))
        if plan is self._planned:
            self._planned = found
        return found

    def seconds_for(self, plan: Plan) -> float:
        """The estimated duration of a plan in seconds, from the response times of the registry in this session."""
        from dregutil.plan.cost import plan_seconds

        if self._registry is None:
            return plan_seconds(plan, 0.0, 1)
        return plan_seconds(plan, self._registry.request_seconds, self._registry.concurrency)

    def braked(self, plan: Plan) -> tuple[Repository, ...]:
        """The repositories of which a plan removes so much that `apply` needs `confirm_tags`."""
        from dregutil.plan.brake import braked_repositories

        return braked_repositories(plan)

    def _called(self, plan: Plan, method: str, positional: Sequence[object], named: Mapping[str, object]) -> Plan:
        """The plan with the call that made it as its command, unless the session names a command."""
        if "command" not in self._options:
            given = (*(repr(str(one)) for one in positional), *(f"{name}={value!r}" for name, value in named.items()))
            plan = replace(plan, command=f"{method}({', '.join(given)})")
        self._planned = plan
        return plan
