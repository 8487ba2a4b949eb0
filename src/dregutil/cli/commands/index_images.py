"""`index-images`: builds the index that `serve` searches, from files alone."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from dregutil.cli.recorded import Recorded, recorded
from dregutil.cli.settings import Settings
from dregutil.errors import CacheError, JournalError, PlanRefusedError, UsageError, escaped
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.crawl_result import ContentsProgress
from dregutil.inventory.tags import Inventory
from dregutil.journal.holds import RegistryHolds
from dregutil.oci.names import Repository, registry_key
from dregutil.pulls.pull import RepositoryPulls
from dregutil.pulls.store import PullStore
from dregutil.report.progress import ProgressLine
from dregutil.report.progress_pipe import progress_pipe
from dregutil.retention.holds import Holds
from dregutil.retention.policy import PolicySet
from dregutil.serve.images.build import Known, build_index
from dregutil.serve.images.facts import Verdicts, verdicts_of
from dregutil.serve.images.planned import read_planned
from dregutil.session.protected import load_policy

__all__ = ["index_images"]


def index_images(args: argparse.Namespace, settings: Settings) -> int:
    registry, now = settings.address.identity, datetime.now(UTC)
    if settings.cache is None or settings.contents is None:
        raise UsageError("the index of images is made from the cache file", advice="leave out -c None")
    verdicts = Verdicts() if args.plan is None else _verdicts(Path(args.plan), registry)
    line = progress_pipe() or ProgressLine(show=sys.stderr.isatty() and not settings.quiet)
    with (
        recorded(settings) as records,
        _pulls(records, registry) as pulls,
        _contents(settings.contents) as database,
    ):
        inventory, read = _tags(records, settings, now)
        holds = _holds(records, registry, now)
        known = Known(registry, inventory, database, pulls, holds, verdicts, read, now)
        build_index(Path(args.out), known, lambda done, total: line(ContentsProgress(done, total)))
    line(None)
    return 0


def _tags(records: Recorded, settings: Settings, now: datetime) -> tuple[Inventory, datetime]:
    """What was read of the registry, and when. Raises CacheError if nothing was."""
    file = records.tags(settings)
    if file is not None:
        file.bring()
        age, inventory = file.age(now.timestamp()), file.read()
        if inventory is not None and age is not None:
            return inventory, datetime.fromtimestamp(now.timestamp() - age, UTC)
    raise CacheError("no tags were read yet", advice=settings.advised("refresh"))


def _contents(path: Path) -> ContentDatabase:
    """The content database; one without contents if it cannot be used."""
    try:
        return ContentDatabase.open(path)
    except CacheError as error:
        _warn(f"{error.message}: sizes, labels and layers are not known")
        return ContentDatabase.private()


def _verdicts(path: Path, registry: str) -> Verdicts:
    """Those of a saved plan. Without its policies, which are read again, only the repositories in which it removes
    something have verdicts."""
    if not path.exists():  # it was discarded meanwhile
        _warn(f"what goes is not shown: there is no plan {path}")
        return Verdicts()
    planned = read_planned(path)
    if registry_key(planned.registry) != registry_key(registry):
        raise PlanRefusedError(
            f"the plan is for {planned.registry}, and -reg names {registry}", advice="name its registry"
        )
    policies: PolicySet | None = None
    if planned.policy is not None:
        try:
            policies = load_policy(planned.policy)
        except UsageError as error:
            _warn(f"what the policies keep is not shown: {error.message}")
    return verdicts_of(planned, policies)


@contextmanager
def _pulls(records: Recorded, registry: str) -> Iterator[Callable[[Repository], RepositoryPulls]]:
    """The last pulls of a repository. The file stays open: a registry may have a hundred thousand repositories."""
    store = PullStore(records.folder, registry, shared=records.facts(registry))
    try:
        has_any = bool(store.sources())  # JournalError if it cannot be used
    except JournalError as error:
        _warn(f"when images were pulled is not shown: {error.message}")
        has_any = False
    if not has_any:
        yield lambda _: RepositoryPulls()
        return
    with closing(sqlite3.connect(f"file:{quote(str(store.path.absolute()))}?mode=ro", uri=True)) as opened:
        yield PullStore(records.folder, registry, opened).pulls


def _holds(records: Recorded, registry: str, now: datetime) -> Holds:
    facts = records.facts(registry)
    try:
        return RegistryHolds(records.runs, registry, None if facts is None else facts.document("holds")).now(now)
    except JournalError as error:
        _warn(f"what is held is not shown: {error.message}")
        return Holds()


def _warn(text: str) -> None:
    sys.stderr.write(f"dregutil: warning: {escaped(text)}\n")
