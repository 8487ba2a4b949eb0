"""A registry that sends its notifications to `dregutil listen`, in separate processes."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

from dregutil.oci.names import Digest, RegistryAddress, Repository
from dregutil.pulls.pull import RepositoryPulls
from dregutil.pulls.store import PullStore
from program import Program
from servers import DistributionServer, free_port

__all__ = ["ENDPOINT", "Listening", "until"]

_Found = TypeVar("_Found")
_LONGEST_WAIT = 30.0
ENDPOINT = """notifications:
  endpoints:
    - name: dregutil
      url: http://127.0.0.1:{port}/events
      headers: {{Authorization: [Bearer secret]}}
      timeout: 5s
      threshold: 1
      backoff: 50ms
"""


def until(look: Callable[[], _Found], longest: float = _LONGEST_WAIT) -> _Found:
    """What `look` returns once that is true, within so many seconds."""
    end = time.monotonic() + longest
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen")


class Listening:
    """A registry of the kind `server` and what listens to it; both are started by `with`."""

    def __init__(
        self, folder: Path, server: type[DistributionServer] = DistributionServer, endpoint: str = ENDPOINT
    ) -> None:
        self.port = free_port()
        self.folder = folder
        self.server = server(folder / "registry", auth=endpoint.format(port=self.port))
        self.program = Program(self.server.url, folder)
        (folder / "token").write_text("secret\n")
        self.listener: subprocess.Popen[str] | None = None
        self.shown = ""

    @property
    def store(self) -> PullStore:
        return PullStore(self.program.state, RegistryAddress.parse(self.server.url).identity)

    def __enter__(self) -> Self:
        self.server.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.end_listener()
        self.server.stop()

    def listen(self, *options: str) -> None:
        """Start `dregutil listen`, and wait until it does."""
        where = ("--addr", f"127.0.0.1:{self.port}", "--token-file", "token")
        self.listener = self.program.start("listen", *where, *options)
        assert self.listener.stderr is not None
        self.shown = self.listener.stderr.readline()
        assert "listening on" in self.shown, self.shown + self.listener.stderr.read()

    def end_listener(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code; what it has shown is in `shown`."""
        listener, self.listener = self.listener, None
        if listener is None:
            return 0
        listener.send_signal(how)
        self.shown += "".join(listener.communicate(timeout=30))
        return listener.returncode

    def pulls(self, repository: str) -> RepositoryPulls:
        return self.store.pulls(Repository(repository))

    def pulled(self, repository: str, digest: str, agent: str = "") -> datetime | None:
        """When a digest was last pulled, by a certain agent."""
        found = self.pulls(repository).digests.get(Digest(digest))
        return None if found is None or (agent and found.agent != agent) else found.at
