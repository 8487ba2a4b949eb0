"""Pages of a list: their names, and where the next one is (`Link; rel=next`, RFC 8288, as the spec uses it)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeGuard, TypeVar

import msgspec
from yarl import URL

from dregutil.errors import NotARegistryError, UnlistableError, UsageError
from dregutil.oci.manifest import bare_media_type
from dregutil.oci.names import Repository, Tag
from dregutil.registry.http.transport import Answer

__all__ = ["Progress", "decoded", "may_be_cut", "names_of", "next_page"]

MOST_PAGES = 100_000
_PAGES = 50  # servers cut their pages at multiples of this
_MOST_BARREN = 20  # pages in a row that name nothing new: a list filtered by rights may have some
_LINK = re.compile(r"\s*(?:<([^<>]*)>|([^\s<>;,]+))((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"[^\"]*\"|[^\";,]*))?)*)\s*")
_RELATION = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\";,]*))", re.IGNORECASE)
_LONGEST_LINK = 16 * 1024
_PLAIN_TYPE = re.compile(r"(?:application|text)/[a-z.+-]{1,40}")  # what a server says is told only where it is harmless
_Name = TypeVar("_Name", Repository, Tag)


def next_page(links: Iterable[str], url: URL) -> URL | None:
    """The page after `url`, from its Link headers; None at the end.

    A link that does not say what it leads to, or stands without its angle brackets, is taken for the next page: some
    servers write it so. Raises UnlistableError for a header that cannot be understood, since the list may go on, and
    for a page at another host or scheme: our credentials do not go there.
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
    """The targets of a Link header, each with its relations in lower case. Raises UnlistableError."""
    place = 0
    while place < len(header):
        found = _LINK.match(header, place) if len(header) <= _LONGEST_LINK else None
        if found is None or (found.end() < len(header) and header[found.end()] != ","):
            raise UnlistableError(f"{url.host} links to a next page in a way that is not understood: {header[:80]!r}")
        named = _RELATION.search(found[3])
        text = "" if named is None else (named[1] if named[1] is not None else named[2])
        yield found[1] if found[1] is not None else found[2], frozenset(text.strip().strip("'").lower().split())
        place = found.end() + 1


class Progress:
    """Notices a list that goes on without ever naming anything new. `what` is what was to be done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._urls: set[str] = set()
        self._names: set[str] = set()
        self._barren = 0

    def begin(self, url: URL) -> None:
        """Before a page is asked for. Raises UnlistableError where it was read before, or there are too many."""
        if str(url) in self._urls or len(self._urls) >= MOST_PAGES:
            raise self._endless()
        self._urls.add(str(url))

    def read(self, names: Iterable[object]) -> bool:
        """After a page was read: whether it named anything new. Raises UnlistableError after too many that did not."""
        before = len(self._names)
        self._names.update(map(str, names))
        is_new = len(self._names) > before
        self._barren = 0 if is_new else self._barren + 1
        if self._barren > _MOST_BARREN:
            raise self._endless()
        return is_new

    def _endless(self) -> UnlistableError:
        return UnlistableError(f"the registry's pages do not end: could not {self._what}")


def may_be_cut(names: Any) -> TypeGuard[list[Any]]:
    """Whether a page without a Link may be one of several all the same: it is just as long as pages are."""
    return isinstance(names, list) and len(names) > 0 and len(names) % _PAGES == 0


def decoded(answer: Answer, what: str) -> Any:
    """The JSON object that an answer is; NotARegistryError where it is none. `what` is what was to be done."""
    try:
        page = msgspec.json.decode(answer.body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        kind = bare_media_type(answer.headers.get("Content-Type", ""))
        kind = kind if _PLAIN_TYPE.fullmatch(kind) else "of no usual type"
        raise NotARegistryError(f"could not {what}: no registry answers there, this is no JSON ({kind})") from error
    if not isinstance(page, dict):
        raise NotARegistryError(f"could not {what}: the answer is not what a registry gives")
    return page


def names_of(page: Any, key: str, parse: Callable[[str], _Name], odd: Callable[[str], object] = str) -> list[_Name]:
    """The valid names of a page. Nexus lists null and empty tags; what is no valid name cannot be asked for, and is
    given to `odd`."""
    listed = page.get(key)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise NotARegistryError(f"the registry's list of {key} is no list")
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
        raise UnlistableError(f"{url.host} links to a next page that is no URL") from error
    if not same:
        raise UnlistableError(f"{url.host} links to a next page at another address, {where}")
    # The next page of a list is of the same list: behind a proxy, or a port of Nexus', the server may name a path of
    # its own that leads nowhere here.
    return found if found.raw_path == url.raw_path else url.with_query(found.raw_query_string)
