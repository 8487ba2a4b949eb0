"""What a program or library for Linux is for, and which libraries it needs: read from its headers, for any machine."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MACHINES = {62: "amd64", 183: "arm64"}
_LOAD, _DYNAMIC = 1, 2
_NEEDED, _STRINGS = 1, 5


@dataclass(frozen=True)
class Elf:
    """`needed` are names of libraries, as in `libc.so.6`."""

    machine: str
    needed: frozenset[str]


def read_elf(raw: bytes) -> Elf | None:
    """None if this is no ELF file of 64 bits, lowest byte first."""
    if raw[:6] != b"\x7fELF\x02\x01":
        return None
    machine = MACHINES.get(struct.unpack_from("<H", raw, 18)[0], "another")
    start, size, number = (*struct.unpack_from("<Q", raw, 32), *struct.unpack_from("<HH", raw, 54))
    segments = [struct.unpack_from("<IIQQQQQQ", raw, start + size * place) for place in range(number)]
    dynamic = next((one for one in segments if one[0] == _DYNAMIC), None)
    if dynamic is None:
        return Elf(machine, frozenset())
    entries = list(struct.iter_unpack("<QQ", raw[dynamic[2] : dynamic[2] + dynamic[5]]))
    entries = entries[: next(place for place, (kind, _) in enumerate(entries) if kind == 0)]
    address = next(value for kind, value in entries if kind == _STRINGS)
    strings = next(
        address - one[3] + one[2] for one in segments if one[0] == _LOAD and one[3] <= address < one[3] + one[5]
    )
    names = (raw[strings + value :].split(b"\0", 1)[0] for kind, value in entries if kind == _NEEDED)
    return Elf(machine, frozenset(name.decode() for name in names))
