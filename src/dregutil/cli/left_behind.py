"""Tags that an interrupted run left on a placeholder: named, with the run and the commands that continue or undo it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from dregutil.cli.recorded import recorded
from dregutil.cli.settings import Settings
from dregutil.journal.history import RunHistory
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["left_behind_lines"]

_MOST_NAMED = 5


def left_behind_lines(settings: Settings, left: Iterable[tuple[Repository, Tag, Digest]]) -> Iterator[str]:
    """A line for each run that left some of these tags on a placeholder; the digests are those of placeholders."""
    left = tuple(left)
    if not left:
        return
    names: dict[str, list[str]] = defaultdict(list)
    with recorded(settings) as records:
        runs = RunHistory(records.runs, settings.address.identity).placeholders()
    for repository, tag, digest in left:
        names[runs.get(digest, "")].append(f"{repository}:{tag}")
    for run, images in sorted(names.items()):
        shown = ", ".join(images[:_MOST_NAMED])
        more = f" and {len(images) - _MOST_NAMED:,} more" if len(images) > _MOST_NAMED else ""
        if run:
            ways = f"{settings.advised(f'apply --resume {run}')} or {settings.advised(f'undo {run}')}"
            yield f"{shown}{more}: left by the interrupted run {run}: {ways}"
        else:
            yield (
                f"{shown}{more}: left by an interrupted run that is not recorded here: resume or undo it on the "
                "machine that recorded it, or push these tags again"
            )
