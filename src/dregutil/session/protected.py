"""What policies protect, as a session reads it: when they are judged, and again before what they planned is removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import RefusedError, UsageError
from dregutil.session.planning import PlanningSession

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dregutil.oci.names import Digest, Repository, Tag
    from dregutil.plan.model import Plan, PolicySource
    from dregutil.retention.holds import Holds
    from dregutil.retention.in_use import ListFile
    from dregutil.retention.policy import PolicySet

__all__ = ["ProtectedSession", "load_policy"]

_LONGEST_POLICY = 16 << 20  # bytes


def load_policy(path: str | Path) -> PolicySet:
    """The policies of a file, or of all files in a folder that end in `.yaml` or `.yml`.

    Raises UsageError if one cannot be read, or there is none, PolicyError if they have mistakes.
    """
    from dregutil.retention.policyfile import read_policies, read_policy

    if not Path(path).is_dir():
        return read_policy(_text(path), str(path))
    files = sorted(file for file in Path(path).iterdir() if file.suffix in (".yaml", ".yml"))
    texts = {str(file): _text(file) for file in files if not file.name.startswith(".")}
    if not texts:
        raise UsageError(f"there is no policy in {path}", advice="write files that end in .yaml into it")
    return read_policies(texts, str(path))


def _text(path: str | Path) -> str:
    from dregutil.files import read_text

    try:
        return read_text(Path(path), _LONGEST_POLICY)
    except OSError as error:
        raise UsageError(
            f"the policy {path} cannot be read: {error.strerror or error}",
            advice="-f names a policy file, in YAML; the README shows the shortest useful one",
        ) from error
    except ValueError as error:
        raise UsageError(f"the policy {path} is not UTF-8 text") from error


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
        from dregutil.plan.model import StepKind
        from dregutil.retention.holds import Holds
        from dregutil.retention.image_name import registry_hosts
        from dregutil.retention.in_use import images_in, in_use_of
        from dregutil.retention.protected import protected_by
        from dregutil.retention.pulled import asks_for_pulls
        from dregutil.retention.read_lists import manifests_of

        try:
            policies = load_policy(source.file)
        except UsageError as error:
            raise RefusedError(
                f"{error.message}; the plan was made from it, and it says what is protected",
                advice="put it back where it was, or make the plan again; nothing was removed",
            ) from error
        aliases = tuple(dict.fromkeys((*policies.protect.aliases, *source.aliases)))
        protect = replace(policies.protect, aliases=aliases)
        lists = await self._lists(policies, Path(source.file))
        own = registry_hosts(self.address, aliases)
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
        pulled = self._pulled_since(plan) if by_pulls else frozenset()
        return Holds(
            tuple(protected_by(protect, used, plan.steps, unread, datetime.now(UTC), self.database.details, pulled))
        )

    def _pulled_since(self, plan: Plan) -> frozenset[tuple[Repository, Digest]]:
        """The digests of a plan that were pulled since it was made, or something below them, or one of their tags."""
        from dregutil.pulls.evidence import last_pull

        store, found = self._pull_store, set[tuple["Repository", "Digest"]]()
        for repository, steps in plan.by_repository.items():
            pulls = store.pulls(repository)
            for step in steps:
                below = tuple(self._below(step.digest))
                last = [last_pull(pulls, tag, step.digest, below) for tag in step.tags or (None,)]
                # To the second: what was pulled in the second of the plan may have been pulled after it.
                if any(pull is not None and pull.at >= plan.made_at.replace(microsecond=0) for pull in last):
                    found.add((repository, step.digest))
        return frozenset(found)
