"""Warnings that a registry sends with its answers: `Warning: 299 - "text"` (RFC 7234 §5.5; OCI distribution-spec,
"Warnings")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from dregutil.errors import escaped

__all__ = ["ServerWarnings"]

_LONGEST_TEXT = 300
_MOST = 10
_QUOTED = r'"((?:[^"\\]|\\.)*+)"'
# One value; of a list, each. Other codes are those of caches, and other agents are not the registry.
_VALUE = re.compile(rf"\s*+(\d{{3}})\s++(\S++)\s++{_QUOTED}(?:\s++{_QUOTED})?+\s*+(?:,|$)")


class ServerWarnings:
    """The warnings of one registry, each reported once. The views of a connection share one."""

    def __init__(self, report: Callable[[str], None] | None, redacted: Callable[[str], str]) -> None:
        """`report` receives each text. `redacted` removes secrets, which a server may repeat."""
        self._report = report
        self._redacted = redacted
        self._seen: set[str] = set()

    def note(self, headers: Iterable[str]) -> None:
        """Report the new texts in `headers`, the Warning headers of one answer: at most 10 in all, each of at most 300
        characters."""
        if self._report is None or len(self._seen) > _MOST:
            return
        for text in (text for header in headers for text in _texts(header)):
            # A secret may lie across the cut.
            shown = escaped(self._redacted(text)[:_LONGEST_TEXT].strip())
            if shown and shown not in self._seen and len(self._seen) <= _MOST:
                self._seen.add(shown)
                said = "the registry sends more warnings, which are not shown" if len(self._seen) > _MOST else None
                self._report(said or f"the registry says: {shown}")


def _texts(header: str) -> Iterator[str]:
    place = 0
    while (found := _VALUE.match(header, place)) is not None and found.end() > place:
        code, agent, text, _ = found.groups()
        if (code, agent) == ("299", "-"):
            yield re.sub(r"\\(.)", r"\1", text)
        place = found.end()
