"""The registry of an invented company: 30 repositories with releases, nightly builds, signatures and a build cache.

For screens and the tour. Dates are relative to now, so that ages stay the same; digests differ from day to day.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from images import Pusher

__all__ = ["fill_company"]

KB = 1000
SERVICES = ("web", "api", "cart", "checkout", "search", "mail", "auth", "admin", "metrics", "images")
TEAMS = {"shop": "storefront", "ml": "research", "base": "platform"}


def fill_company(pusher: Pusher, services: int = 9) -> None:
    """Push everything. `services`: how many of the shop's services (at most 10); 9 make 30 repositories."""
    base = _bytes("debian 12", 900 * KB)
    for number, name in enumerate(SERVICES[:services]):
        _service(pusher, f"shop/{name}", base, number)
    for number, name in enumerate(SERVICES[: services * 2 // 3]):
        _nightly(pusher, f"nightly/{name}", base, number)
    for number, name in enumerate(("train", "serve", "notebook", "eval", "data")[: services // 2 + 1]):
        _model(pusher, f"ml/{name}", number)
    for name, versions in (("debian", 6), ("node", 8), ("python", 8), ("go", 6)):
        for version in range(versions):
            _image(pusher, f"base/{name}", f"{20 + version}.0", base, 40 * KB, days=30.0 * (versions - version))
    for name in ("ci", "deploy", "lint", "proxy", "backup", "dns")[: services * 2 // 3]:
        _image(pusher, f"tools/{name}", "1.0", base, 60 * KB, days=700)
        _image(pusher, f"tools/{name}", "1.1", base, 60 * KB, days=300)
        _image(pusher, f"tools/{name}", "2.0", base, 70 * KB, days=20, others=("latest",))


def _service(pusher: Pusher, repository: str, base: bytes, number: int) -> None:
    """Releases of two platforms, the last two signed; `stable` stays on an older one, `latest` is the newest."""
    releases = [f"{major}.{minor}.{patch}" for major in (1, 2) for minor in range(4) for patch in range(2)]
    for place, release in enumerate(releases):
        age = 20.0 * (len(releases) - place) + number
        children = [
            {
                **_push(pusher, repository, (), f"{release} {machine}", base, 25 * KB + 7 * KB * number, age, machine),
                "platform": {"os": "linux", "architecture": machine},
            }
            for machine in ("amd64", "arm64")
        ]
        others = {"1.3.1": ("stable",), releases[-1]: ("latest",)}.get(release, ())
        index = pusher.push_index(repository, release, *others, children=children)
        if place >= len(releases) - 2:
            pusher.push_image(repository, f"sha256-{index['digest'][7:]}.sig", seed=f"signature of {release}")


def _nightly(pusher: Pusher, repository: str, base: bytes, number: int) -> None:
    for day in range(40):
        _image(pusher, repository, f"build-{1200 + number * 40 + day}", base, 30 * KB, days=39.0 - day + 0.25)


def _model(pusher: Pusher, repository: str, number: int) -> None:
    weights = _bytes(f"weights {repository}", 1500 * KB)
    for week in range(12):
        _image(pusher, repository, f"2026.{week + 30}", weights, 90 * KB + number * KB, days=7.0 * (12 - week))


def _image(
    pusher: Pusher, repository: str, tag: str, base: bytes, own: int, *, days: float, others: tuple[str, ...] = ()
) -> None:
    _push(pusher, repository, (tag, *others), tag, base, own, days)


def _push(
    pusher: Pusher,
    repository: str,
    tags: tuple[str, ...],
    seed: str,
    base: bytes,
    own: int,
    days: float,
    machine: str = "amd64",
) -> dict[str, Any]:
    team = TEAMS.get(repository.partition("/")[0])
    labels = {"org.opencontainers.image.source": f"https://git.example.com/{repository}"}
    config = {
        "created": (_hour() - timedelta(days=days)).isoformat(),
        "architecture": machine,
        "config": {"Labels": labels if team is None else {**labels, "team": team}},
    }
    layers = [base, _bytes(f"{repository} {seed}", own)]
    return pusher.push_image(repository, *tags, seed=f"{repository} {seed}", layers=layers, config=config)


def _hour() -> datetime:
    """The full hour: images of the same age are exactly so, however long the pushing takes."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def _bytes(seed: str, number: int) -> bytes:
    return random.Random(seed).randbytes(number)
