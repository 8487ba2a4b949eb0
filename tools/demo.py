"""The registry that `./try --serve` shows, and the picture in the README: a few teams, base layers that they share, and
builds of many months. All bytes are real; the same each time, apart from the dates.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from images import Pusher, created

__all__ = ["POLICY", "fill_teams", "write_policy"]

POLICY = """# What `./try --serve` shows a plan of.
version: 1
defaults: {max_remove: 60%}  # the first time, much is old
protect:
  tags: [latest, "stable*"]
policies:
  - name: releases
    repositories: ["shop/**", "data/**"]
    select: {version: ">=0.1"}
    keep: {last: 4, within: 30d}
    order: version
  - name: builds
    repositories: ["**"]
    select: {regex: 'main-[0-9a-f]{7}'}
    keep: {last: 3, within: 14d}
"""
_BASES = {"debian": 2_400_000, "alpine": 300_000, "python": 3_800_000, "jdk": 6_500_000}  # bytes


@dataclass(frozen=True)
class _Line:
    """A repository: releases and builds, each a layer of about `size` bytes on those of its base."""

    repository: str
    base: str
    size: int
    releases: int
    builds: int
    every: int  # days between two of them


_LINES = (
    _Line("shop/web", "alpine", 420_000, 14, 12, 11),
    _Line("shop/api", "python", 260_000, 12, 10, 13),
    _Line("shop/checkout", "jdk", 610_000, 9, 8, 17),
    _Line("shop/admin", "alpine", 150_000, 5, 4, 40),
    _Line("data/etl", "python", 900_000, 7, 9, 9),
    _Line("data/notebook", "python", 1_600_000, 4, 3, 33),
    _Line("data/stream", "jdk", 350_000, 6, 5, 21),
    _Line("infra/runner", "debian", 500_000, 0, 14, 5),
    _Line("infra/proxy", "alpine", 90_000, 8, 0, 30),
    _Line("mirror", "debian", 200_000, 3, 0, 60),
)


def fill_teams(pusher: Pusher) -> int:
    """Push all of it; returns how many tags there are then."""
    chance = random.Random(1)
    bases = {name: [chance.randbytes(size // 2), chance.randbytes(size // 2)] for name, size in _BASES.items()}
    number = 0
    for line in _LINES:
        for place in range(line.releases):
            version = f"{1 + place // 6}.{place % 6}.{chance.randrange(4)}"
            newest = ("latest",) if place == line.releases - 1 else ()
            number += _push(pusher, line, (version, *newest), bases, chance, line.every * (line.releases - place) + 2)
        for place in range(line.builds):
            name = f"main-{chance.getrandbits(28):07x}"
            number += _push(pusher, line, (name,), bases, chance, line.every * (line.builds - place) // 2 + 1)
    return number + _push_platforms(pusher, chance)


def _push(
    pusher: Pusher, line: _Line, tags: tuple[str, ...], bases: dict[str, list[bytes]], chance: random.Random, days: int
) -> int:
    layer = chance.randbytes(int(line.size * chance.uniform(0.6, 1.4)))
    labels = {"org.opencontainers.image.title": line.repository, "team": line.repository.partition("/")[0]}
    config = created(days) | {"config": {"Labels": labels}}
    pusher.push_image(line.repository, *tags, seed=tags[0], layers=[*bases[line.base], layer], config=config)
    return len(tags)


def _push_platforms(pusher: Pusher, chance: random.Random) -> int:
    """An index of two platforms with a signature, and a name that no page may take for a part of itself."""
    children = [
        {
            **pusher.push_image("shop/web", seed=name, layers=[chance.randbytes(300_000)], config=created(75)),
            "platform": {"os": "linux", "architecture": name},
        }
        for name in ("amd64", "arm64")
    ]
    index = pusher.push_index("shop/web", "stable", "2.4", children=children)
    pusher.push_image("shop/web", f"sha256-{index['digest'][7:]}.sig", seed="signature", config=created(75))
    return 3


def write_policy(folder: Path) -> Path:
    """The file of the policy."""
    path = folder / "policy.yml"
    path.write_text(POLICY)
    return path
