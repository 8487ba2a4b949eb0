"""The methods of the session without an event loop that are about pulls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from datetime import datetime

    from dregutil.inventory.tags import Inventory
    from dregutil.oci.names import Digest, Repository, Tag
    from dregutil.pulls.listener import ListenerCounts
    from dregutil.pulls.log_files import LogRead
    from dregutil.session.results import PullReport, PullSync
    from dregutil.session.session import AsyncSession
    from dregutil.session.stop import Stop

__all__ = ["PullVerbs"]

_Found = TypeVar("_Found")


class PullVerbs:
    """A part of `Session`."""

    _session: AsyncSession

    def _run(self, work: Coroutine[Any, Any, _Found]) -> _Found:
        raise NotImplementedError

    def pulls(self, *images: str) -> PullReport:
        return self._run(self._session.pulls(*images))

    def last_pulls(self, images: Iterable[tuple[Repository, Tag | None, Digest]]) -> PullReport:
        return self._session.last_pulls(images)

    def read_pulls(
        self, *files: str, line_format: str | None = None, ignore: Iterable[str] | None = None
    ) -> tuple[LogRead, ...]:
        return self._run(self._session.read_pulls(*files, line_format=line_format, ignore=ignore))

    def sync_pulls(self, *repositories: str) -> PullSync:
        return self._run(self._session.sync_pulls(*repositories))

    def notifications_arrive(self, since: datetime | None = None, known: Inventory | None = None) -> bool | None:
        return self._run(self._session.notifications_arrive(since, known))

    def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 5099,
        *,
        token: str = "",
        ignore: Iterable[str] | None = None,
        on_ready: Callable[[str, int], None] | None = None,
        stop: Stop | None = None,
    ) -> ListenerCounts:
        return self._run(self._session.listen(host, port, token=token, ignore=ignore, on_ready=on_ready, stop=stop))
