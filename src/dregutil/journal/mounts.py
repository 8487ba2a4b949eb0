"""Whether a folder outlives the container or the machine's memory. Pure."""

from __future__ import annotations

from pathlib import Path

__all__ = ["why_short_lived"]

_IN_MEMORY = ("tmpfs", "ramfs")
_CONTAINER_LAYERS = ("overlay", "aufs")


def why_short_lived(folder: Path, mounts: str) -> str:
    """Why what is written to `folder` may not outlive this process or its container; empty if it does.

    `mounts` is the text of `/proc/self/mountinfo` (proc(5)); the longest mount point that holds the folder decides.
    """
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 10 or "-" not in fields:
            continue
        point = fields[4].encode().decode("unicode_escape")
        inside = str(folder) == point or str(folder).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[fields.index("-") + 1]
    if kind in _IN_MEMORY:
        return f"{folder} is in memory ({kind})"
    if kind in _CONTAINER_LAYERS:
        return f"{folder} is a container's own layer ({kind})"
    return ""
