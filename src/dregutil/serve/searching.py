"""The route of the search for tags."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from dregutil.oci.names import RegistryAddress
from dregutil.pages.label import label
from dregutil.select.quantity import duration_as_written
from dregutil.serve.answers import RequestError, answer
from dregutil.serve.endpoints import API
from dregutil.serve.images.index import ImageRow
from dregutil.serve.images.query import Query, parse_query
from dregutil.serve.images.search import SORTS, Searcher
from dregutil.serve.model import Image, ImagePage
from dregutil.serve.site import Site

__all__ = ["command_of", "image_object", "routes"]

_MOST = 500  # rows of a page
_FURTHEST = 1_000_000_000
_LONGEST = 1000  # characters of a name
_MOST_PLATFORMS = 20


def routes(site: Site) -> list[web.RouteDef]:
    """The routes."""
    address = RegistryAddress.parse(site.asked.registry)

    async def images(request: web.Request) -> web.Response:
        asked = request.query
        sort = asked.get("sort", "repository")
        if sort not in SORTS:
            raise RequestError(400, f"images are not sorted by {sort[:100]!r}", f"sort by {', '.join(SORTS)}")
        is_descending = number(asked.get("desc", "0"), "desc", 1) == 1
        offset = number(asked.get("offset", "0"), "offset", _FURTHEST)
        limit = number(asked.get("limit", "100"), "limit", _MOST)
        query = parse_query(asked.get("q", ""), address)

        def found(searcher: Searcher) -> ImagePage:
            page = searcher.search(query, sort=sort, is_descending=is_descending, offset=offset, limit=limit)
            words = command_of(query, sort, is_descending=is_descending)
            return ImagePage(
                total=page.total,
                offset=offset,
                rows=[*map(image_object, page.rows)],
                read=searcher.index.read,
                unread=searcher.index.unread,
                command=None if words is None else site.advised(*words),
            )

        return answer(await site.images.ask(found))

    return [web.get(f"{API}/images", images)]


def number(text: str, name: str, most: int) -> int:
    """A parameter of a request. Raises RequestError (400)."""
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) <= most):
        raise RequestError(400, f"{name} is {text[:50]!r}", f"give a number from 0 to {most}")
    return int(text)


def image_object(row: ImageRow) -> Image:
    """A row as the API has it."""
    return Image(
        repository=label(row.repository, _LONGEST),
        tag=label(row.tag, _LONGEST),
        image=label(f"{row.repository}:{row.tag}", _LONGEST),
        digest=row.digest,
        created=row.created,
        pulled=row.pulled,
        size=row.size,
        frees=row.frees,
        platforms=_shown(row.platforms),
        verdict="REMOVE" if row.verdict == "REMOVE" else "KEEP" if row.verdict == "KEEP" else None,
        because=None if row.because is None else label(row.because),
        held=row.held,
    )


def _shown(platforms: Sequence[str]) -> list[str]:
    """Platforms as they are shown: an index may name very many."""
    more = len(platforms) - _MOST_PLATFORMS
    return [*map(label, platforms[:_MOST_PLATFORMS]), *([f"… and {more:,} more"] if more > 0 else [])]


def command_of(query: Query, sort: str, *, is_descending: bool) -> list[str] | None:
    """The words of the command that lists the same in the same order; None if none does: words are parts of names,
    which no selector means."""
    if query.layers:
        only = query == Query(layers=query.layers[:1]) and sort == "repository" and not is_descending
        return ["find", query.layers[0]] if only else None
    orders = {
        ("repository", False): ["--sort", "name"],
        ("repository", True): ["--sort", "name", "--reverse"],
        ("created", False): ["--sort", "age"],
        ("created", True): ["--sort", "age", "--reverse"],
        ("size", True): ["--sort", "size"],
        ("size", False): ["--sort", "size", "--reverse"],
    }
    order = orders.get((sort, is_descending))
    several = max(len(query.bases), len(query.platforms)) > 1  # `ls` lists what matches one of them
    if order is None or query.words or query.digests or query.states or several:
        return None
    words = ["ls", *order]
    words += [f"--label={one.key}" if one.value is None else f"--label={one.key}={one.value}" for one in query.labels]
    words += [f"--based-on={base}" for base in query.bases]
    words += [f"--platform={platform}" for platform in query.platforms]
    if query.older:
        words += ["--older-than", duration_as_written(max(query.older))]
    if query.larger:
        words += ["--larger-than", str(max(query.larger))]
    return words
