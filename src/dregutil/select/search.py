"""A search by content, before the registry's tags are known. Imports nothing that a query without one needs not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dregutil.oci.names import Reference, Repository

if TYPE_CHECKING:
    from dregutil.select.content_selector import ContentSelector

__all__ = ["Search"]


@dataclass(frozen=True, slots=True)
class Search:
    """`selector` is without its bases, which `bases` names: they can only be read once the registry's tags are known.
    It is None where nothing was asked for."""

    selector: ContentSelector | None = None
    bases: tuple[Reference, ...] = ()

    @property
    def is_asked(self) -> bool:
        return self.selector is not None

    def with_bases(self, only: Sequence[Repository] | None) -> tuple[Repository, ...] | None:
        """The repositories to read, with those of the bases; None where all must be."""
        return None if only is None else (*only, *(base.repository for base in self.bases))
