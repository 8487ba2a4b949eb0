"""Pages of a list: the names in them, and the link to the next one (`Link: …; rel=next`, RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeGuard, TypeVar

import msgspec
from yarl import URL

from dregutil.errors import DregutilError, NotARegistryError, UnlistableError, UsageError
from dregutil.oci.manifest import bare_media_type
from dregutil.oci.names import Repository, Tag
from dregutil.registry.answers import is_unknown_name
from dregutil.registry.http.transport import Answer

__all__ = ["PAGE", "Progress", "decoded", "follow_links", "may_be_cut", "name_pages", "names_of", "next_page"]

MOST_PAGES = 100_000
PAGE = 1000  # more is an error on distribution, less costs round trips
_SMALL_PAGE = 100
_LISTINGS = 3  # attempts at a list of which a later page is missing
_PAGES = 50  # the page sizes of servers are multiples of this
_MOST_BARREN = 20  # pages in a row without a new name: a list filtered by permissions may have some
_LINK = re.compile(r"\s*(?:<([^<>]*)>|([^\s<>;,]+))((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"[^\"]*\"|[^\";,]*))?)*)\s*")
_RELATION = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\";,]*))", re.IGNORECASE)
_LONGEST_LINK = 16 * 1024
_PLAIN_TYPE = re.compile(r"(?:application|text)/[a-z.+-]{1,40}")  # quoted in messages only if it is harmless
_Name = TypeVar("_Name", Repository, Tag)


async def name_pages(
    path: URL,
    what: str,
    ask: Callable[[URL], Awaitable[Answer]],
    fail: Callable[[Answer], DregutilError],
    *,
    size: int = PAGE,
) -> AsyncIterator[tuple[Any, bool]]:
    """The JSON documents of the list at `path`, of tags or repositories, each with whether it is certainly the last;
    none if the repository does not exist.

    `ask` requests a page, `fail` makes the error for an answer that is none. A full page without a Link may be one of
    several (Nexus): the names after its last one are requested. `size`: how many names to ask for at first. Raises
    UnlistableError if the list never ends, or is cut.
    """
    first = path.with_query(n=str(size))
    for left in range(_LISTINGS - 1, -1, -1):
        try:
            async for page in _read_pages(first, Progress(what), ask, fail):
                yield page
        except _PageGoneError as gone:
            if left == 0:
                raise fail(gone.answer) from None
        else:
            return


class _PageGoneError(Exception):
    """The tag after which a page begins may have been deleted meanwhile; so may the repository."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


async def _read_pages(
    first: URL, progress: Progress, ask: Callable[[URL], Awaitable[Answer]], fail: Callable[[Answer], DregutilError]
) -> AsyncIterator[tuple[Any, bool]]:
    """The pages from `first` on. Raises _PageGoneError where a later one of a list of tags is missing."""
    key = "tags" if first.path.endswith("/tags/list") else "repositories"
    url: URL | None = first
    before: list[Any] | None = None  # the names of a page that may not be the last
    while url is not None:
        progress.begin(url)
        answer = await ask(url)
        if answer.status == 404 and url == first and is_unknown_name(answer):
            return
        if answer.status == 404 and before is None and key == "tags":
            raise _PageGoneError(answer)
        if answer.status == 400 and url.query.get("n") == first.query["n"] and before is None:
            url = url.update_query(n=str(_SMALL_PAGE))
            continue
        if before is not None and 400 <= answer.status < 500:
            return  # it does not support `last`: the page was the last
        if answer.status != 200:
            raise fail(answer)
        page = decoded(answer, progress.what)
        names = page.get(key)
        is_new = progress.read(names if isinstance(names, list) else ())
        if before is not None and not is_new:
            _check_end(names, before, int(first.query["n"]), progress.what)
            return
        url, before = next_page(answer.headers.getall("Link", []), answer.url), None
        if url is None and may_be_cut(names):
            before, url = names, first.with_query(n=str(_SMALL_PAGE), last=str(names[-1]))
        yield page, url is None


async def follow_links(
    first: URL,
    what: str,
    ask: Callable[[URL], Awaitable[Answer]],
    read: Callable[[Answer], Iterable[object] | None],
) -> bool:
    """Request the pages of a list from its first one on, as their links name them. `read` returns what a page lists, or
    None if there is no such list; returns whether there is one. Raises UnlistableError if the list never ends."""
    progress = Progress(what)
    url: URL | None = first
    while url is not None:
        progress.begin(url)
        answer = await ask(url)
        listed = read(answer)
        if listed is None:
            return False
        progress.read(listed)
        url = next_page(answer.headers.getall("Link", []), answer.url)
    return True


