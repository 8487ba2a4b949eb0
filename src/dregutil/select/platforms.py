"""Platforms as people write them: `linux/arm64`, a prefix such as `linux`, or an architecture alone. Pure."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["is_for"]

_ARCHITECTURES = frozenset({"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle"}) | {
    "ppc64",
    "ppc64le",
    "riscv64",
    "s390x",
    "wasm",
}
# As containerd reads them.
_OTHER_NAMES = {
    "aarch64": "arm64",
    "armel": "arm/v6",
    "armhf": "arm/v7",
    "i386": "386",
    "x86-64": "amd64",
    "x86_64": "amd64",
}


def is_for(platform: str, wanted: str) -> bool:
    """Whether an image for `platform` (`linux/arm/v7`) is for what is `wanted`: a platform, the beginning of one, or an
    architecture of any system. Other names of an architecture are the same: `aarch64` and `arm64`."""
    found, asked = _parts(platform), _parts(wanted)
    if asked[0] in _ARCHITECTURES:
        found = found[1:]
    return found[: len(asked)] == asked


@lru_cache(maxsize=1000)
def _parts(text: str) -> tuple[str, ...]:
    parts = text.lower().split("/")
    place = 0 if parts[0] in _ARCHITECTURES or parts[0] in _OTHER_NAMES else 1
    architecture = "".join(parts[place : place + 1])
    parts[place : place + 1] = _OTHER_NAMES.get(architecture, architecture).split("/") if architecture else []
    return tuple(parts)
