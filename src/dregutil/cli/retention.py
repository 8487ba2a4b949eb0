"""A policy over a registry: read the file, the lists of what is in use, the tags and what is behind them; judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dregutil.cli.contents import read_missing
from dregutil.cli.in_use import manifests_of
from dregutil.cli.records import missing_tags, recent, sightings, young_since
from dregutil.cli.settings import Settings
from dregutil.cli.source import Source
from dregutil.errors import DregutilError, UsageError
from dregutil.files import read_text
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tag_history import Missing, Sighting
from dregutil.inventory.untagged import UntaggedManifests
from dregutil.journal.recent_changes import HELD_FOR
from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Digest, Repository, Tag, parse_accessory_tag, parse_signature_tag
from dregutil.oci.placeholder import is_placeholder
from dregutil.retention import Former, Judgement, PolicySet, TagFacts, judge
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, ListReport, find_in_use, images_in, refuse_caches_alone
from dregutil.retention.policy import applies_to
from dregutil.retention.policyfile import read_policy
from dregutil.retention.proposal import kept_alone
from dregutil.retention.select import may_select_name

__all__ = ["Judged", "judge_registry", "load_policy"]


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts on a registry, and what they were made from. `unread`: digests whose content could not be read;
    `left_behind`: tags that an interrupted run left on a placeholder, which are not judged."""

    policies: PolicySet
    source: Source
    facts: Mapping[Repository, Sequence[TagFacts]]
    judgement: Judgement
    lists: tuple[ListReport, ...] = ()
    unread: Mapping[Digest, DregutilError] | None = None
    left_behind: tuple[tuple[Repository, Tag, Digest], ...] = ()


_LONGEST_POLICY = 16 << 20  # bytes


def load_policy(path: str) -> PolicySet:
    """Raises UsageError, PolicyError among them."""
    try:
        text = read_text(Path(path), _LONGEST_POLICY)
    except OSError as error:
        raise UsageError(
            f"the policy {path} cannot be read: {error.strerror or error}",
            advice="-f names a policy file, in YAML; the README shows the shortest useful one",
        ) from error
    except ValueError as error:
        raise UsageError(f"the policy {path} is no UTF-8 text") from error
    return read_policy(text, path)


def judge_registry(
    settings: Settings,
    database: ContentDatabase,
    policies: PolicySet,
    lists: Sequence[ListFile],
    source: Source,
    untagged: UntaggedManifests,
    *,
    only: Sequence[Repository] | None = None,
    policy: Path | None = None,
) -> Judged:
    """Judge the tags of a registry as `source` has them, and what is `untagged` in it, or of `only` some repositories.

    `policy` is the policy's file. Raises RefusedError where a list of what is in use protects nothing here, and
    JournalError.
    """
    own = registry_hosts(settings.address, policies.protect.aliases)
    images = [images_in(file, own) for file in lists]  # before anything is read: a list may refuse all of it
    names = only or dict.fromkeys((*source.inventory.repositories, *untagged.found))
    wanted = {name: source.inventory.tags(name) for name in names}
    holders = [*_wanted(policies, wanted)]
    holders += [(name, digest) for name in wanted for digest in untagged.roots(name)]
    unread = read_missing(settings, database, holders)
    read_lists = list(zip(lists, images, strict=True))
    lookup, is_whole = manifests_of(database), only is None
    in_use, reports = find_in_use(
        policies.protect, read_lists, source.inventory, settings.address, lookup, is_whole=is_whole
    )
    refuse_caches_alone(reports)
    store, runs = sightings(settings), recent(settings)
    missing = missing_tags(settings, source, names, runs)
    read = _Facts(database, unread, {digest for _, digest in holders}, runs.put_back, young_since(settings, policy))
    left_behind = tuple((name, tag, tags[tag]) for name, tags in wanted.items() for tag in read.on_placeholders(tags))
    placeholders = {digest for _, _, digest in left_behind}
    if placeholders:
        wanted = {name: _without(tags, placeholders) for name, tags in wanted.items()}
    facts = {
        name: (
            *read.of(name, tags, store.of(name, tags)),
            *read.of_untagged(name, untagged.roots(name)),
            *read.of_missing(name, missing.get(name, {})),
        )
        for name, tags in wanted.items()
    }
    now = datetime.now(UTC)
    return Judged(policies, source, facts, judge(policies, facts, now=now, in_use=in_use), reports, unread, left_behind)


def held_by_rules(database: ContentDatabase, judgement: Judgement) -> Mapping[tuple[str, str], int]:
    """By policy and reason, the bytes of what that reason alone keeps and nothing else that stays reaches: at most so
    much more would come back without it, since of what stays not all was read."""
    from dregutil.inventory.contents.disk_usage import DiskUsage

    keys: dict[tuple[str, str] | None, int] = {}

    def lines() -> Iterator[tuple[Repository, Tag, Digest]]:
        for verdict in judgement:
            if not verdict.goes:
                number = keys.setdefault(kept_alone(verdict), len(keys))
                yield Repository(str(number)), verdict.facts.tag or Tag(""), verdict.facts.digest

    held = {row.repository: row.unique for row in DiskUsage(database, lines()).measure("repo").rows()}
    return {key: held.get(Repository(str(number)), 0) for key, number in keys.items() if key is not None}