def next_page(links: Iterable[str], url: URL) -> URL | None:
    """The URL of the page after `url`, from its Link headers; None at the end.

    A link without a relation, or without angle brackets, is taken for the next page: some servers send that. Raises
    UnlistableError for a header that cannot be parsed, since the list may go on, and for a page at another host or
    scheme, to which the credentials must not be sent.
    """
    unnamed: str | None = None
    for header in links:
        for target, relations in _links(header, url):
            if "next" in relations:
                return _resolved(target, url)
            if not relations and unnamed is None:
                unnamed = target
    return None if unnamed is None else _resolved(unnamed, url)


def _links(header: str, url: URL) -> Iterator[tuple[str, frozenset[str]]]:
    """The targets in a Link header, each with its relations in lower case. Raises UnlistableError."""
    place = 0
    while place < len(header):
        found = _LINK.match(header, place) if len(header) <= _LONGEST_LINK else None
        if found is None or (found.end() < len(header) and header[found.end()] != ","):
            raise UnlistableError(f"{url.host} sends a Link header that cannot be parsed: {header[:80]!r}")
        named = _RELATION.search(found[3])
        text = "" if named is None else (named[1] if named[1] is not None else named[2])
        yield found[1] if found[1] is not None else found[2], frozenset(text.strip().strip("'").lower().split())
        place = found.end() + 1


def _check_end(names: object, before: list[Any], size: int, what: str) -> None:
    """Raise UnlistableError if a page repeats the start of the full one before it: the server cuts its list there."""
    repeats = isinstance(names, list) and 0 < len(names) < len(before) and names == before[: len(names)]
    if len(before) == size and repeats:
        raise UnlistableError(f"could not {what}: the registry ends its list after {size:,} names")


class Progress:
    """Detects a list that never ends. `what` names the operation in messages: "list the tags of …"."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._urls: set[str] = set()
        self._names: set[str] = set()
        self._barren = 0

    def begin(self, url: URL) -> None:
        """To be called before each page. Raises UnlistableError if it was read before, or there are too many."""
        if str(url) in self._urls or len(self._urls) >= MOST_PAGES:
            raise self._endless()
        self._urls.add(str(url))

    def read(self, names: Iterable[object]) -> bool:
        """To be called after each page: whether it had a new name. Raises UnlistableError after many without one."""
        before = len(self._names)
        self._names.update(map(str, names))
        is_new = len(self._names) > before
        self._barren = 0 if is_new else self._barren + 1
        if self._barren > _MOST_BARREN:
            raise self._endless()
        return is_new

    def _endless(self) -> UnlistableError:
        return UnlistableError(f"could not {self.what}: the registry's list does not end")


def may_be_cut(names: Any) -> TypeGuard[list[Any]]:
    """Whether a page without a Link header may still be one of several, because it has the length of a full page."""
    return isinstance(names, list) and len(names) > 0 and len(names) % _PAGES == 0


def decoded(answer: Answer, what: str) -> Any:
    """The JSON object in an answer. Raises NotARegistryError. `what` names the operation in messages."""
    try:
        page = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        kind = bare_media_type(answer.headers.get("Content-Type", ""))
        kind = kind if _PLAIN_TYPE.fullmatch(kind) else "of an unusual type"
        raise NotARegistryError(f"could not {what}: this is not a registry, the answer is not JSON ({kind})") from error
    if not isinstance(page, dict):
        raise NotARegistryError(f"could not {what}: this is not a registry, the answer is not a JSON object")
    return page


def names_of(page: Any, key: str, parse: Callable[[str], _Name], odd: Callable[[str], object] = str) -> list[_Name]:
    """The valid names in a page. Nexus lists null and empty tags. A name that is not valid cannot be requested, and is
    passed to `odd`."""
    listed = page.get(key)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise NotARegistryError(f"the registry's list of {key} is not a list")
    found: list[_Name] = []
    for name in listed:
        if isinstance(name, str) and name:
            try:
                found.append(parse(name))
            except UsageError:
                odd(name)
    return found


def _resolved(target: str, url: URL) -> URL:
    try:
        found = url.join(URL(target, encoded=True))
        same = found.origin() == url.origin() and found.user is None
        where = f"{found.scheme}://{found.host}"
    except ValueError as error:
        raise UnlistableError(f"{url.host} links to an invalid URL as the next page") from error
    if not same:
        raise UnlistableError(f"{url.host} links to a next page at another address, {where}")
    # The next page belongs to the same list, so its path is the same. Behind a proxy, or at a port of Nexus', the
    # server may name its own path, which does not exist here.
    return found if found.raw_path == url.raw_path else url.with_query(found.raw_query_string)
