"""What the ways of removing tags share: recording in groups, and putting tags back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dregutil.apply.put_back import Guard, put_back_tags
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent, Recorder
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each
from dregutil.registry.writer import WritableRegistry

__all__ = ["CheckCopies", "Originals", "Progress", "Way", "WhyLeft", "in_groups", "is_on", "put_tags_back"]

_AT_ONCE = 16
_GROUP = 256  # intents recorded together

Originals = dict[tuple[Repository, Tag], Manifest]  # what tags stood for before they were taken
# Called with a placeholder, and with what the tags that were moved onto it stood for. Looks for tags that another user
# copied from one of these, and gives them what that stood for. Raises DregutilError where it cannot be known which.
CheckCopies = Callable[[Digest, Mapping[Tag, Manifest]], Awaitable[None]]
# Asked once the intent of a tag is durable: why the tag is left after all, or an empty string. Raises DregutilError.
WhyLeft = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class Progress:
    """Called for each tag that a sweep takes, and for each that is put back where it ends early."""

    on_swept: Callable[[], None] = lambda: None
    on_put_back: Callable[[], None] = lambda: None

    def tell(self, on_swept: Callable[[], None] | None, on_put_back: Callable[[], None] | None) -> None:
        """Call these from now on, where they are given."""
        self.on_swept = on_swept or self.on_swept
        self.on_put_back = on_put_back or self.on_put_back


class Way(Protocol):
    """A way of removing tags."""

    async def untag(self, intent: Intent, check_copies: CheckCopies, why_left: WhyLeft) -> str | None:
        """Remove the one tag of `intent`, which was on its manifest just before; those beside it stay.

        Returns an empty string where it went, else why it was left; None where the server has not this way. Raises
        DregutilError where the registry did not do as asked; then what it took was put back.
        """

    async def sweep(self, intents: Sequence[Intent], stopped: Callable[[], bool], check_copies: CheckCopies) -> bool:
        """Remove all tags of `intents`; False where the server has not this way, and all is as it was.

        A tag that has moved is left. `stopped` is asked between requests; where it says so, and where an error ends it,
        what was taken is put back. Raises DregutilError.
        """


async def is_on(registry: Registry, repository: Repository, tag: Tag, digest: Digest) -> bool:
    """Whether a tag stands for a digest now. Raises DregutilError."""
    found = await registry.resolve(repository, tag)
    return found is not None and found.digest == digest


async def in_groups(
    recorder: Recorder,
    intents: Sequence[Intent],
    act: Callable[[Intent], Awaitable[bool]],
    stopped: Callable[[], bool],
) -> None:
    """Record a group of intents, then act on each of it, a few at once. Raises DregutilError."""

    async def unless_stopped(intent: Intent) -> None:
        if not stopped():
            await act(intent)

    for start in range(0, len(intents), _GROUP):
        group = intents[start : start + _GROUP]
        if stopped():
            return
        await recorder.intend(*group)
        await for_each(group, unless_stopped, at_once=_AT_ONCE)


async def put_tags_back(
    registry: WritableRegistry, originals: Originals, *, guard: Guard, on_put_back: Callable[[], None]
) -> None:
    """Point the tags at their own manifests again, where `guard` allows it. Raises DregutilError."""

    async def put(entry: tuple[tuple[Repository, Tag], Manifest]) -> None:
        (repository, tag), manifest = entry
        await put_back_tags(registry, repository, manifest, (tag,), guard=guard)
        on_put_back()

    await for_each(originals.items(), put, at_once=_AT_ONCE)
