"""A registry of two repositories, what was pushed there, and what must exist at any time: the view of the reader."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dregutil.oci.names import Repository
from images import ACCEPT, INDEX, Pusher, RefusedError
from trust.odd import push_odd

__all__ = ["TAGS", "World"]

TAGS = ("1.0", "1.1", "1.2", "2.0", "latest", "stable")
NAMES = ("a", "b")
_numbers = itertools.count()
_Key = tuple[Repository, str]


@dataclass
class World:
    """`must`: the tags that must resolve completely. `doomed`: those selected for removal: present, or not. `copies`:
    tags that others copied from a placeholder: they may stay there, but never vanish. `fragile`: tags that appeared
    while a run deleted what they need: complete once that run is resumed or undone. `refuses`: the registry may refuse
    a push."""

    url: str
    counts: Counter[str]
    refuses: bool = False
    must: dict[_Key, str] = field(default_factory=dict)
    doomed: dict[_Key, str] = field(default_factory=dict)
    copies: dict[_Key, str] = field(default_factory=dict)
    fragile: dict[_Key, str] = field(default_factory=dict)
    raws: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)  # what happened, to investigate a counterexample

    def __post_init__(self) -> None:
        number = next(_numbers)
        self.pusher = Pusher(self.url)
        self.repositories = [Repository(f"x{number}/{name}") for name in NAMES]
        self.pushed: dict[Repository, list[dict[str, Any]]] = {name: [] for name in self.repositories}

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        if number and what != "steps":
            self.story.append(what)

    # What is pushed

    def is_tagged(self, name: Repository, tag: str, digest: str) -> None:
        for others in (self.doomed, self.copies, self.fragile):
            others.pop((name, tag), None)
        self.must[name, tag] = digest

    def push_image(self, name: Repository, tags: list[str], seed: str, **more: Any) -> None:
        self._note(name, tags, self.pusher.push_image(name, seed=seed, **more))

    def push_index(self, name: Repository, tags: list[str], children: list[dict[str, Any]]) -> None:
        self._note(name, tags, self.pusher.push_index(name, children=children))

    def push_odd(self, name: Repository, tags: list[str], kind: str, seed: str, other: dict[str, Any]) -> None:
        """distribution 3 refuses a cache, for one."""
        with self._unless_refused():
            self._note(name, tags, push_odd(self.pusher, name, kind=kind, seed=seed, other=other))

    def push_signature(self, name: Repository, subject: dict[str, Any], number: int) -> None:
        tag = f"sha256-{subject['digest'][7:]}.sig"
        self._know(name, [tag], self.pusher.push_image(name, seed=f"signature {number}"))

    def push_fallback(self, name: Repository, subject: dict[str, Any], number: int) -> None:
        tag = f"sha256-{subject['digest'][7:]}"
        referrer = self.pusher.push_image(name, seed=f"referrer {number}", subject=subject)
        self._know(name, [], referrer)
        self._know(name, [tag], self.pusher.push_index(name, children=[referrer]))

    @contextmanager
    def _unless_refused(self) -> Iterator[None]:
        """A real server may refuse a push; the one in memory and 2.8, which are to be known exactly, may not."""
        try:
            yield
        except RefusedError:
            if not self.refuses:
                raise
            self.count("a push was refused")

    def _note(self, name: Repository, tags: list[str], found: dict[str, Any]) -> None:
        self.pushed[name].append(found)
        self._know(name, tags, found)

    def _know(self, name: Repository, tags: list[str], found: dict[str, Any]) -> None:
        if found["digest"] not in self.raws:
            self.raws[found["digest"]] = (self.pusher.raw(name, found["digest"]), found["mediaType"])
        for tag in tags:
            with self._unless_refused():  # zot 1 moves no tag from an image to an index
                self.pusher.push_manifest(name, tag, *self.raws[found["digest"]])
                self.is_tagged(name, tag, found["digest"])
        self.story.append(f"pushed {found['digest'][7:14]} to {name} as {', '.join(tags) or 'nothing'}")

    def note_index(self, children: list[dict[str, Any]]) -> str:
        """The digest of an index that is known from now on, and that a caller may push."""
        raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}).encode()
        digest = Pusher.digest_of(raw)
        self.raws[digest] = (raw, INDEX)
        return digest

    def whole(self, name: Repository) -> list[dict[str, Any]]:
        """What was pushed and still exists completely."""
        seen: set[str] = set()
        return [found for found in self.pushed[name] if self.pusher.is_whole(name, found["digest"], seen)]

    # What exists

    def tags(self) -> dict[Repository, dict[str, str]]:
        return {name: self.pusher.tags(name) for name in self.repositories}

    def placeholder_on(self, name: Repository, tag: str) -> tuple[bytes, str] | None:
        """The placeholder of a tag, and its media type."""
        path = f"/v2/{name}/manifests/{tag}"
        status, headers, raw = self.pusher.request("GET", path, headers={"Accept": ACCEPT})
        if status != 200 or "placeholder" not in (json.loads(raw).get("config") or {}).get("mediaType", ""):
            return None
        return raw, headers["content-type"]

    def is_on_nothing(self, name: Repository, tag: str) -> bool:
        """Whether a tag is on a placeholder that stands for nothing."""
        found = self.placeholder_on(name, tag)
        return found is not None and "annotations" in json.loads(found[0])

    def check(self, *, doomed_too: bool) -> None:
        """Check every tag. `doomed_too`: what was selected is present as before, or absent."""
        for name, here in self.tags().items():
            seen: set[str] = set()
            for (repository, tag), digest in self.must.items():
                if repository == name:
                    assert here.get(tag) == digest, (name, tag, here.get(tag), digest)
                    assert self.pusher.is_whole(name, digest, seen), (name, tag)
            for (repository, tag), digest in self.fragile.items():
                if repository == name:
                    assert here.get(tag) == digest, (name, tag, "fragile", here.get(tag), digest)
            self._check_copies(name, here)
            for tag, digest in here.items():
                key = (name, tag)
                if doomed_too and key in self.doomed:
                    assert self.doomed[key] == digest, (name, tag, digest, self.doomed[key])
                known = key in self.must or key in self.doomed or key in self.fragile or key in self.copies
                assert known, (name, tag, digest)

    def _check_copies(self, name: Repository, here: dict[str, str]) -> None:
        """A copy is where it was, or points to a complete image; which one, only the run can know."""
        for (repository, tag), digest in list(self.copies.items()):
            if repository != name:
                continue
            assert tag in here, (name, tag, "a copy off a placeholder vanished")
            if here[tag] != digest:
                assert here[tag] in self.raws, (name, tag, here[tag])
                assert self.placeholder_on(name, tag) is None, (name, tag)
                self.count("a copy off a placeholder was mended")
                assert self.pusher.is_whole(name, tag), (name, tag)
                self.is_tagged(name, tag, here[tag])
