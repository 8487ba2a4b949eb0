"""The routes of holds: what no removal takes."""

from __future__ import annotations

from aiohttp import web

from dregutil.errors import UsageError
from dregutil.oci.names import Reference
from dregutil.pages.label import label
from dregutil.serve.answers import RequestError, answer, read_body
from dregutil.serve.endpoints import API
from dregutil.serve.model import HoldEnd, HoldList, HoldWanted
from dregutil.serve.people import Role, need
from dregutil.serve.run_routes import Lists
from dregutil.serve.site import Site

__all__ = ["routes"]

_LONGEST_HOLD = 36_500  # days
_LONGEST_BECAUSE = 500  # characters


def routes(site: Site, lists: Lists) -> list[web.RouteDef]:
    """The routes."""

    async def holds(_request: web.Request) -> web.Response:
        return answer(HoldList(holds=(await lists.holds.part()).rows))

    async def hold(request: web.Request) -> web.Response:
        person = need(request, Role.PLANNER)
        wanted = await read_body(request, HoldWanted)
        image = _image(wanted.image)
        if wanted.days is not None and not 0 < wanted.days <= _LONGEST_HOLD:
            raise RequestError(400, f"{wanted.days} days: a hold lasts from 1 to {_LONGEST_HOLD:,} days, or has no end")
        because = label(wanted.because.strip(), _LONGEST_BECAUSE)
        words = [*([f"--for={wanted.days}d"] if wanted.days else []), *([f"--because={because}"] if because else [])]
        return answer(
            await site.jobs.start("hold", f"hold {image}", person.name, ("hold", image, *words), then=ended), 202
        )

    async def end(request: web.Request) -> web.Response:
        person = need(request, Role.PLANNER)
        image = _image((await read_body(request, HoldEnd)).image)
        words = ("hold", "--end", image)
        return answer(await site.jobs.start("hold", f"end the hold of {image}", person.name, words, then=ended), 202)

    async def ended(_ended: object) -> None:
        lists.holds.changed()
        site.events.changed("images")
        await site.images.build()  # it says what is held

    return [
        web.get(f"{API}/holds", holds),
        web.post(f"{API}/holds", hold),
        web.post(f"{API}/holds/end", end),
    ]


def _image(text: str) -> str:
    """`repository:tag` or `repository@digest`. Raises RequestError (400)."""
    try:
        found = Reference.parse(text)
    except UsageError as error:
        raise RequestError(400, error.message, error.advice) from error
    if (found.tag is None) == (found.digest is None) or str(found) != text:
        raise RequestError(400, f"{label(text)} is not an image", "name repository:tag or repository@digest")
    return text
