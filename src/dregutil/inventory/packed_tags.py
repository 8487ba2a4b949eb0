"""The tags of one repository in few bytes: a registry may have ten million. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, ItemsView, Iterator, Mapping, ValuesView
from operator import methodcaller
from struct import iter_unpack
from typing import Any, ClassVar, Self
from weakref import ref

from dregutil.oci.names import Digest, Tag, is_tag

__all__ = ["KEY", "PackedTags"]

_SHA256 = "sha256:"
_TEXT = len(_SHA256) + 64  # characters of a sha256 digest
KEY = 32  # bytes of its key
_MOST_OPEN = 4
_PACKED = b"="  # no digest begins so


class PackedTags(Mapping[Tag, Digest]):
    """Tags and their digests, in the order in which they were given: about 45 bytes a tag, where a dictionary has 300.

    The names are one string and the digests another. Access to a tag unpacks them all; the four repositories that were
    accessed last stay unpacked.
    """

    __slots__ = ("__weakref__", "_digests", "_names", "_open")

    _last_opened: ClassVar[deque[ref[PackedTags]]] = deque()
    _digests: bytes | tuple[Digest, ...]

    def __init__(self, tags: Mapping[Tag, Digest]) -> None:
        self._names = "\n".join(tags).encode()
        self._digests = _packed(tags.values())
        self._open: dict[Tag, Digest] | None = None

    @classmethod
    def of(cls, tags: Mapping[Tag, Digest]) -> Self:
        """`tags`, packed; the same object if they are."""
        return tags if isinstance(tags, cls) else cls(tags)

    @classmethod
    def parse(cls, tags: Mapping[str, str]) -> Self | None:
        """Text that was not checked, packed; None if a name is not a tag, or a value is not a sha256 digest.

        It takes a fifth of the time of parsing each name and each digest.
        """
        digests = tags.values()
        if not all(map(is_tag, tags)) or not all(map(methodcaller("startswith", _SHA256), digests)):
            return None
        text = "".join(digests).replace(_SHA256, "")
        if {_TEXT} != {*map(len, digests)} or len(text) != 2 * KEY * len(tags):
            return None
        try:
            packed = bytes.fromhex(text)
        except ValueError:
            return None
        if packed.hex() != text:  # capital letters, or spaces
            return None
        found = cls({})
        found._names, found._digests = "\n".join(tags).encode(), packed
        return found

    @classmethod
    def unpack(cls, names: bytes, digests: bytes) -> Self:
        """The reverse of `pack`."""
        found = cls({})
        found._names = names
        is_sha256 = digests.startswith(_PACKED)
        found._digests = digests[1:] if is_sha256 else tuple(map(Digest, digests.decode().split("\n")))
        return found

    def pack(self) -> tuple[bytes, bytes]:
        """The names and the digests, each as bytes."""
        if isinstance(self._digests, bytes):
            return self._names, _PACKED + self._digests
        return self._names, "\n".join(self._digests).encode()

    @property
    def is_open(self) -> bool:
        """Whether its tags are unpacked."""
        return self._open is not None

    def close(self) -> None:
        """Drop the unpacked tags; the next access unpacks them again."""
        self._open = None

    def keys_of_digests(self) -> list[bytes]:
        """The key of each tag's digest, in order."""
        if isinstance(self._digests, bytes):
            return [key for (key,) in iter_unpack(f"{KEY}s", self._digests)]
        return [digest.key for digest in self._digests]

    def keyed(self) -> Iterator[tuple[str, bytes]]:
        """Each tag with the key of its digest, in order, without unpacking them."""
        return zip(self._names.decode().split("\n"), self.keys_of_digests(), strict=False)

    def names(self, digest: Digest) -> bool:
        """Whether a tag is on `digest`."""
        if not isinstance(self._digests, bytes):
            return digest in self._digests
        key = digest.key
        at = self._digests.find(key) if len(key) == KEY else -1
        while at % KEY and at >= 0:  # the end of one digest and the beginning of the next
            at = self._digests.find(key, at + 1)
        return at >= 0

    def __len__(self) -> int:
        return len(self._digests) // KEY if isinstance(self._digests, bytes) else len(self._digests)

    def __iter__(self) -> Iterator[Tag]:
        return iter(self._opened())

    def __getitem__(self, tag: Tag) -> Digest:
        return self._opened()[tag]

    def __contains__(self, tag: object) -> bool:
        return tag in self._opened()

    def items(self) -> ItemsView[Tag, Digest]:
        return self._opened().items()

    def values(self) -> ValuesView[Digest]:
        return self._opened().values()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedTags) and self._names == other._names and self._digests == other._digests:
            return True
        return self._opened() == dict(other) if isinstance(other, Mapping) else NotImplemented

    __hash__: Any = None

    def __repr__(self) -> str:
        return f"PackedTags({self._opened()!r})"

    def _opened(self) -> dict[Tag, Digest]:
        if (opened := self._open) is None:
            opened = self._open = self._unpacked()
            self._last_opened.append(ref(self))
            if len(self._last_opened) > _MOST_OPEN and (oldest := self._last_opened.popleft()()) is not None:
                oldest.close()
        return opened

    def _unpacked(self) -> dict[Tag, Digest]:
        names = map(Tag, self._names.decode().split("\n"))
        if isinstance(self._digests, bytes):
            text, hex_of_key = self._digests.hex(), 2 * KEY
            digests = [Digest(_SHA256 + text[at : at + hex_of_key]) for at in range(0, len(text), hex_of_key)]
            return dict(zip(names, digests, strict=False))  # an empty string has one part
        return dict(zip(names, self._digests, strict=False))


def _is_sha256(digest: str) -> bool:
    return len(digest) == _TEXT and digest.startswith(_SHA256)


def _packed(digests: Collection[Digest]) -> bytes | tuple[Digest, ...]:
    """Their bytes, if all are sha256."""
    if not all(map(_is_sha256, digests)):
        return tuple(digests)
    text = "".join([digest[len(_SHA256) :] for digest in digests])
    return bytes.fromhex(text)
