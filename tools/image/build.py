"""Builds the container image: `python tools/image/build.py -o build/image`, without Docker and without root.

The result is an OCI layout with an index of both architectures, and with a bill of materials and a provenance for each
digest. The same inputs give the same digests. docs/container.md explains it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # as a script, this folder is on the path in place of its parent
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from image import debian, lock, oci, wheels
from image.attest import Inputs, provenance, sbom
from image.bytecode import HOST, Compiler
from image.debian import ARCHITECTURES, BuildError
from image.rootfs import debian_layer, without_shells
from image.tree import Tree
from image.wheels import PROJECT, Wheel

__all__ = ["CACHE", "Builder", "main", "new_wheel"]

CACHE = PROJECT / ".cache" / "image"
_PROGRAMS = ("dregutil",)
_SAME_TIME = 315532800  # of the layers of packages: 1980. With the commit's time each release would bring them anew.


class Builder:
    """What all versions of the image have in common, made once: the layers of Debian's packages and of the wheels."""

    def __init__(self, architectures: Sequence[str], locks: Path, cache: Path, folder: Path) -> None:
        """`folder` is for temporary files, and is there as long as images are built. Raises BuildError."""
        if not HOST:
            raise BuildError("modules are compiled with the image's own Python: build on amd64 or arm64")
        self._locks = locks
        systems = {one: _system(one, locks, cache) for one in {*architectures, HOST}}
        self._compiler = Compiler(systems[HOST], folder / "python")
        self._wheels = {one: wheels.fetch(lock.wheels_of(locks), one, cache) for one in architectures}
        self._layers = {one: self._common(systems[one], self._wheels[one]) for one in architectures}

    def build(self, given: Inputs, own: Wheel, tag: str) -> oci.Layout:
        """An image; `own` is dregutil's wheel, and `given` comes without packages and wheels. Raises BuildError."""
        layer = self._layer(wheels.install(own, _PROGRAMS), given.epoch, f"dregutil {own.version}")
        labels, images, inputs = _labels(given), {}, []
        referrers: list[tuple[oci.Blob, oci.Blob]] = []
        blobs: list[oci.Blob] = []
        for one, common in self._layers.items():
            images[one], needed = oci.image(one, [*common, layer], given.epoch, labels)
            packages, found = lock.packages(self._locks, one), (*self._wheels[one], own)
            inputs.append(replace(given, packages=packages, wheels=found))
            said = (sbom(images[one], one, inputs[-1]), provenance(images[one], (one,), inputs[-1]))
            referrers += [_attach(images[one], statement, given.epoch, blobs) for statement in said]
            blobs += needed
        index = oci.index(list(images.values()), labels)
        statement = provenance(index, list(images), _together(given, inputs))
        referrers.append(_attach(index, statement, given.epoch, blobs))
        return oci.Layout(tag, index, images, referrers, blobs)

    def _common(self, system: Tree, found: Sequence[Wheel]) -> list[oci.Layer]:
        libraries = Tree()
        for wheel in found:
            libraries.add(wheels.install(wheel))
        return [
            self._layer(system, _SAME_TIME, "Debian's packages: Python, OpenSSL, SQLite, certificates"),
            self._layer(libraries, _SAME_TIME, "the wheels that dregutil needs"),
        ]

    def _layer(self, tree: Tree, epoch: int, made_by: str) -> oci.Layer:
        without_shells(tree)
        whole = Tree(tree.entries)
        whole.add(self._compiler.compile(tree))
        return oci.layer(whole, epoch, made_by)


