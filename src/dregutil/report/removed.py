"""What can still come back, as lines and as objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.journal.removed_images import RemovedImage
from dregutil.report.layout import Column, table_lines
from dregutil.report.text import short_tag
from dregutil.report.units import size_text

__all__ = ["removed_lines", "removed_object"]

_COLUMNS = (
    Column("REMOVED (UTC)", cut="end", least=10),  # on a narrow terminal only the day
    Column("RUN"),
    Column("IMAGE", cut="middle", least=20),
    Column("DIGEST"),
    Column("SIZE", right=True),
    Column("CAN COME BACK", cut="end", least=13),
)


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


def removed_lines(images: Sequence[RemovedImage], *, checked: bool, width: int | None = None) -> Iterator[str]:
    """A row for each image. With `checked`, the last column says whether it can come back. `width`: that of the
    terminal; digests are then short, and what does not fit is cut."""
    columns = _COLUMNS if checked else _COLUMNS[:-1]
    rows = []
    for image in images:
        size = "-" if image.size is None else size_text(image.size)
        name = image.image if width is None or image.tag is None else f"{image.repository}:{short_tag(image.tag)}"
        digest = image.digest if width is None else image.digest.hex[:12]
        rows.append((f"{image.when:%Y-%m-%d %H:%M}", image.run, name, digest, size, _answer(image))[: len(columns)])
    return table_lines(columns, rows, width=width)


def _answer(image: RemovedImage) -> str:
    if image.can_come_back:
        return "yes"
    return f"{'not known' if image.can_come_back is None else 'no'}: {image.why}"
