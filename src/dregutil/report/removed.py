"""What can still come back, as lines and as objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.journal.removed_images import RemovedImage
from dregutil.report.text import column_lines
from dregutil.report.units import size_text

__all__ = ["removed_lines", "removed_object"]


def removed_object(image: RemovedImage) -> dict[str, object]:
    """The object of a removed image. `size` is None if it is not known, `can_come_back` if the registry was not asked,
    or could not answer."""
    return {
        "removed": image.when.isoformat(timespec="seconds"),
        "run": image.run,
        "image": image.image,
        "repository": image.repository,
        "tag": image.tag,
        "digest": image.digest,
        "size": image.size,
        "can_come_back": image.can_come_back,
        "why": image.why,
    }


def removed_lines(images: Sequence[RemovedImage], *, checked: bool) -> Iterator[str]:
    """A line for each image. With `checked`, the last column says whether it can come back."""
    if not images:
        return iter(())
    more = ("CAN COME BACK",) if checked else ()
    rows: list[tuple[str, ...]] = [("REMOVED", "RUN", "IMAGE", "DIGEST", "SIZE", *more)]
    for image in images:
        size = "-" if image.size is None else size_text(image.size)
        came = (_answer(image),) if checked else ()
        rows.append((f"{image.when:%Y-%m-%d %H:%M}", image.run, image.image, image.digest.short, size, *came))
    return column_lines(rows)


def _answer(image: RemovedImage) -> str:
    if image.can_come_back:
        return "yes"
    return f"{'not known' if image.can_come_back is None else 'no'}: {image.why}"
