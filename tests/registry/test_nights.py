"""Thirty nights of a registry that sometimes gives wrong answers: nothing is removed that the policy keeps on an honest
one.

Between two nights images are pushed, promoted, rolled back, copied from elsewhere and removed by hand, and the last
cleanup is undone. Each night a list of tags may omit some, the catalog may omit a repository, and tags may be answered
with 404; then `cleanup` runs, on a clock of the test. `_Honest` knows what really exists, and computes independently
what the policy keeps of it. After each night a reader with access to the server's memory checks that every such tag
exists, on its image, complete.

What was never listed cannot be known: only what was listed once is omitted afterwards.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dregutil.cli import run
from images import Pusher
from servers.memory import MemoryServer
from trust import without_pauses

NIGHTS = 30
EXAMPLES = int(os.environ.get("DREGUTIL_LONG", "10"))
START = datetime(2026, 3, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
REPOSITORIES = ("a/app", "b/app", "c/app")
HELD = timedelta(days=14)
CLOCKED = (
    "apply.recorded",
    "apply.undo.recorded",
    "inventory.crawl",
    "journal.store",
    "journal.tag_records",
    "plan.cleanup",
    "plan.live",
    "session.reading",
    "session.removal",
)


class Clock:
    """Replaces `datetime` where the program asks for the time."""

    moment = START
    fromtimestamp = staticmethod(datetime.fromtimestamp)

    @classmethod
    def now(cls, zone: Any = None) -> datetime:
        return cls.moment.astimezone(zone)


@dataclass(frozen=True)
class Rules:
    """A policy that keeps `last` images, everything younger than `within` days, and the newest of `daily` days."""

    last: int
    within: int = 0
    daily: int = 0

    @property
    def text(self) -> str:
        keep = [f"last: {self.last}"]
        keep += [f"within: {self.within}d"] if self.within else []
        keep += [f"daily: {self.daily}"] if self.daily else []
        return (
            "version: 1\ndefaults: {max_remove: 100%}\nprotect: {tags: [stable]}\n"
            f"policies: [{{name: p, repositories: ['**'], keep: {{{', '.join(keep)}}}}}]\n"
        )


@dataclass
class Named:
    """The true state of a tag. `came`: when it was moved to this image; `is_copy`: the image came from elsewhere
    then."""

    digest: str
    built: datetime
    came: datetime
    is_copy: bool = False
    listed: bool = False
    put_back: datetime | None = None


@dataclass
class _Honest:
    """What really exists, and what the policy keeps of it."""

    rules: Rules
    tags: dict[str, dict[str, Named]] = field(default_factory=lambda: {name: {} for name in REPOSITORIES})

    def kept(self, repository: str, now: datetime) -> set[str]:
        here = self.tags[repository]
        found = {"stable"} & here.keys()
        for tag, one in here.items():
            young = now - max(one.built, one.came) < max(DAY, self.rules.within * DAY)
            held = one.put_back is not None and now - one.put_back < HELD
            if young or held or self._is_among_the_last(one, here) or self._is_newest_of_its_day(one, here):
                found.add(tag)
        return found | {tag for tag in here if here[tag].digest in {here[other].digest for other in found}}

    def _is_among_the_last(self, one: Named, here: dict[str, Named]) -> bool:
        """Its build date; or, for a promotion, the night before it."""
        newer = {other.digest for other in here.values() if other.built > one.built}
        if len(newer) < self.rules.last:
            return True
        night, later = _night(one.came), set()
        for other in here.values():
            if (_night(other.came), other.built) > (night, one.built):
                later.add(other.digest)
        return not one.is_copy and len(later) < self.rules.last

    def _is_newest_of_its_day(self, one: Named, here: dict[str, Named]) -> bool:
        days = {other.built.date() for other in here.values()}
        newest = max(other.built for other in here.values() if other.built.date() == one.built.date())
        return one.built == newest and sum(day > one.built.date() for day in days) < self.rules.daily


def _night(moment: datetime) -> int:
    return -((START - moment) // DAY)


class _World:
    """The registry, what is done to it, and the nights."""

    def __init__(self, server: MemoryServer, folder: Path, chance: random.Random) -> None:
        self.server, self.folder, self.chance = server, folder, chance
        self.pusher = Pusher(server.url)
        self.honest = _Honest(
            chance.choice((Rules(1), Rules(2), Rules(3), Rules(2, within=4), Rules(1, daily=3), Rules(2, daily=2)))
        )
        self.images: dict[str, dict[str, datetime]] = {name: {} for name in REPOSITORIES}
        self.number = 0
        self.runs_to_undo = 0
        self.taken: dict[tuple[str, str], Named] = {}
        self.told: list[str] = []
        (folder / "policy.yml").write_text(self.honest.rules.text)

    def live(self, nights: int) -> None:
        with self.pusher:
            self._live(nights)

    def _live(self, nights: int) -> None:
        for name in REPOSITORIES:
            for age in range(4):
                self.push(name, START - (age + 1) * DAY)
        for night in range(nights):
            Clock.moment = START + night * DAY
            self.day(night)
            Clock.moment = START + night * DAY + timedelta(hours=1)
            self.night(night)

    def day(self, night: int) -> None:
        """Actions since the previous night."""
        if not night:
            return
        for _ in range(self.chance.randint(0, 3)):
            name = self.chance.choice(REPOSITORIES)
            moment = Clock.moment - timedelta(minutes=self.chance.randint(1, 1300))
            done = (self.push, self.push_index, self.promote, self.move, self.roll_back, self.copy, self.drop)
            self.chance.choices(done, (4, 2, 2, 2, 1, 2, 0.5))[0](name, moment)
        if self.chance.random() < 0.15:
            self.undo()

    def push(self, name: str, moment: datetime) -> None:
        self._image(name, f"v{self._next()}", moment, moment)

    def push_index(self, name: str, moment: datetime) -> None:
        """An index whose children may have tags of their own."""
        number, here = self._next(), self.honest.tags[name]
        children = []
        for platform in ("amd64", "arm64"):
            tag = f"v{number}-{platform}"
            is_tagged = self.chance.random() < 0.5
            child = self._put(name, tag if is_tagged else None, moment)
            children.append(child)
            if is_tagged:
                here[tag] = Named(child["digest"], moment, moment)
        index = self.pusher.push_index(name, f"v{number}", children=children)
        self.images[name][index["digest"]] = moment
        here[f"v{number}"] = Named(index["digest"], moment, moment)

    def promote(self, name: str, moment: datetime) -> None:
        """A new tag on an existing image."""
        self._retag(name, f"prod-{self._next()}", moment)

    def move(self, name: str, moment: datetime) -> None:
        """One of a few names that move from image to image."""
        self._retag(name, self.chance.choice(("stable", "test", "edge")), moment)

    def roll_back(self, name: str, moment: datetime) -> None:
        """Those that moved back, to some other image."""
        for tag in ("test", "edge"):
            if tag in self.honest.tags[name]:
                self._retag(name, tag, moment)

    def copy(self, name: str, moment: datetime) -> None:
        """An old image from elsewhere."""
        built = moment - self.chance.randint(2, 40) * DAY
        self._image(name, f"v{self._next()}", built, moment, is_copy=True)

    def drop(self, name: str, _: datetime) -> None:
        """Somebody removes an image by hand, with all of its tags; but no child of an index, which would break the
        index."""
        here, stored = self.honest.tags[name], self.server.repositories[name].manifests
        children = {child for manifest in stored.values() for child in manifest.children}
        found = sorted({one.digest for one in here.values()} - children)
        if found:
            digest = self.chance.choice(found)
            assert self.pusher.request("DELETE", f"/v2/{name}/manifests/{digest}")[0] == 202
            self.honest.tags[name] = {tag: one for tag, one in here.items() if one.digest != digest}

    def undo(self) -> None:
        if not self.taken or self._run("undo", "-y") != 0:
            return
        for (name, tag), one in self.taken.items():
            here = (self.server.repositories[name].tags or {}).get(tag)
            if here == one.digest:
                one.put_back = Clock.moment
                self.honest.tags[name][tag] = one
        self.taken = {}

    def night(self, night: int) -> None:
        keep = {name: self.honest.kept(name, Clock.moment) for name in REPOSITORIES}
        if night:
            self.lie()
        code = self._run("cleanup", "-f", str(self.folder / "policy.yml"), "-y")
        switches = self.server.switches
        lied = [sorted(switches.hidden), sorted(switches.unlisted), sorted(switches.absent)]
        switches.hidden, switches.unlisted, switches.absent = set(), set(), set()
        assert code in (0, 3), self.told[-1]
        self.read(keep, f"{self.honest.rules} night {night} lies {lied}: {self.told[-1]}")
        for name in REPOSITORIES:
            for tag, one in self.honest.tags[name].items():
                one.listed = one.listed or not any(tag in names for names in lied)

    def lie(self) -> None:
        switches = self.server.switches
        unknown = {tag for here in self.honest.tags.values() for tag, one in here.items() if not one.listed}
        known = sorted({tag for here in self.honest.tags.values() for tag in here} - unknown)
        for wrong in (switches.hidden, switches.absent):
            if known and self.chance.random() < 0.3:
                wrong.update(self.chance.sample(known, self.chance.randint(1, min(6, len(known)))))
        if self.chance.random() < 0.2:
            switches.unlisted.update(self.chance.sample(REPOSITORIES, self.chance.randint(1, 2)))

    def read(self, keep: dict[str, set[str]], what: str) -> None:
        """Whether everything that must stay exists, complete; what was removed may be undone, and must be gone."""
        taken: dict[tuple[str, str], Named] = {}
        for name in REPOSITORIES:
            here = self.server.repositories[name]
            for tag, one in list(self.honest.tags[name].items()):
                there = (here.tags or {}).get(tag)
                if tag in keep[name]:
                    assert there == one.digest, f"{name}:{tag} is lost; {what}"
                if there is None:
                    taken[name, tag] = self.honest.tags[name].pop(tag)
                else:
                    assert there == one.digest, what
                    assert self._is_whole(name, there), f"{name}:{tag} is not whole; {what}"
        if taken:
            self.taken = taken

    def _is_whole(self, name: str, digest: str) -> bool:
        here = self.server.repositories[name]
        stored = here.manifests.get(digest)
        return (
            stored is not None
            and all(blob["digest"] in here.blobs and blob["digest"] in self.server.blobs for blob in stored.blobs)
            and all(self._is_whole(name, child) for child in stored.children)
        )

    def _run(self, *arguments: str) -> int:
        told = io.StringIO()
        before = ["-reg", self.server.url, "-c", str(self.folder / "tags"), "--state-dir", str(self.folder / "state")]
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
            code = run([*before, *arguments])
        self.told.append(f"{arguments[0]} ended with {code}: {told.getvalue()}")
        return code

    def _image(self, name: str, tag: str, built: datetime, came: datetime, *, is_copy: bool = False) -> None:
        image = self._put(name, tag, built)
        self.honest.tags[name][tag] = Named(image["digest"], built, came, is_copy)

    def _put(self, name: str, tag: str | None, built: datetime) -> dict[str, Any]:
        config = {"created": built.isoformat()}
        image = self.pusher.push_image(name, *([tag] if tag else []), seed=f"{self._next()}", config=config)
        self.images[name][image["digest"]] = built
        return image

    def _retag(self, name: str, tag: str, moment: datetime) -> None:
        here = self.server.repositories[name]
        there = sorted({one.digest for one in self.honest.tags[name].values()} & here.manifests.keys())
        if not there:
            return
        digest = self.chance.choice(there)
        before = self.honest.tags[name].get(tag)
        if before is not None and before.digest == digest:
            return
        stored = here.manifests[digest]
        self.pusher.push_manifest(name, tag, stored.raw, stored.media_type)
        self.honest.tags[name][tag] = Named(digest, self.images[name][digest], moment)

    def _next(self) -> int:
        self.number += 1
        return self.number


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's time is `Clock`'s, and it does not wait for tags that are not found."""
    without_pauses(monkeypatch)
    for module in CLOCKED:
        monkeypatch.setattr(f"dregutil.{module}.datetime", Clock)


@pytest.mark.usefixtures("clock")
@pytest.mark.property
@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_nothing_is_removed_that_an_honest_registry_keeps(tmp_path: Path, seed: int) -> None:
    with MemoryServer() as server:
        _World(server, tmp_path, random.Random(seed)).live(NIGHTS)