def _without(tags: Mapping[Tag, Digest], digests: Set[Digest]) -> Mapping[Tag, Digest]:
    return {tag: digest for tag, digest in tags.items() if digest not in digests}


def _wanted(
    policies: PolicySet, repositories: Mapping[Repository, Mapping[Tag, Digest]]
) -> Iterator[tuple[Repository, Digest]]:
    """The digests that a policy may own a tag of: their content decides."""
    for repository, tags in repositories.items():
        applying = [policy for policy in policies.policies if applies_to(policy, repository)]
        for tag, digest in tags.items() if applying else ():
            if parse_signature_tag(tag) is None and any(may_select_name(policy.select, tag) for policy in applying):
                yield repository, digest


class _Facts:
    """What is known of tags, each digest read out of the database once."""

    def __init__(
        self,
        database: ContentDatabase,
        unread: Mapping[Digest, DregutilError],
        wanted: set[Digest],
        put_back: Mapping[tuple[Repository, Digest], datetime],
        young_since: datetime | None,
    ) -> None:
        self.database = database
        self.unread = unread
        self.wanted = wanted
        self.put_back = put_back
        self.young_since = young_since
        self._known: dict[Digest, tuple[ImageDetails | None, Digest | None]] = {}
        self._placeholders: set[Digest] = set()
        self._accessories: set[Digest] = set()  # what is no image that may run

    def on_placeholders(self, tags: Mapping[Tag, Digest]) -> tuple[Tag, ...]:
        """Those of `tags` that an interrupted run left on a placeholder: they name no image, and are counted by no
        rule."""
        for digest in set(tags.values()) & self.wanted:
            self._read(digest)
        if self._placeholders.isdisjoint(tags.values()):
            return ()
        return tuple(sorted(tag for tag, digest in tags.items() if digest in self._placeholders))

    def of(
        self, repository: Repository, tags: Mapping[Tag, Digest], seen: Mapping[Tag, Sighting]
    ) -> Iterator[TagFacts]:
        digests = set(tags.values())
        for tag, digest in tags.items():
            facts, one = self._fact(repository, tag, digest), seen.get(tag)
            if facts.subject is None and digest in self._accessories:
                facts = replace(facts, subject=_subject_of(tag, digests))
            if one is not None:
                facts = replace(
                    facts,
                    seen=one.known_since if one.came else None,
                    known_since=one.known_since,
                    unseen=one.unseen,
                    former=None if one.former is None else Former(*one.former),
                )
            yield facts

    def of_untagged(self, repository: Repository, roots: Mapping[Digest, datetime | None]) -> Iterator[TagFacts]:
        """Those of manifests without a tag. What they refer to is not there, so that they refer to nothing."""
        for digest, since in roots.items():
            yield replace(self._fact(repository, None, digest), seen=since, known_since=since, subject=None)

    def of_missing(self, repository: Repository, missing: Mapping[Tag, Missing]) -> Iterator[TagFacts]:
        """Those of tags that are not there now: as far as it is known, for nothing is read of them."""
        for tag, one in missing.items():
            self.wanted.add(one.digest)
            yield replace(self._fact(repository, tag, one.digest), unread="", missing_since=one.since)

    def _fact(self, repository: Repository, tag: Tag | None, digest: Digest) -> TagFacts:
        if digest not in self.wanted:
            return TagFacts(tag, digest)
        when = self.put_back.get((repository, digest))
        held = "" if when is None else f"`undo` put it back on {when:%Y-%m-%d}, and it is held for {HELD_FOR.days} days"
        details, subject = self._read(digest)
        if details is None:
            why = self.unread[digest].message if digest in self.unread else "it was not found"
            return TagFacts(tag, digest, unread=why, held=held, young_since=self.young_since)
        return TagFacts(
            tag,
            digest,
            details.created,
            size=details.size,
            labels=details.labels,
            contains=tuple(_below(details)),
            subject=subject,
            young_since=self.young_since,
            held=held,
        )

    def _read(self, digest: Digest) -> tuple[ImageDetails | None, Digest | None]:
        return self._known.get(digest) or self._known.setdefault(digest, self._look(digest))

    def _look(self, digest: Digest) -> tuple[ImageDetails | None, Digest | None]:
        if digest in self.unread:
            return None, None
        manifest = self.database.manifest(digest)
        if is_placeholder(manifest):
            self._placeholders.add(digest)
        if manifest is not None and not manifest.is_runnable:
            self._accessories.add(digest)
        subject = None if manifest is None or manifest.subject is None else manifest.subject.digest
        return self.database.details(digest), subject


def _subject_of(tag: Tag, digests: Set[Digest]) -> Digest | None:
    """The one of `digests` that a tag's name speaks of, if its suffix is not a known one."""
    named = parse_accessory_tag(tag) if parse_signature_tag(tag) is None else None
    return None if named is None else next((digest for digest in digests if named.names(digest)), None)


def _below(details: ImageDetails) -> Iterator[Digest]:
    for child in details.children:
        yield child.digest
        yield from _below(child)
