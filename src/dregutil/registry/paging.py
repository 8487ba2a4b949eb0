"""Pages of a list: their names, and where the next one is (`Link; rel=next`, RFC 8288, as the spec uses it)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard, TypeVar

import msgspec
from yarl import URL

from dregutil.errors import NotARegistryError, UnlistableError, UsageError
from dregutil.manifest import bare_media_type
from dregutil.reference import Repository, Tag
from dregutil.registry.transport import Answer

__all__ = ["MOST_PAGES", "decoded", "may_be_cut", "names_of", "next_page"]

MOST_PAGES = 100_000
_PAGES = 50  # servers cut their pages at multiples of this
_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"[^\"]*\"|[^\";,]*))?)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*(?:\"(?:[^\"]*\s)?next(?:\s[^\"]*)?\"|next)\s*(?:;|$)", re.IGNORECASE)
_PLAIN_TYPE = re.compile(r"(?:application|text)/[a-z.+-]{1,40}")  # what a server says is told only where it is harmless
_Name = TypeVar("_Name", Repository, Tag)


def next_page(links: Iterable[str], url: URL) -> URL | None:
    """The page after `url`, from its Link headers; None at the end.

    Raises UnlistableError for a page at another host or scheme: our credentials do not go there.
    """
    for header in links:
        for target, parameters in _LINK.findall(header):
            if _NEXT.search(parameters):
                return _resolved(target, url)
    return None


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


def names_of(page: Any, key: str, parse: Callable[[str], _Name]) -> list[_Name]:
    """The valid names of a page. Nexus lists null and empty tags; what is no valid name cannot be asked for."""
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
                continue
    return found


def _resolved(target: str, url: URL) -> URL:
    try:
        found = url.join(URL(target, encoded=True))
        same = found.origin() == url.origin() and found.user is None
    except ValueError as error:
        raise UnlistableError(f"{url.host} links to a next page that is no URL") from error
    if not same:
        raise UnlistableError(f"{url.host} links to a next page at another address, {found.scheme}://{found.host}")
    # The next page of a list is of the same list: behind a proxy, or a port of Nexus', the server may name a path of
    # its own that leads nowhere here.
    return found if found.raw_path == url.raw_path else url.with_query(found.raw_query_string)
