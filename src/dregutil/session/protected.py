"""What policies protect, as a session reads it: when they are judged, and again before what they planned is removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import RefusedError, UsageError
from dregutil.journal.policy_file import load_policy
from dregutil.session.planning import PlanningSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dregutil.oci.names import Digest, Repository, Tag
    from dregutil.plan.cleanup import LastCleanup
    from dregutil.plan.grounds import Since
    from dregutil.plan.model import Plan, PolicySource, Step
    from dregutil.pulls.pull import Pull, RepositoryPulls
    from dregutil.retention.holds import Holds
    from dregutil.retention.in_use import ListFile
    from dregutil.retention.policy import PolicySet

__all__ = ["ProtectedSession", "load_policy"]


class ProtectedSession(PlanningSession):
    """A session that reads, plans, and knows what policies protect."""

    _piped: ListFile | None = None  # the list on standard input, which can be read only once

    async def _lists(self, policies: PolicySet, path: Path | None) -> Sequence[ListFile]:
        """The lists of images in use; their paths are relative to the file of the policies. Clusters are asked.

        Raises RefusedError if one cannot be read completely.
        """
        from dregutil.retention.asked import Engine, Kubernetes
        from dregutil.retention.read_lists import STANDARD_INPUT, policy_folder, read_list

        folder = policy_folder(path)
        found: list[ListFile] = []
        for entry in policies.protect.in_use:
            if isinstance(entry, Kubernetes):
                from dregutil.clusters.read import read_clusters

                found += await read_clusters(entry)
            elif isinstance(entry, Engine):
                from dregutil.clusters.engine import read_engine

                found.append(await read_engine(entry))
            elif entry.file != STANDARD_INPUT:
                found.append(read_list(entry, folder))
            else:
                self._piped = self._piped or read_list(entry, folder)
                found.append(replace(self._piped, entry=entry))
        return found

    def _with_lists(self, policies: PolicySet, path: Path | None, made: Plan | None = None) -> PolicySet:
        """Policies with what is in their lists of names and of images to remove; how many names there are is compared
        with the last cleanup or, if that was before, with the plan that was `made`.

        Raises RefusedError if a list cannot be read, is too old, or has lost too many names.
        """
        from dregutil.retention.read_lists import policy_folder, read_doomed_lists, read_name_lists

        last, folder = self._last_cleanup(path), policy_folder(path)
        before = {} if last is None else last.lists
        planned: dict[str, int] = {}
        if made is not None and made.policy is not None and (last is None or last.when < made.made_at):
            planned = {file: number for file, _, number in made.policy.names}
        policies = read_doomed_lists(policies, folder, self.address)
        return read_name_lists(policies, folder, before, planned)

    def _last_cleanup(self, path: Path | None) -> LastCleanup | None:
        return None if path is None else self._last_cleanup_file(path).read()

    async def _with_protected(self, plan: Plan, holds: Callable[[], Holds]) -> Callable[[], Holds]:
        """`holds` with what the policy of a plan protects by now: its file and its lists are read.

        Raises RefusedError if one of them cannot be read, UnreachableError and LoginError.
        """
        from dregutil.retention.holds import Holds

        if plan.policy is None or not plan.steps:
            return holds
        protected = await self._protected(plan, plan.policy)
        if not protected.all:
            return holds
        before: Holds | None = None
        joined = protected

        def current() -> Holds:
            nonlocal before, joined
            found = holds()
            if found is not before:
                before, joined = found, Holds((*found.all, *protected.all))
            return joined

        return current

    async def _protected(self, plan: Plan, source: PolicySource) -> Holds:
        """What of a plan its policy protects by now, as holds."""
        from dregutil.inventory.tags import Inventory
        from dregutil.plan.grounds import since_by_lists
        from dregutil.plan.model import StepKind
        from dregutil.retention.holds import Holds
        from dregutil.retention.image_name import registry_hosts
        from dregutil.retention.in_use import images_in, in_use_of
        from dregutil.retention.protected import protected_by
        from dregutil.retention.pulled import asks_for_pulls
        from dregutil.retention.read_lists import manifests_of

        policies, path = self._policies_by_now(source), Path(source.file)
        protect = policies.protect
        lists, policies = await self._lists(policies, path), self._with_lists(policies, path, plan)
        policies = self._with_logs(policies, path)
        own = registry_hosts(self.address, protect.aliases)
        images = [(file, images_in(file, own)) for file in lists]
        doomed: dict[Repository, dict[Tag, Digest]] = {}
        for step in plan.steps:
            doomed.setdefault(step.repository, {}).update(dict.fromkeys(step.tags, step.digest))
        # A list may name an image's ID or a child, a child may be pulled, and labels are in contents: only these say
        # what they belong to.
        by_pulls = asks_for_pulls(policies)
        asks = by_pulls or bool(images or protect.labels)
        read = [(step.repository, step.digest) for step in plan.steps if asks and step.kind is not StepKind.REFERRER]
        unread = await self.read_contents(read)
        lookup = manifests_of(self.database) if images else None
        used = in_use_of(protect, images, Inventory(doomed), self.address, lookup)
        since = {**since_by_lists(plan, policies), **(self._since_by_pulls(plan, policies) if by_pulls else {})}
        return Holds(
            tuple(protected_by(protect, used, plan.steps, unread, datetime.now(UTC), self.database.details, since))
        )

    def _policies_by_now(self, source: PolicySource) -> PolicySet:
        """The policies of a plan as their file is now. Raises RefusedError."""
        try:
            policies = load_policy(source.file)
        except UsageError as error:
            raise RefusedError(
                f"{error.message}; the plan was made from it, and it says what is protected",
                advice="put it back where it was, or make the plan again; nothing was removed",
            ) from error
        aliases = tuple(dict.fromkeys((*policies.protect.aliases, *source.aliases)))
        return replace(policies, protect=replace(policies.protect, aliases=aliases))

    def _since_by_pulls(self, plan: Plan, policies: PolicySet) -> Since:
        """What of a plan stays by the pulls that are known now: of a digest, something below it, or one of its tags."""
        from dregutil.plan.grounds import since_by_pulls
        from dregutil.pulls.evidence import last_pull

        store, known = self._known_pulls, dict["Repository", "RepositoryPulls"]()

        def last(step: Step) -> Pull | None:
            if step.repository not in known:
                known.clear()  # the steps of a repository come together
                known[step.repository] = store.pulls(step.repository)
            below = tuple(self._below(step.digest))
            pulls = (last_pull(known[step.repository], tag, step.digest, below) for tag in step.tags or (None,))
            return max((pull for pull in pulls if pull is not None), key=lambda pull: pull.at, default=None)

        return since_by_pulls(plan, policies, store.sources(), datetime.now(UTC), last)
