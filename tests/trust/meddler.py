"""What others push during a run: before any of its requests, and what may have happened to it afterwards.

Nobody can see a push between a reading and the next write. `why_lost` decides whether a lost push fell into that gap,
by the log of the proxy; it excuses nothing else.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dregutil.oci.names import Repository
from dregutil.plan.model import Action, Plan
from images import ACCEPT
from servers.http import Request
from trust.front import READING, Event

if TYPE_CHECKING:
    from trust.world import World

__all__ = ["KINDS", "Meddler", "Push", "gap_before", "why_lost"]

# A new tag, or one that stays, on a doomed digest; a doomed tag on something else, or again on its digest; a copy of a
# tag that is on a placeholder; a new index with a doomed child.
KINDS = ("new", "moved", "own elsewhere", "own again", "copy", "index over")
_TELLS_NOTHING = ("lags", "cached")  # wrong answers of any duration; after `absent` the client asks again
_numbers = itertools.count()


@dataclass
class Push:
    """A tag that somebody pushed to `digest`. `goes_with`: the digest whose deletion removes it. `was_on`: where it may
    be again, if it was selected for removal."""

    kind: str
    repository: Repository
    tag: str
    digest: str
    goes_with: str
    began: float
    ended: float
    was_on: str = ""


class Meddler:
    """Pushes before requests with certain numbers, or writes (-1 is the first). `plan` has what is removed; a tag is
    pushed once."""

    def __init__(self, world: World, plan: Plan, pushes: Sequence[tuple[int, str, int]]) -> None:
        self.world = world
        self.pushes: dict[int, tuple[str, int]] = {number: (kind, place) for number, kind, place in pushes}
        self.steps = [step for step in plan.steps if step.action is Action.DELETE]
        self.own = {(step.repository, str(tag)): str(step.digest) for step in plan.steps for tag in step.tags}
        self.done: list[Push] = []
        self.writes = 0

    def before_each(self, number: int, request: Request) -> None:
        due = [number]
        if request.method not in READING:
            self.writes += 1
            due.append(-self.writes)
        for place in due:
            if place in self.pushes:
                self._push(*self.pushes.pop(place))

    @property
    def touched(self) -> set[tuple[Repository, str]]:
        return {(push.repository, push.tag) for push in self.done}

    def _push(self, kind: str, place: int) -> None:
        own = [key for key in self.own if key in self.world.doomed and key not in self.touched]
        if kind in ("new", "moved", "index over"):
            if not self.steps:
                return
            step = self.steps[place % len(self.steps)]
            name, digest = step.repository, str(step.digest)
            if kind == "new":
                self._put(kind, name, f"new-{next(_numbers)}", digest)
            elif kind == "moved":
                staying = [tag for (repository, tag) in self.world.must if repository == name]
                staying = [tag for tag in staying if (name, tag) not in self.own and (name, tag) not in self.touched]
                if staying:
                    self._put(kind, name, staying[place % len(staying)], digest)
            else:
                self._put_index(name, digest)
        elif own:
            name, tag = own[place % len(own)]
            if kind == "copy":
                self._copy(name, tag)
            elif kind == "own again":
                if not self.world.pusher.has(name, tag):
                    self._put(kind, name, tag, self.own[name, tag], was_on=self.own[name, tag])
            else:
                staying = sorted({on for (repository, _), on in self.world.must.items() if repository == name})
                staying = [on for on in staying if on in self.world.raws and on != self.own[name, tag]]
                if staying:
                    self._put(kind, name, tag, staying[place % len(staying)], was_on=self.own[name, tag])

    def _put(
        self, kind: str, name: Repository, tag: str, digest: str, *, goes_with: str = "", was_on: str = ""
    ) -> None:
        raw, media_type = self.world.raws[digest]
        children = [entry["digest"] for entry in json.loads(raw).get("manifests") or ()]
        if not all(self.world.pusher.has(name, child) for child in children):
            return  # a client pushes them first; olareg and zot take an index without its children
        began = time.monotonic()
        path = f"/v2/{name}/manifests/{tag}"
        status, _, _ = self.world.pusher.request("PUT", path, raw, {"Content-Type": media_type})
        if status == 201:  # an index with a deleted child is refused
            self.world.count(f"pushed meanwhile: {kind}")
            self.done.append(Push(kind, name, tag, digest, goes_with or digest, began, time.monotonic(), was_on))

    def _put_index(self, name: Repository, digest: str) -> None:
        raw, media_type = self.world.raws[digest]
        entry = {"mediaType": media_type, "digest": digest, "size": len(raw)}
        self._put("index over", name, f"over-{next(_numbers)}", self.world.note_index([entry]))

    def _copy(self, name: Repository, tag: str) -> None:
        status, headers, raw = self.world.pusher.request(
            "GET", f"/v2/{name}/manifests/{tag}", headers={"Accept": ACCEPT}
        )
        if status == 200 and "placeholder" in json.loads(raw).get("config", {}).get("mediaType", ""):
            digest = headers["docker-content-digest"]
            self.world.raws[digest] = (raw, headers["content-type"])
            self._put("copy", name, f"copy-{next(_numbers)}", digest)


def why_lost(push: Push, events: Sequence[Event], *, killed: bool) -> str:
    """Why a push may be lost without a message; empty if nothing excuses it."""
    here = [event for event in events if event.repository == push.repository]
    # The tag was on a placeholder, where the run had moved it, and the DELETE of that overtook the push.
    moved = [event.ended for event in here if event.method == "PUT" and event.reference == push.tag]
    overtaken = [event for event in here if _is_at_once(event, push) and min(moved, default=event.ended) < event.began]
    # Or the server had looked up the tags of the digest that it deletes before the push moved one of them away.
    overtaken += [event for event in here if _is_at_once(event, push) and event.reference == push.was_on]
    if push.kind == "own elsewhere" and overtaken:
        return "a tag was lost in the gap"
    hits = [event for event in here if event.ended >= push.began and _hits(event, push)]
    if not hits:
        return ""
    hit = hits[0]
    before = [event for event in here if event.began < push.ended]
    if push.kind == "own again" and not any(event.reference in (push.tag, push.goes_with) for event in before):
        return "a tag that the plan names was there again before it was read"
    if push.kind == "moved":
        # It is missing afterwards, in any list that is right again.
        told = any(event.is_list and event.began >= hit.ended and _shows(event, push.tag) for event in here)
        if not told:
            return "a tag was lost in the gap before a kill" if killed else "a tag was lost, and no list told"
        return "a tag was lost in the gap before a kill" if killed and not _shown(push, here, hit) else ""
    return "" if _shown(push, here, hit) else "a tag was lost in the gap"


def gap_before(push: Push, events: Sequence[Event]) -> float:
    """Seconds between the last list before a push and the write that overwrote it."""
    here = [event for event in events if event.repository == push.repository]
    hit = next((event.began for event in here if event.ended >= push.began and _hits(event, push)), push.ended)
    lists = [event.began for event in here if event.is_list and event.began <= push.ended]
    return max(0.0, hit - max(lists, default=hit))


def _is_at_once(event: Event, push: Push) -> bool:
    """Whether a DELETE by digest was in progress while the tag was pushed."""
    is_delete = event.method == "DELETE" and ":" in event.reference
    return is_delete and event.began <= push.ended and event.ended >= push.began


def _hits(event: Event, push: Push) -> bool:
    if event.method == "DELETE":
        return event.reference in (push.tag, push.goes_with)
    return event.method == "PUT" and event.reference == push.tag


def _shown(push: Push, here: Sequence[Event], hit: Event) -> bool:
    """Whether a reading after the push, and before the write that overwrote it, contained it."""
    between = [event for event in here if event.began >= push.ended and event.ended <= hit.began]
    reads = [event for event in between if event.method in READING and event.reference == push.tag]
    if any(event.lie not in _TELLS_NOTHING for event in reads):
        return True
    if push.kind == "own elsewhere" or reads:
        return False
    return any(event.is_list and _shows(event, push.tag) for event in between)


def _shows(event: Event, tag: str) -> bool:
    return event.lie not in _TELLS_NOTHING and event.hidden != tag
