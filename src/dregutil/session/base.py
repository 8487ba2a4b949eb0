"""What a session holds: the connection, the content database, the storage, the records, and the tags read so far."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypedDict, Unpack

from dregutil import files
from dregutil.errors import CacheError, DregutilError, RefusedError
from dregutil.oci.api_address import ApiAddress
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.select.named import parse_repositories
from dregutil.session.task import current_task

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from dregutil.apply.progress import RunProgress
    from dregutil.inventory.cache_file import CacheFile
    from dregutil.inventory.contents.database import ContentDatabase
    from dregutil.inventory.contents.known_manifests import KnownManifests
    from dregutil.inventory.crawl_result import ContentsProgress, CrawlProgress, CrawlResult
    from dregutil.inventory.fresh_surveys import FreshSurveys
    from dregutil.inventory.known import Known
    from dregutil.inventory.tags import Inventory
    from dregutil.journal.history import RunHistory
    from dregutil.journal.store import RunStore
    from dregutil.journal.tag_records import CrawlNote
    from dregutil.registry.reader import Registry
    from dregutil.session.shared import SharedState
    from dregutil.storage.opened import Storage
    from dregutil.storage.stored import StoredRegistry
    from dregutil.store.address import StoreAddress

__all__ = ["Options", "Progress", "SessionBase"]

_log = logging.getLogger("dregutil.session")


class Progress(Protocol):
    """The progress of the current work: `done` of `total`, counted in `noun` ("tags", "images", "steps").

    `total` may still grow. Each kind of work has its own class with more attributes: CrawlProgress, ContentsProgress,
    RunProgress.
    """

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def noun(self) -> str: ...


class Options(TypedDict, total=False):
    """The options of `open` and `connect`. All are optional.

    To reach the registry: without `user`, credentials are looked up where Docker and podman keep them, in `authfile`
    first. `password` may be a function that returns it. `verify` is the path of a CA bundle, or False for no
    verification; `insecure` allows plain HTTP and any certificate. `timeout` is the number of seconds without an answer
    (30), `concurrency` the most requests in flight (32). `api` is the URL of the API of Sonatype Nexus, with the name
    of its repository in `api_repository`, or of GitHub Enterprise Server: the login is sent there as well.

    On this machine: runs are recorded in `state_dir`, or in the shared `store`; what images contain is kept in the
    database `contents` (None: in memory only). With `cache`, a file, tags are read from the registry once and then from
    there; `refresh` reads them again.

    Of the registry: `storage` is its own storage (a folder or a URL), `repositories` are the names of its repositories
    if it has no catalog, or a function that returns them and is called when they are first needed.

    Callbacks: `on_progress` receives the progress, and None at the end; `on_warning` receives problems that did not end
    the work, with advice; `on_read` the tags that were read; `on_noted` what a crawl changed in the records of tags;
    `on_unreadable` the digests whose content could not be read, and all that were requested. `advise` formats a command
    that an error advises; `command` is recorded as the command of a run, by default the call that made its plan.
    """

    user: str | None
    password: str | Callable[[], str] | None
    digest_auth: bool
    client_cert: str | Path | None
    client_key: str | Path | None
    verify: str | Path | bool
    use_get_manifest: bool
    concurrency: int
    timeout: float
    insecure: bool
    credential_source: str
    authfile: str | None
    api: str | None
    api_repository: str | None
    state_dir: str | Path | None
    store: StoreAddress | str | None
    contents: str | Path | None
    cache: str | Path | None
    refresh: bool
    storage: str | None
    repositories: Collection[str] | Callable[[], Collection[str]] | None
    on_progress: Callable[[CrawlProgress | ContentsProgress | RunProgress | None], None] | None
    on_warning: Callable[[str, str], None] | None
    on_read: Callable[[CrawlResult], None] | None
    on_noted: Callable[[CrawlNote], None] | None
    on_unreadable: Callable[[Mapping[Digest, DregutilError], Collection[tuple[Repository, Digest]]], None] | None
    advise: Callable[[str], str]
    command: str


class SessionBase:
    """One registry, with its open connections and what is known about it. Used as a context manager."""

    def __init__(self, address: str | RegistryAddress, **options: Unpack[Options]) -> None:
        """Raises UsageError if `address` is not a valid registry address, or the API is not named fully."""
        self.address = RegistryAddress.parse(address) if isinstance(address, str) else address
        unknown = options.keys() - Options.__annotations__.keys()
        if unknown:
            raise TypeError(f"no option is called {sorted(unknown)[0]!r}")
        self._listed = options.get("repositories")
        if isinstance(self._listed, str):
            raise TypeError(f"repositories is a list: [{self._listed!r}]")
        for name in ("client_cert", "client_key", "verify"):
            value: object = options.get(name)
            if isinstance(value, str):
                options[name] = Path(value)
        self._options = options
        self.state = Path(options.get("state_dir") or files.state_folder())
        self._shared = self._shared_state(options.get("store"))
        self.state = self.state if self._shared is None else self._shared.folder
        self.cache = self._cache_file(options.get("cache"))
        self._api = ApiAddress.parse(options.get("api"), options.get("api_repository"))
        self._stack = AsyncExitStack()
        self._opening: asyncio.Lock | None = None
        self._registry: Registry | None = None
        self._database: ContentDatabase | None = None
        self._manifests: KnownManifests | None = None
        self._history: RunHistory | None = None
        self._storage: Storage | None = None
        self._stored: StoredRegistry | None = None
        self._surveys: FreshSurveys | None = None
        self._tags: dict[Repository, Mapping[Any, Digest]] = {}
        self._indexes: dict[Repository, frozenset[Digest]] = {}
        self._recorded_indexes: Mapping[Repository, frozenset[Digest]] | None = None
        self._is_whole = True
        self._is_locked = self._is_working = False
        self._locks = 0  # how often the lock was taken
        self._locked_by: object = None  # the task that holds the lock; None: it was taken outside of any task

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address.name!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_databases()
        self._registry = None
        await self._stack.__aexit__(kind, error, trace)

    async def close(self) -> None:
        """Close the connections and the content database, as the end of `with` does."""
        await self.__aexit__(None, None, None)

    @property
    def identity(self) -> str:
        """The name of the registry in records."""
        return self.address.identity

    @property
    def listed(self) -> tuple[Repository, ...] | None:
        """The repositories from the option `repositories`; None if the catalog is used. Raises UsageError."""
        if self._listed is None:
            return None
        names = self._listed() if callable(self._listed) else self._listed
        self._listed = parse_repositories(tuple(names), self.address)
        return self._listed

    @property
    def store(self) -> RunStore:
        """The records of runs, on this registry and others. Raises StoreError if the shared store cannot be used."""
        if self._shared is not None:
            return self._shared.runs
        from dregutil.journal.store import RunStore

        return RunStore(self.state)

    @property
    def history(self) -> RunHistory:
        """What the recorded runs on this registry did."""
        if self._history is None:
            from dregutil.journal.history import RunHistory

            self._history = RunHistory(self.store, self.identity)
        return self._history

    @property
    def database(self) -> ContentDatabase:
        """The contents of digests that were read before, from any registry. In memory if the option is None or, with a
        warning, if the file cannot be used. Raises CacheError instead if there is no `on_warning`."""
        if self._database is None:
            self._database = self._open_database()
        return self._database

    @property
    def manifests(self) -> KnownManifests:
        """The manifests of the content database, and the blobs seen in this session."""
        if self._manifests is None:
            from dregutil.inventory.contents.known_manifests import KnownManifests

            self._manifests = KnownManifests(self.database)
        return self._manifests

    @property
    def surveys(self) -> FreshSurveys:
        """The live readings that plans were made from: a run that follows at once does not repeat them."""
        if self._surveys is None:
            from dregutil.inventory.fresh_surveys import FreshSurveys

            self._surveys = FreshSurveys()
        return self._surveys

    @property
    def storage(self) -> Storage | None:
        """The registry's own storage, opened; None if none was named. Raises StorageError."""
        place = self._options.get("storage")
        if self._storage is None and place is not None:
            from dregutil.storage.opened import Storage

            self._storage = Storage(place)
        return self._storage

    def stored(self) -> StoredRegistry | None:
        """The contents of the registry's own storage, read once; None if none was named. Raises StorageError."""
        if self._stored is None and self.storage is not None:
            self._stored = self.storage.read()
        return self._stored

    @contextmanager
    def lock(self, *, run: str = "") -> Iterator[None]:
        """Keep other runs on this registry out; `run` is the one that is continued. Raises RefusedError if another is
        running, and JournalError."""
        if self._is_working:
            raise RefusedError(f"another run on {self.identity} is in progress", advice="wait until it ends")
        task = current_task()
        if self._is_locked and self._locked_by not in (None, task):
            raise RefusedError(f"another run on {self.identity} is in progress", advice="wait until it ends")
        if self._is_locked:
            yield
            return
        with self.store.lock(self.identity, run=run):
            self._is_locked, self._locked_by = True, task
            self._locks += 1
            try:
                yield
            finally:
                self._is_locked, self._locked_by = False, None

    @contextmanager
    def _working(self, *, run: str = "") -> Iterator[None]:
        """Hold the lock for work that writes to the registry: one run at a time, also among the tasks of this session.
        Raises RefusedError and JournalError."""
        if self._is_working:
            raise RefusedError(f"another run on {self.identity} is in progress", advice="wait until it ends")
        with self.lock(run=run):
            self._is_working = True
            try:
                yield
            finally:
                self._is_working = False

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Registry]:
        """The registry, read only; it is connected when first needed. Secrets are removed from errors."""
        import asyncio

        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if self._registry is None:
                from dregutil.registry.connect import ConnectOptions, connect

                if self._options.get("verify") is False:
                    self._warn("certificates are not verified")
                known = ConnectOptions.__dataclass_fields__
                chosen: dict[str, Any] = {name: value for name, value in self._options.items() if name in known}
                chosen |= {"on_warning": self._warn, "api": self._api}
                self._registry = await self._stack.enter_async_context(connect(self.address, ConnectOptions(**chosen)))
        try:
            yield self._registry
        except DregutilError as error:
            self._registry.redacted(error)
            raise
        finally:
            self._tell(None)

    def live_tags(self) -> Mapping[Repository, Collection[Tag]]:
        """The tags that plans read, of repositories that could be judged and that no run has read again."""
        return {name: graph.tags.keys() for name, graph in self.surveys.graphs.items() if not graph.unjudgeable}

    def why_records_are_short_lived(self) -> str:
        """Why the record for `undo` may be lost with this machine or container; empty if nothing indicates that."""
        return self.store.why_short_lived()

    def _forget(self) -> None:
        """Before a plan: check blobs again, because garbage may have been collected, and read the records again,
        because another process may have had a run. Readings for another plan are not used for this one."""
        self._manifests = self._recorded_indexes = self._surveys = None

    def known(self) -> Known:
        """What this session and the records of this machine know: the tags that were read, the untagged indexes."""
        from dregutil.inventory.known import Known

        if self._recorded_indexes is None:
            self._recorded_indexes = self.history.known_indexes()
        found = Known(self._tags, self._recorded_indexes, self.manifests).with_indexes(self._indexes)
        stored = self.stored()
        return found if stored is None else found.with_indexes_of(stored)

    def _learn_indexes(self, found: Mapping[Repository, frozenset[Digest]]) -> None:
        for name, digests in found.items():
            self._indexes[name] = self._indexes.get(name, frozenset()) | digests

    def _update_cache(self, changed: Callable[[Inventory], Mapping[Repository, Mapping[Any, Digest]]]) -> None:
        """Replace some repositories in the cache file, if there is one; an error is a warning."""
        if self.cache is not None:
            try:
                self.cache.update(changed)
            except (OSError, DregutilError) as error:
                self._warn_of_cache(getattr(error, "strerror", None) or error)

    def _cache_file(self, path: str | Path | None) -> CacheFile | None:
        shared = None if self._shared is None else self._shared.cache(self.identity)
        if path is None or (shared is not None and Path(path) == shared.path):
            return shared
        from dregutil.inventory.cache_file import CacheFile

        return CacheFile(Path(path))

    def _shared_state(self, store: StoreAddress | str | None) -> SharedState | None:
        if store is None:
            return None
        from dregutil.session.shared import SharedState

        return SharedState(store, self.state, self._options.get("timeout", 30.0))

    def _warn_of_cache(self, why: object) -> None:
        path = None if self.cache is None else self.cache.path
        self._warn(f"the cache file {path} was not written: {why}")

    def _warn(self, message: str, advice: str = "") -> None:
        on_warning = self._options.get("on_warning")
        if on_warning is None:
            _log.warning("%s", message)
        else:
            on_warning(message, advice)

    def _tell(self, progress: CrawlProgress | ContentsProgress | RunProgress | None) -> None:
        on_progress = self._options.get("on_progress")
        if on_progress is not None:
            on_progress(progress)

    def _advise(self, command: str) -> str:
        advise = self._options.get("advise")
        return f"`dregutil {command}`" if advise is None else advise(command)

    def _open_database(self) -> ContentDatabase:
        from dregutil.inventory.contents.database import ContentDatabase

        chosen = self._options.get("contents", files.contents_file())
        if chosen is None:
            return ContentDatabase.private()
        path = Path(chosen)
        try:
            return ContentDatabase.open(path)
        except CacheError as error:
            if self._options.get("on_warning") is None and path.exists():
                raise
            self._warn(error.message, error.advice)
            return ContentDatabase.private()

    def close_databases(self) -> None:
        """Close the shared store, and the content database, with a warning if entries had changed on disk."""
        if self._shared is not None:
            self._shared.close()
        database, self._database, self._manifests = self._database, None, None
        if database is None:
            return
        database.close()
        if database.dropped:
            what = "1 entry" if database.dropped == 1 else f"{database.dropped:,} entries"
            self._warn(f"{what} of the content database {database.path} had changed on disk: dropped, to be read again")
