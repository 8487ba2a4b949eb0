"""Pages of a list: where the next one is (`Link; rel=next`, RFC 8288, as the distribution-spec uses it)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeGuard

from yarl import URL

from dregutil.errors import UnlistableError

__all__ = ["MOST_PAGES", "may_be_cut", "next_page"]

MOST_PAGES = 100_000
_PAGES = 50  # servers cut their pages at multiples of this
_LINK = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:\"[^\"]*\"|[^\";,]*))?)*)")
_NEXT = re.compile(r";\s*rel\s*=\s*(?:\"(?:[^\"]*\s)?next(?:\s[^\"]*)?\"|next)\s*(?:;|$)", re.IGNORECASE)


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
