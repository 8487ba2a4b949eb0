"""Pages of a list: where the next one is (`Link; rel=next`, RFC 8288, as the distribution-spec uses it)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yarl import URL

from dregutil.errors import UnlistableError

__all__ = ["MOST_PAGES", "next_page"]

MOST_PAGES = 100_000
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


def _resolved(target: str, url: URL) -> URL:
    try:
        found = url.join(URL(target, encoded=True))
        same = found.origin() == url.origin() and found.user is None
    except ValueError as error:
        raise UnlistableError(f"{url.host} links to a next page that is no URL") from error
    if not same:
        raise UnlistableError(f"{url.host} links to a next page at another address, {found.scheme}://{found.host}")
    return found
