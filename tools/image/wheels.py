"""The wheels of the image: pinned with their hashes in `wheels.txt`, and how one becomes files."""

from __future__ import annotations

import configparser
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from image.cache import alone
from image.debian import ARCHITECTURES, BuildError
from image.tree import Tree, file

__all__ = ["EXTRAS", "PACKAGES", "PROJECT", "Wheel", "fetch", "install", "project_requirements", "resolve", "wheel_of"]

PROJECT = Path(__file__).resolve().parents[2]
EXTRAS = ("aws", "storage", "team")
PYTHON = "3.11"
PACKAGES = f"usr/local/lib/python{PYTHON}/dist-packages"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = ("2_28", "2_24", "2_17")  # of the wheels that run on the image's, which is 2.36
_LOGINS = ("signin", "sso", "sso-oidc", "sts")
# Of these folders, what is below them only with these names: botocore describes 400 services, and logins need four.
_ONLY = {
    "botocore/data": frozenset(
        ("_retry.json", "endpoints.json", "partitions.json", "sdk-default-configuration.json", *_LOGINS)
    )
}
_PROGRAM = """#!/usr/bin/python3.11 -I
import sys
from {module} import {function}
sys.exit({function}())
"""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel that is here: its name, its version, and its bytes."""

    name: str
    version: str
    raw: bytes

    @property
    def sha256(self) -> str:
        """In hex."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def purl(self) -> str:
        """The package URL, by PyPI's normalised name."""
        return f"pkg:pypi/{re.sub(r'[-_.]+', '-', self.name).lower()}@{self.version}"


def project_requirements(project: Path = PROJECT / "pyproject.toml") -> list[str]:
    """What dregutil needs, and what the extras of the image need, as requirements."""
    about = tomllib.loads(project.read_text())["project"]
    extras = about["optional-dependencies"]
    return [*about["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]


def resolve(requirements: Iterable[str]) -> str:
    """The text of a lock file: the newest versions that fit, the same for all architectures, with each wheel's hash.

    Raises BuildError.
    """
    if sys.version_info[:2] != (3, 11):
        raise BuildError(f"the wheels are those for Python {PYTHON}: run --update-lock with it")
    versions: dict[str, str] = {}
    hashes: dict[str, set[str]] = {}
    wanted = list(requirements)
    for architecture in ARCHITECTURES:
        pins = [f"{name}=={version}" for name, version in versions.items()]
        for one in _report(wanted + pins, architecture):
            name = re.sub(r"[-_.]+", "-", one["metadata"]["name"]).lower()
            versions[name] = one["metadata"]["version"]
            hashes.setdefault(name, set()).add(one["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = []
    for name, version in sorted(versions.items()):
        lines.append(
            " \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{one}" for one in sorted(hashes[name]))])
        )
    return "\n".join(lines) + "\n"


def fetch(lock: Path, architecture: str, cache: Path) -> tuple[Wheel, ...]:
    """The wheels of a lock file for an architecture, from the cache or by pip. Raises BuildError."""
    text = lock.read_text()
    allowed = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", text))
    pinned = re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)
    key = hashlib.sha256(f"{architecture}\n{text}".encode()).hexdigest()[:16]
    folder = cache / "wheels" / key
    with alone(cache):
        if not folder.exists():
            part = cache / "wheels" / f"{key}.part"
            command = ["download", "--require-hashes", "--no-deps", "--dest", str(part), "-r", str(lock)]
            _pip([*command, *_platform(architecture)])
            part.rename(folder)
    found = sorted((wheel_of(path) for path in folder.glob("*.whl")), key=lambda wheel: wheel.purl)
    if len(found) != len(pinned) or any(wheel.sha256 not in allowed for wheel in found):
        raise BuildError(f"{folder} does not contain the wheels of {lock}: remove it, and build again")
    return tuple(found)


def wheel_of(path: Path) -> Wheel:
    """A wheel from its file, whose name has the package's name and version."""
    name, version = path.name.split("-")[:2]
    return Wheel(name, version, path.read_bytes())


def install(wheel: Wheel, programs: Sequence[str] = ()) -> Tree:
    """The files of a wheel where Python finds them, and those `programs` of it. Raises BuildError.

    What belongs outside of Python's folder (manual pages, in `*.data`) is left out, and what `_ONLY` leaves out.
    """
    tree = Tree()
    with zipfile.ZipFile(io.BytesIO(wheel.raw)) as archive:
        for name in archive.namelist():
            if name.endswith("/") or name.split("/")[0].endswith(".data") or not _is_kept(name):
                continue
            if ".." in PurePosixPath(name).parts or name.startswith("/"):
                raise BuildError(f"a wheel of {wheel.name} has a file outside of its folder: {name}")
            tree[f"{PACKAGES}/{name}"] = file(archive.read(name), 0o755 if name.endswith(".so") else 0o644)
            if name.endswith(".dist-info/entry_points.txt"):
                tree.add(_programs(archive.read(name).decode(), programs))
    return tree


def _programs(text: str, wanted: Sequence[str]) -> Tree:
    parser = configparser.ConfigParser()
    parser.read_string(text)
    found = dict(parser["console_scripts"]) if parser.has_section("console_scripts") else {}
    tree = Tree()
    for name in wanted:
        module, _, function = found[name].partition(":")
        tree[f"usr/bin/{name}"] = file(_PROGRAM.format(module=module, function=function), 0o755)
    return tree


def _is_kept(name: str) -> bool:
    for folder, kept in _ONLY.items():
        if name.startswith(folder + "/"):
            return name.removeprefix(folder + "/").split("/")[0] in kept
    return True


def _platform(architecture: str) -> list[str]:
    machine = _MACHINES[architecture]
    platforms = [*(f"manylinux_{one}_{machine}" for one in _GLIBC), f"manylinux2014_{machine}"]
    return [
        *(text for one in platforms for text in ("--platform", one)),
        *("--python-version", PYTHON, "--implementation", "cp", "--only-binary", ":all:"),
    ]


def _report(requirements: list[str], architecture: str) -> list[dict[str, Any]]:
    """What pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--target", folder, "--report", str(report)]
        _pip(["install", *options, *_platform(architecture), *requirements])
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
        return found


def _pip(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"pip {arguments[0]} failed:\n{done.stderr.strip()}")
