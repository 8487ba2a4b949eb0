"""The lock files: which of Debian's packages and which wheels an image is built from, with their hashes."""

from __future__ import annotations

import json
from pathlib import Path

from image import debian, wheels
from image.debian import ARCHITECTURES, BuildError, DebianPackage

__all__ = ["FOLDER", "packages", "update", "wheels_of"]

FOLDER = Path(__file__).resolve().parent
_DEBIAN, _WHEELS = "debian.json", "wheels.txt"


def packages(folder: Path, architecture: str) -> tuple[DebianPackage, ...]:
    """Debian's packages for an architecture. Raises BuildError."""
    try:
        listed = json.loads((folder / _DEBIAN).read_text())[architecture]
        return tuple(DebianPackage(*one) for one in listed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{folder / _DEBIAN} cannot be used: {error}") from error


def wheels_of(folder: Path) -> Path:
    """The lock file of the wheels: requirements with hashes, as pip reads them."""
    return folder / _WHEELS


def update(folder: Path, cache: Path, *, with_wheels: bool = True) -> None:
    """Write lock files of the newest versions into a folder. Raises BuildError."""
    found = {one: debian.resolve(one, cache) for one in ARCHITECTURES}
    if with_wheels:
        wheels_of(folder).write_text(wheels.resolve(wheels.project_requirements()))
    (folder / _DEBIAN).write_text(_text(found))


def _text(found: dict[str, tuple[DebianPackage, ...]]) -> str:
    """JSON with one package in a line."""
    parts = []
    for architecture, listed in found.items():
        rows = [json.dumps([one.name, one.version, one.architecture, one.path, one.sha256]) for one in listed]
        parts.append(f"  {json.dumps(architecture)}: [\n    " + ",\n    ".join(rows) + "\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"
