"""The routes of "where is my image" and "why does it stay"."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from dregutil.errors import UsageError
from dregutil.files import write_private
from dregutil.oci.names import Digest, Reference, RegistryAddress, Tag
from dregutil.pages.label import label
from dregutil.report.holds import hold_object
from dregutil.serve.answers import RequestError, answer
from dregutil.serve.child import Child, Ended
from dregutil.serve.endpoints import API
from dregutil.serve.images.index import ImageRow
from dregutil.serve.images.search import Searcher, holders
from dregutil.serve.model import Holder, Timeline, TimelineEvent, UndoOffer, WhyList
from dregutil.serve.site import Site
from dregutil.serve.where.events import Event, Meant, Undoable, sorted_events
from dregutil.serve.where.records import Asked, Place, Recorded, Records, decoded, encoded

__all__ = ["routes"]

_MOST_HOLDERS = 100
_MOST_EVENTS = 1000
_MOST_ASKED = 2  # processes at once
_LARGE = 4 << 20  # bytes of records
_LONGEST = 1000  # characters of a name
_LATEST = Tag("latest")
_STATUS_OF_EXIT = {1: 404, 2: 400, 4: 403}


def routes(site: Site) -> list[web.RouteDef]:
    """The routes."""
    where = _Where(site)
    return [web.get(f"{API}/timeline", where.timeline), web.get(f"{API}/why", where.why)]


class _Where:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._address = RegistryAddress.parse(site.asked.registry)
        self._records = Records(site.folder.runs.folder, site.asked.identity, site.folder.runs, site.folder.shared)
        self._asking = asyncio.Semaphore(_MOST_ASKED)

    async def timeline(self, request: web.Request) -> web.Response:
        of = request.query.get("of", "")
        meant = _meant(of, self._address)
        now = _Now(meant.digest)
        if self._site.images.is_there:
            now = await self._site.images.ask(lambda searcher: _found(searcher, meant))
        if now.is_layer:
            meant = replace(meant, repository=None, digest=None, part=now.digest)
        found = await self._recorded(Asked(meant, tuple(now.places), now.read))
        if not found.events and not now.rows:
            raise RequestError(
                404,
                f"nothing is known of {of[:200]}",
                "name a tag that some crawl saw, such as shop/web:1.0, or a whole digest",
            )
        if now.read is None:
            found.notes.append("which tags lead to it is not known before the index of images is there")
        return answer(self._timeline(of, meant, now, found))

    async def _recorded(self, asked: Asked) -> Recorded:
        """What records say: of large runs in a process of its own, whose memory comes back."""
        if await asyncio.to_thread(self._records.bytes_to_read, asked.meant) < _LARGE:
            return await asyncio.to_thread(self._records.of, asked)
        path = self._site.folder.work / f"asked-{secrets.token_hex(8)}"
        async with self._asking:
            try:
                await asyncio.to_thread(write_private, path, encoded(asked))
                ended, out = await self._printed(("image-records", "--asked", str(path)))
            finally:
                path.unlink(missing_ok=True)
        if ended.code:
            raise RequestError(503, ended.message, ended.advice)
        return decoded(out, Recorded)

    def _timeline(self, of: str, meant: Meant, now: _Now, found: Recorded) -> Timeline:
        events = sorted_events(found.events)
        if len(events) > _MOST_EVENTS:
            found.notes.append(f"of {len(events):,} events the newest {_MOST_EVENTS:,} are shown")
        is_there = meant.tag is not None and now.digest is not None
        undo = None if is_there or not found.undoable else found.undoable[0]
        return Timeline(
            of=label(of, _LONGEST),
            kind="tag" if meant.tag is not None else "layer" if meant.part is not None else "digest",
            digest=now.digest,
            events=[*map(_event, events[-_MOST_EVENTS:])],
            holders=[Holder(repository=row.repository, tag=row.tag, digest=row.digest) for row in now.rows],
            more_holders=now.more,
            holds=[_shown(hold_object(hold)) for hold in found.holds],
            undo=None if undo is None else self._offer(undo),
            notes=[label(note, _LONGEST) for note in dict.fromkeys(found.notes)],
            command=None if now.digest is None else self._site.advised("find", now.digest),
        )

    def _offer(self, undo: Undoable) -> UndoOffer:
        command = self._site.advised("undo", undo.run, undo.image)
        return UndoOffer(run=undo.run, image=label(undo.image, _LONGEST), command=command)

    async def why(self, request: web.Request) -> web.Response:
        policy, image = self._site.asked.policy, _image(request.query.get("image", ""), self._address)
        if policy is None:
            raise RequestError(404, "there is no policy to ask", "start the server with -f POLICY")
        async with self._asking:
            ended, out = await self._printed(("why", image, "-f", policy, "--format", "json"))
        if ended.code:
            raise RequestError(_STATUS_OF_EXIT.get(ended.code, 503), ended.message, ended.advice)
        try:
            rows = msgspec.json.decode(out, type=list[dict[str, Any]])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RequestError(503, f"the answer cannot be read: {error}") from error
        return answer(WhyList(rows=[*map(_shown, rows)]))

    async def _printed(self, words: tuple[str, ...]) -> tuple[Ended, bytes]:
        """What a command prints. It does not wait for jobs: it only reads."""
        program, path = self._site.program, self._site.folder.work / f"printed-{secrets.token_hex(8)}"
        child = Child(program.argv(words), program.environment, path, lambda *_: None)
        try:
            ended = await child.run()
            return ended, await asyncio.to_thread(path.read_bytes)
        finally:
            child.remove()


def _meant(text: str, address: RegistryAddress) -> Meant:
    """What is asked about. Raises UsageError."""
    advice = "name a tag, such as shop/web:1.0, or a whole digest"
    if not text:
        raise UsageError("nothing was asked about", advice=advice)
    if text.startswith(("sha256:", "sha384:", "sha512:")):
        return Meant(digest=Digest.parse(text.lower()))
    found = Reference.parse(text, registry=address)
    if found.digest is not None:
        return Meant(repository=found.repository, digest=found.digest)
    return Meant(found.repository, found.tag or _LATEST)


def _image(text: str, address: RegistryAddress) -> str:
    """An image as an argument: it begins with a letter or a digit, and is no option. Raises UsageError."""
    found = Reference.parse(text, registry=address)
    if found.tag is None and found.digest is None:
        raise UsageError(f"{text[:200]} names no tag", advice="name one image: repository:tag or repository@digest")
    return str(found)


@dataclass(frozen=True, slots=True)
class _Now:
    """What the index says: the digest that is meant, the tags that lead to it and how many more there are, those whose
    records are looked at, and when all this was read."""

    digest: Digest | None
    rows: Sequence[ImageRow] = ()
    more: int = 0
    is_layer: bool = False
    places: Sequence[Place] = ()
    read: datetime | None = None


def _found(searcher: Searcher, meant: Meant) -> _Now:
    index, digest, image = searcher.index, meant.digest, None
    if meant.repository is not None and meant.tag is not None:
        image = index.image(meant.repository, meant.tag)
        digest = None if image is None else image.digest
    if digest is None:
        return _Now(None, read=index.read)
    held = holders(index, digest, _MOST_HOLDERS)
    looked_at = [row for row in held.rows if row.digest == digest] if image is None else [image]
    places = [Place(row.repository, row.tag, row.digest, row.below) for row in looked_at]
    return _Now(digest, held.rows, held.more, held.is_layer, places, index.read)


def _event(event: Event) -> TimelineEvent:
    return TimelineEvent(
        when=event.when,
        until=event.until,
        what=event.what,
        image=None if event.image is None else label(event.image, _LONGEST),
        digest=event.digest,
        run=event.run,
        by=None if event.by is None else label(event.by),
        text=label(event.text, _LONGEST),
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """An object of `--format json` with its texts as a page shows them."""
    return {key: label(value, _LONGEST) if isinstance(value, str) else value for key, value in row.items()}
