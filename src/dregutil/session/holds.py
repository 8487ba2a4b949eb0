"""What a session holds: images that no removal and no policy takes until the hold ends. The registry is only read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference
from dregutil.session.logs import LogSession

if TYPE_CHECKING:
    from dregutil.journal.holds import RegistryHolds
    from dregutil.retention.holds import Hold, Holds

__all__ = ["HoldSession"]


class HoldSession(LogSession):
    """A session that reads, knows of pulls, and holds."""

    async def hold(self, image: str, *, for_: str | timedelta | None = None, because: str = "") -> Hold:
        """Hold an image, so that nothing removes it: `repository:tag`, wherever the tag points, or `repository@digest`
        with its tags. What it refers to (children, a subject) stays too. A hold of the same name is replaced.

        `for_` is how long ("30d" or a timedelta); without it, until `end_hold`. Raises UsageError, NotFoundError if the
        registry does not have the image, JournalError if the hold cannot be written, and the errors of reading.
        """
        from dregutil.journal.actor import host_name, user_name
        from dregutil.retention.holds import Hold
        from dregutil.select.quantity import parse_duration

        reference = self._image(image)
        length = parse_duration(for_) if isinstance(for_, str) else for_
        if length is not None and length <= timedelta():
            raise UsageError("a hold that lasts no time holds nothing", advice="name a time, such as 30d")
        async with self.connected() as registry:
            is_there = await registry.resolve(reference.repository, reference.tag or _digest(reference)) is not None
        if not is_there:
            raise await self._absent(reference)
        now = self.store.now().replace(microsecond=0)
        until = None if length is None else now + length
        by = f"{user_name()}@{host_name()}"
        found = Hold(reference.repository, now, reference.tag, reference.digest, until, by, because)
        self._all_holds.add(found)
        return found

    def holds(self) -> tuple[Hold, ...]:
        """The holds on this registry that have not ended, those of what `undo` put back included. Raises
        JournalError."""
        return self._current_holds().all

    def end_hold(self, *images: str) -> tuple[Hold, ...]:
        """End holds, and return them: of `repository:tag`, `repository@digest`, all in a `repository`, or all that came
        back with an undo, by its run. Raises UsageError, NotFoundError if one is not held, JournalError; then all
        stay."""
        return self._all_holds.end({image: self._meant(image) for image in images}, self.store.now())

    @property
    def _all_holds(self) -> RegistryHolds:
        from dregutil.journal.holds import RegistryHolds

        return RegistryHolds(self.store, self.identity, self.facts.document("holds") if self.facts else None)

    def _current_holds(self) -> Holds:
        return self._all_holds.now(self.store.now())

    def _watched_holds(self) -> Callable[[], Holds]:
        """The holds while a run is at work. Raises JournalError."""
        return self._all_holds.watched(self.store.now())

    def _image(self, text: str) -> Reference:
        """Parse the name of one image, by a tag or by a digest. Raises UsageError."""
        found = Reference.parse(text, registry=self.address)
        if (found.tag is None) == (found.digest is None):
            what = "names no tag" if found.tag is None else "names a tag and a digest"
            raise UsageError(f"{text} {what}", advice="name one image: repository:tag or repository@digest")
        return found

    def _meant(self, text: str) -> Callable[[Hold], bool]:
        """Whether a hold is one of those that `text` names. Raises UsageError."""
        from dregutil.journal.run_name import is_run_name

        if is_run_name(text):
            return lambda hold: bool(hold.run) and hold.run.startswith(text)
        named = Reference.parse(text, registry=self.address)

        def is_meant(hold: Hold) -> bool:
            if hold.repository != named.repository:
                return False
            if named.tag is not None:
                return named.tag == hold.tag or named.tag in hold.tags
            return named.digest is None or named.digest == hold.digest

        return is_meant


def _digest(reference: Reference) -> Digest:
    if reference.digest is None:
        raise UsageError(f"{reference} names no tag")
    return reference.digest