def new_wheel(folder: Path, epoch: int) -> Path:
    """Build dregutil's own wheel into a folder, with pip. Raises BuildError."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(PROJECT)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"dregutil's wheel cannot be built:\n{done.stderr.strip()}")
    return next(folder.glob("*.whl"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.update_lock:
            lock.update(options.locks, options.cache)
            print(f"renewed: {options.locks}/debian.json, {options.locks}/wheels.txt")
        if options.output or options.archive:
            _build(options)
        elif not options.update_lock:
            raise BuildError("nothing to do: -o names the folder of the image, --archive a file")
    except BuildError as error:
        sys.stderr.write(f"build.py: {error}\n")
        return 1
    return 0


def _build(options: argparse.Namespace) -> None:
    version = options.version or tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    given = Inputs(version, options.epoch, options.revision, options.source, (), ())
    architectures = [one for one in ARCHITECTURES if one in (options.arch or ARCHITECTURES)]
    with tempfile.TemporaryDirectory(prefix="dregutil-wheel-") as folder:
        own = wheels.wheel_of(options.wheel or new_wheel(Path(folder), options.epoch))
        builder = Builder(architectures, options.locks, options.cache, Path(folder))
        layout = builder.build(given, own, options.tag or version)
    if options.output:
        layout.write(options.output)
    if options.archive:
        options.archive.write_bytes(layout.archive(options.epoch))
    layers = {blob.digest.encode(): blob.raw for blob in layout.blobs if blob.media_type == oci.LAYER}
    for architecture, image in layout.images.items():
        used = [raw for digest, raw in layers.items() if digest in image.raw]
        unpacked = sum(int.from_bytes(raw[-4:], "little") for raw in used)  # gzip ends with it
        print(f"{image.digest}  {architecture}, {sum(map(len, used)) / 1e6:.1f} MB, unpacked {unpacked / 1e6:.0f} MB")
    print(f"{layout.index.digest}  {layout.tag}")


def _system(architecture: str, locks: Path, cache: Path) -> Tree:
    packages = lock.packages(locks, architecture)
    return debian_layer({one: debian.contents(one, cache) for one in packages})


def _attach(subject: oci.Blob, said: oci.Blob, epoch: int, blobs: list[oci.Blob]) -> tuple[oci.Blob, oci.Blob]:
    manifest, needed = oci.referrer(subject, said, epoch, {})
    blobs += needed
    return manifest, subject


def _together(given: Inputs, inputs: Sequence[Inputs]) -> Inputs:
    """The packages and wheels of all architectures, each once."""
    packages = {one for used in inputs for one in used.packages}
    found = {one for used in inputs for one in used.wheels}
    return replace(
        given,
        packages=sorted(packages, key=lambda one: (one.purl, one.sha256)),
        wheels=sorted(found, key=lambda one: (one.purl, one.sha256)),
    )


def _labels(given: Inputs) -> dict[str, str]:
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    labels = {
        "created": oci.when(given.epoch),
        "title": "dregutil",
        "description": about["description"],
        "licenses": about["license"],
        "version": given.version,
        "revision": given.revision,
        "source": given.source,
    }
    return {f"org.opencontainers.image.{name}": value for name, value in labels.items() if value}


def _git(*arguments: str) -> str:
    """What git says of the checkout; empty where this is none."""
    try:
        done = subprocess.run(["git", "-C", PROJECT, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _parser() -> argparse.ArgumentParser:
    about = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    commit = "" if _git("status", "--porcelain") else _git("rev-parse", "HEAD")
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or 0)
    parser = argparse.ArgumentParser(description="Build the container image of dregutil, without Docker.")
    add = parser.add_argument
    add("-o", "--output", type=Path, metavar="DIR", help="write an OCI layout there")
    add("--archive", type=Path, metavar="FILE", help="write the layout as one tar file (skopeo's oci-archive:)")
    add("--arch", action="append", choices=ARCHITECTURES, help="for this architecture; may be repeated [all]")
    add("--wheel", type=Path, metavar="FILE", help="dregutil's wheel [built from this checkout]")
    add("--version", help="the version in the labels [pyproject.toml's]")
    add("--tag", help="the tag in the layout [the version]")
    add("--source", default=about.get("urls", {}).get("Source", ""), metavar="URL", help="the address of the source")
    add("--revision", default=commit, help="the commit [HEAD's, if nothing is changed]")
    add("--epoch", type=int, default=epoch, help="the time of everything in it [SOURCE_DATE_EPOCH, the commit's]")
    add("--locks", type=Path, default=lock.FOLDER, metavar="DIR", help="the lock files' folder [tools/image]")
    add("--update-lock", action="store_true", help="renew the lock files: what Debian and PyPI have now")
    add("--cache", type=Path, default=CACHE, metavar="DIR", help="downloads are kept there [.cache/image]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
