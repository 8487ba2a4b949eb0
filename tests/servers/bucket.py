"""A folder as a bucket of an object store, with what a reader of S3 needs; it may refuse requests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

from servers.http import Answer, Endpoint, Request

__all__ = ["Bucket"]

_SLOW_DOWN = Answer(503, b"<Error><Code>SlowDown</Code></Error>", {"Content-Type": "application/xml"})
_PAGE = 40  # objects


class Bucket(Endpoint):
    """`refuses` decides, for a request and the number of earlier refusals of such a request, whether the answer is 503
    SlowDown; `forbidden` are objects that are not returned."""

    def __init__(self, folder: Path, refuses: Callable[[Request, int], bool] = lambda _, __: False) -> None:
        super().__init__()
        self.folder = folder
        self.refuses = refuses
        self.forbidden: set[str] = set()
        self.refused: Counter[str] = Counter()
        self._counting = threading.Lock()

    def answer(self, request: Request) -> Answer:
        with self._counting:
            if self.refuses(request, self.refused[request.target]):
                self.refused[request.target] += 1
                return _SLOW_DOWN
        return self._listing(request) if "list-type" in request.query else self._object(request)

    def _object(self, request: Request) -> Answer:
        path = self.folder / request.path.removeprefix("/bucket/")
        if request.path.removeprefix("/bucket/") in self.forbidden:
            return Answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        if not path.is_file():
            return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        return Answer(200, path.read_bytes(), {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT", "ETag": '"1"'})

    def _listing(self, request: Request) -> Answer:
        after = request.query.get("continuation-token") or request.query.get("start-after") or ""
        files = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        names = sorted(name for name in files if name > after)
        found = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2015-10-21T07:28:00.000Z</LastModified>"
            f'<ETag>"1"</ETag><Size>{files[name].stat().st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
            for name in names[:_PAGE]
        )
        more = f"<NextContinuationToken>{names[_PAGE - 1]}</NextContinuationToken>" if len(names) > _PAGE else ""
        cut = "true" if more else "false"
        text = f"<ListBucketResult><Name>bucket</Name><IsTruncated>{cut}</IsTruncated>{found}{more}</ListBucketResult>"
        return Answer(200, text.encode(), {"Content-Type": "application/xml"})
