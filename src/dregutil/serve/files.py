"""What the server keeps, for its owner alone; all of it survives a restart.

STATE/serve/<sum of the registry's key>/   report.json, the document as it was last made
                                           checked.json, what the last check found
                                           images.sqlite, the index of images
                                           plans/SUM.jsonl, plan files; plans/SUM.json, who made and approved them
                                           stored-plans/, copies of plans in a team's store
                                           work/, files of jobs, removed with them
                                           lock, held while a server runs
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dregutil.errors import JournalError, RefusedError
from dregutil.files import lock_file, make_private_folder, others_link
from dregutil.inventory.shared import SharedRecords
from dregutil.journal.store import RunStore
from dregutil.oci.names import registry_key

__all__ = ["ServeFolder"]


class ServeFolder:
    """The folder of one registry."""

    def __init__(
        self, state: Path, identity: str, runs: RunStore | None = None, shared: SharedRecords | None = None
    ) -> None:
        """`state` is the state folder, `identity` that of the registry. `runs` are those of a shared store, and
        `shared` is what it has besides."""
        self.runs = RunStore(state) if runs is None else runs
        self.shared = shared
        key = hashlib.sha256(registry_key(identity).encode()).hexdigest()[:24]
        self.state = state
        self.path = state / "serve" / key

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def images(self) -> Path:
        return self.path / "images.sqlite"

    @property
    def plans(self) -> Path:
        return self.path / "plans"

    @property
    def stored_plans(self) -> Path:
        """Copies of plans in a team's store."""
        return self.path / "stored-plans"

    @property
    def work(self) -> Path:
        """For files of jobs. It is empty when the server starts."""
        return self.path / "work"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other servers of the same registry out. Raises JournalError and RefusedError."""
        with ExitStack() as stack:
            try:
                self._make(stack)
            except BlockingIOError:
                raise RefusedError(
                    "another `dregutil serve` is running for this registry, with the same state folder",
                    advice="use that one, or name another folder with --state-dir",
                ) from None
            except OSError as error:
                raise JournalError(f"{self.path} cannot be used: {error.strerror or error}") from error
            yield

    def _make(self, stack: ExitStack) -> None:
        link = others_link(self.path)
        if link is not None:
            raise JournalError(f"{self.path} is not used: {link} is another user's link")
        make_private_folder(self.path)
        self.path.chmod(0o700)
        stack.enter_context(lock_file(self.path / "lock", wait=False))
        shutil.rmtree(self.work, ignore_errors=True)
        make_private_folder(self.work)
        make_private_folder(self.plans)
        make_private_folder(self.stored_plans)
