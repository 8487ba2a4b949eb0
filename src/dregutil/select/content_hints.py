"""What a search asks for and no image that it looked at has: most often a slip. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from dregutil.oci.image import ImageDetails
from dregutil.select.content_selector import ContentSelector, Label
from dregutil.select.nearest import near
from dregutil.select.platforms import is_for

__all__ = ["ContentHints"]

_MOST_NAMED = 5
_MOST_KEPT = 1000  # of labels' keys, and of the values of each


class ContentHints:
    """Takes in every image that a search looks at."""

    def __init__(self, selector: ContentSelector) -> None:
        self._selector = selector
        self._labels: dict[str, set[str]] = defaultdict(set)
        self._platforms: set[str] = set()
        self._types: set[str] = set()
        self._met: set[object] = set()  # of what is asked for, that which some image has

    def add(self, details: ImageDetails) -> None:
        self._met.update(label for label in self._selector.labels if label.matches(details))
        for key, value in details.labels.items():
            if len(self._labels) < _MOST_KEPT and len(self._labels.get(key, ())) < _MOST_KEPT:
                self._labels[key].add(value)
        self._platforms.update(details.platforms)
        self._types.update(kind for kind in (details.media_type, details.artifact_type) if kind)

    def lines(self) -> Iterator[str]:
        """A line for each thing that was asked for and that no image has; none where no image was looked at."""
        if not self._types:
            return
        for label in self._selector.labels:
            if label not in self._met:
                yield self._of_label(label)
        for wanted in self._selector.platforms:
            if not any(is_for(one, wanted) for one in self._platforms):
                yield f"no image here is for {wanted}{_there_are(self._platforms)}"
        for glob in self._selector.media_types:
            if not any(map(glob.matches, self._types)):
                yield f"no image here has a type {glob.text}{_there_are(self._types)}"

    def _of_label(self, label: Label) -> str:
        if label.key not in self._labels:
            return f"no image here has a label {label.key}{near(label.key, self._labels)}"
        values = _there_are(self._labels[label.key])
        return f"no image here has the label {label.key} with the value {label.value}{values}"


def _there_are(found: Collection[str]) -> str:
    shown = ", ".join(sorted(found)[:_MOST_NAMED])
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return f" (there are {shown}{more})" if found else ""
