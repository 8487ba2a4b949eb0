"""Debian's packages of the image: which ones, resolved by apt in a root of its own, and their files.

apt checks the signatures of the mirror's indexes. Nothing of the machine's own packages takes part: what is resolved
depends on the mirror alone, and both architectures are resolved on any machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from image.cache import alone
from image.tree import Tree

__all__ = [
    "ARCHITECTURES",
    "DISTRIBUTION",
    "WANTED",
    "BuildError",
    "DebianPackage",
    "contents",
    "control",
    "fetch",
    "resolve",
]

ARCHITECTURES = ("amd64", "arm64")
DISTRIBUTION = "debian-12"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MIRROR = "http://deb.debian.org"  # as signed indexes and hashes are checked, not the connection
_SUITES = (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security"))
# libstdc++6 is for wheels.
WANTED = (
    "python3.11-minimal",
    "libpython3.11-stdlib",
    "ca-certificates",
    "tzdata",
    "media-types",
    "base-files",
    "libstdc++6",
)

# What these depend on, and the image goes without: programs that set packages up, and libraries of Python modules that
# `rootfs` leaves out (curses, readline, dbm, nis). To apt, one package that is installed already provides them all.
_LEFT_OUT = (
    "awk", "debconf (= 99)", "openssl (= 99)", "libnsl2 (= 99)", "libtirpc3 (= 99)", "libreadline8 (= 99)",
    "libncursesw6 (= 99)", "libtinfo6 (= 99)", "libdb5.3 (= 99)",
)  # fmt: skip


class BuildError(Exception):
    """The image cannot be built; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """`architecture` is that of the file: also "all". `path` is below the mirror. `sha256` is of the .deb, in hex."""

    name: str
    version: str
    architecture: str
    path: str
    sha256: str

    @property
    def purl(self) -> str:
        """The package URL, as scanners know it."""
        version = self.version.replace("+", "%2B").replace(":", "%3A")
        return f"pkg:deb/debian/{self.name}@{version}?arch={self.architecture}&distro={DISTRIBUTION}"


def resolve(architecture: str, cache: Path) -> tuple[DebianPackage, ...]:
    """The packages of the image as the mirror has them now, sorted by name. Raises BuildError."""
    with alone(cache):
        return _resolve(_apt_root(architecture, cache / f"apt-{architecture}"))


def _resolve(options: list[str]) -> tuple[DebianPackage, ...]:
    _run(["apt-get", *options, "update", "-qq", "--error-on=any"], "apt-get update")
    install = ["apt-get", *options, "install", "--no-install-recommends", "--print-uris", "-qq", *WANTED]
    files = re.findall(r"^'([^']+\.deb)' ", _run(install, "apt-get install"), re.MULTILINE)
    names = [unquote(url.rpartition("/")[2]).partition("_")[0] for url in files]
    shown = _run(["apt-cache", *options, "show", *names], "apt-cache show")
    by_path = {one["Filename"]: one for one in map(control, shown.split("\n\n")) if "Filename" in one}
    found = []
    for url in files:
        path = unquote(url.removeprefix(_MIRROR + "/"))
        one = by_path[path.partition("/")[2]]
        found.append(DebianPackage(one["Package"], one["Version"], one["Architecture"], path, one["SHA256"]))
    return tuple(sorted(found, key=lambda package: package.name))


def fetch(package: DebianPackage, cache: Path) -> bytes:
    """The .deb, from the cache or the mirror. Raises BuildError, also where it is not what the lock file says."""
    place = cache / "debs" / package.sha256
    if not place.exists():
        url = f"{_MIRROR}/{package.path.replace('+', '%2b').replace('~', '%7e')}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                raw: bytes = answer.read()
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise BuildError(f"{url}: {error}") from error
            raise BuildError(
                f"{package.name} {package.version} is no longer on Debian's mirror: there is a newer version\n"
                "  renew the lock file: python tools/image/build.py --update-lock"
            ) from error
        except OSError as error:
            raise BuildError(f"{url}: {error}") from error
        _check(package, raw)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(f".part{os.getpid()}")
        part.write_bytes(raw)
        part.rename(place)
    raw = place.read_bytes()
    _check(package, raw)
    return raw


def contents(package: DebianPackage, cache: Path) -> tuple[str, Tree]:
    """The text of the control file, and the files. Raises BuildError."""
    fetch(package, cache)
    place = cache / "debs" / package.sha256
    about = subprocess.run(["dpkg-deb", "--field", place], check=True, capture_output=True, text=True).stdout
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", place], check=True, capture_output=True).stdout
    return about, Tree.read(tar)


def control(text: str) -> dict[str, str]:
    """The fields of a control file's paragraph that take one line."""
    return dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", text, re.MULTILINE))


def _check(package: DebianPackage, raw: bytes) -> None:
    if hashlib.sha256(raw).hexdigest() != package.sha256:
        raise BuildError(f"{package.path} is not the file of the lock file: its sha256 differs")


def _apt_root(architecture: str, root: Path) -> list[str]:
    """The options with which apt uses only this folder, and sees nothing of the machine's packages and settings."""
    if not _KEYRING.exists():
        raise BuildError(f"{_KEYRING} is missing: install Debian's package debian-archive-keyring")
    for part in ("etc/preferences.d", "etc/apt.conf.d", "etc/sources.list.d", "lists/partial", "archives/partial"):
        (root / part).mkdir(parents=True, exist_ok=True)
    lines = [f"deb [signed-by={_KEYRING}] {_MIRROR}/{where} {suite} main\n" for where, suite in _SUITES]
    (root / "etc" / "sources.list").write_text("".join(lines))
    (root / "status").write_text(
        f"Package: left-out\nStatus: install ok installed\nVersion: 1\nArchitecture: {architecture}\n"
        f"Provides: {', '.join(_LEFT_OUT)}\nMaintainer: none\nDescription: none\n"
    )
    settings = {
        "Dir": root, "Dir::Etc": root / "etc", "Dir::State": root, "Dir::State::status": root / "status",
        "Dir::State::lists": root / "lists", "Dir::Cache": root, "APT::Architecture": architecture,
        "APT::Architectures": architecture, "APT::Sandbox::User": "root", "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }  # fmt: skip
    return [text for name, value in settings.items() for text in ("-o", f"{name}={value}")]


def _run(command: list[str], what: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed: Debian's packages are resolved with it") from error
    if done.returncode:
        raise BuildError(f"{what} failed:\n{done.stderr.strip()}")
    return done.stdout
