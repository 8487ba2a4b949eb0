"""When images were last pulled: what a session receives, reads and shows of it. The registry is only read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.select.named import parse_named
from dregutil.session.finding import FindingSession

if TYPE_CHECKING:
    from dregutil.pulls.agents import IgnoredAgents
    from dregutil.pulls.listener import ListenerCounts
    from dregutil.pulls.log_files import LogRead
    from dregutil.pulls.pull import RepositoryPulls
    from dregutil.pulls.store import PullStore
    from dregutil.pulls.writer import Batch
    from dregutil.session.results import ImageTag, PullReport, PullSync
    from dregutil.session.stop import Stop

__all__ = ["PullSession"]

# Names of sources.
_EVENTS = "notifications"
_SERVICE = "service"


class PullSession(FindingSession):
    """A session that reads, and knows of pulls."""

    _copied_pulls: PullStore | None = None  # if those of the state folder cannot be written

    async def pulls(self, *images: str) -> PullReport:
        """The last recorded pull of each tag: of repositories (names or globs), single images (`repository:tag`), or by
        default all. A pull of what a tag refers to, such as one platform of an index, is a pull of the tag.

        Raises NotFoundError, JournalError if the records cannot be used, and the errors of `tags`.
        """
        tags = await self._pulled_tags(images)
        await self.read_contents([(one.repository, one.digest) for one in tags])
        return self.last_pulls([(one.repository, one.tag, one.digest) for one in tags])

    def last_pulls(self, images: Iterable[tuple[Repository, Tag | None, Digest]]) -> PullReport:
        """The last recorded pull of images whose contents were read. Raises JournalError."""
        from dregutil.pulls.evidence import last_pull
        from dregutil.session.results import ImagePull, PullReport

        store, found = self._known_pulls, []
        recorded: dict[Repository, RepositoryPulls] = {}
        for name, tag, digest in images:
            if name not in recorded:
                recorded[name] = store.pulls(name)
            pull = last_pull(recorded[name], tag, digest, self._below(digest))
            found.append(ImagePull(name, tag, digest, pull))
        return PullReport(tuple(found), store.sources(), datetime.now(UTC))

    async def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 5099,
        *,
        token: str = "",
        ignore: Iterable[str] | None = None,
        on_ready: Callable[[str, int], None] | None = None,
        stop: Stop | None = None,
    ) -> ListenerCounts:
        """Receive the notifications of the registry and record pulls, until `stop` is set; returns what was received.

        `token` is what the registry must send as its bearer token; `ignore` are the names of agents whose pulls do not
        count, in place of known scanners; `on_ready` is called with the address. Raises JournalError and UsageError.
        """
        from dregutil.pulls.agents import IGNORED, IgnoredAgents
        from dregutil.pulls.listener import Listener
        from dregutil.session.stop import Stop

        ignored = IgnoredAgents(IGNORED if ignore is None else ignore)
        listener = Listener(self._pull_store, _EVENTS, token=token, ignored=ignored)
        with (stop or Stop()).event() as stopped:
            async with listener.listening(host, port) as address:
                if on_ready is not None:
                    on_ready(*address)
                await stopped.wait()
        return listener.counts

    async def read_pulls(
        self, *files: str, line_format: str | None = None, ignore: Iterable[str] | None = None
    ) -> tuple[LogRead, ...]:
        """Read access logs of the registry, or of a proxy before it, and record the pulls; "-" is standard input.
        Returns what was new in each file. What was read before is not read again, also after a rotation.

        `line_format` is a regular expression for logs in no known format, with the groups `time`, `method`, `path`,
        `status` and `agent`; `ignore` as for `listen`. Raises StorageError, UsageError and JournalError.
        """
        from dregutil.pulls.agents import IGNORED, IgnoredAgents

        ignored = IgnoredAgents(IGNORED if ignore is None else ignore)
        return tuple(self._read_log(self._pull_store, path, line_format, ignored) for path in files)

    def _read_log(self, store: PullStore, path: str, line_format: str | None, ignored: IgnoredAgents) -> LogRead:
        """Record in `store` what is new in a file."""
        from dregutil.pulls.log_files import read_log
        from dregutil.pulls.pull import SourceKind

        now = int(datetime.now(UTC).timestamp())
        with store.writer(SourceKind.LOG, self._log_source(path)) as writer:
            writer.prepare()
            found = read_log(path, writer.position, line_format=line_format, ignored=ignored, now=now)
            self._add_digests(found.batch)
            writer.write(found.batch, found.span, found.position)
        return found

    async def sync_pulls(self, *repositories: str) -> PullSync:
        """Record what the API of the registry's service says of pulls, now, of all repositories or of some (names).

        Raises NoListingError if there is no such API, or it says nothing of pulls; JournalError and the errors of
        `crawl`.
        """
        from dregutil.errors import NoListingError
        from dregutil.pulls.pull import SourceKind
        from dregutil.pulls.writer import batch_of_listings
        from dregutil.select.named import parse_repositories
        from dregutil.session.results import PullSync

        names = parse_repositories(repositories, self.address) if repositories else None
        async with self.connected() as registry:
            await registry.ping()
            if registry.native is not None:
                await registry.native.discover()  # otherwise small repositories are read without it
        found, now = await self._crawl(names), datetime.now(UTC)
        batch = batch_of_listings(found.listings, now)
        knows_all = [name for name, one in found.listings.items() if one.has_pulls]
        if not batch.pulls and not knows_all:
            raise NoListingError(
                f"{self.address.name} does not say when images were pulled",
                advice=f"{self._advise('listen')} records them from notifications, and `pulls read` from access logs",
            )
        with self._pull_store.writer(SourceKind.SERVER, _SERVICE) as writer:
            if found.complete and len(knows_all) == len(found.inventory.repositories):
                batch.recorded = (int(now.timestamp()), int(now.timestamp()))
            writer.write(batch)
        doubts = dict.fromkeys(doubt for one in found.listings.values() for doubt in one.doubts)
        return PullSync(len(found.listings), len(batch.pulls), tuple(doubts))

    def _add_digests(self, batch: Batch) -> None:
        """A pull by tag in a log names no digest: where the records know what the tag named then, it counts for that,
        too, and will when the tag moves."""
        history = self.records.history
        named = {name: history.named(name) for name in dict.fromkeys(name for name, _ in batch.pulls)}
        for (name, reference), (at, agent) in [*batch.pulls.items()]:
            known = named[name].get(reference) if isinstance(reference, Tag) else None
            if known is not None and known[1].timestamp() <= at:
                batch.add(name, known[0], at, agent)

    @property
    def _known_pulls(self) -> PullStore:
        """The recorded pulls, with what this session could not record."""
        return self._copied_pulls or self._pull_store

    def _below(self, digest: Digest) -> Iterator[Digest]:
        """What a digest refers to, at any depth, as far as it was read."""
        seen, waiting = {digest}, [digest]
        while waiting:
            manifest = self.manifests.manifest(waiting.pop())
            for child in () if manifest is None else manifest.children:
                if child.digest not in seen:
                    seen.add(child.digest)
                    waiting.append(child.digest)
                    yield child.digest

    async def _pulled_tags(self, images: Iterable[str]) -> tuple[ImageTag, ...]:
        """The tags that names mean, each once. Raises NotFoundError."""
        images = tuple(images)
        references = [Reference.parse(text, registry=self.address) for text in images if _is_image(text)]
        whole = [text for text in images if not _is_image(text)]
        # All are read at once, so that a warning about what was read comes once.
        tags = await self.tags(*whole, *dict.fromkeys(reference.repository for reference in references))
        repositories = {one.repository for one in tags}
        if whole:
            repositories = set(parse_named(whole, self.address).matching(tuple(repositories))[0])
        elif references:
            repositories = set()
        found = {(one.repository, one.tag): one for one in tags if one.repository in repositories}
        for reference in references:
            here = [
                one
                for one in tags
                if one.repository == reference.repository
                and reference.tag in (None, one.tag)
                and reference.digest in (None, one.digest)
            ]
            if not here:
                raise await self._absent(reference)
            found.update({(one.repository, one.tag): one for one in here})
        return tuple(found.values())


def _is_image(text: str) -> bool:
    """Whether a name has a tag or a digest."""
    return "@" in text or ":" in text.rpartition("/")[2]
