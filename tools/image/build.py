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

__all__ = ["build", "main", "new_wheel"]

CACHE = PROJECT / ".cache" / "image"
_PROGRAMS = ("dregutil",)


def build(architectures: Sequence[str], given: Inputs, own: Wheel, locks: Path, cache: Path, tag: str) -> oci.Layout:
    """The image for these architectures; `given` without its packages and wheels, which the lock files name.

    `own` is dregutil's wheel, which the lock files do not name. Raises BuildError.
    """
    if not HOST:
        raise BuildError("the image's Python runs neither on this machine nor in it: build on amd64 or arm64")
    labels = _labels(given)
    images, referrers, blobs, inputs = {}, [], [], []
    with tempfile.TemporaryDirectory(prefix="dregutil-image-") as folder:
        systems = {one: _system(one, locks, cache) for one in {*architectures, HOST}}
        compiler = Compiler(systems[HOST], Path(folder) / "python")
        for architecture in architectures:
            found = wheels.fetch(lock.wheels_of(locks), architecture, cache)
            layers = _layers(systems[architecture], found, own, compiler, given.epoch)
            image, needed = oci.image(architecture, layers, given.epoch, labels)
            images[architecture] = image
            blobs += needed
            used = replace(given, packages=lock.packages(locks, architecture), wheels=(*found, own))
            inputs.append(used)
            said = (sbom(image, architecture, used), provenance(image, (architecture,), used))
            referrers += [_attach(image, one, given.epoch, blobs) for one in said]
    index = oci.index([images[one] for one in architectures], labels)
    every = replace(
        given,
        packages=sorted({one for used in inputs for one in used.packages}, key=lambda one: one.purl),
        wheels=sorted({one for used in inputs for one in used.wheels}, key=lambda one: (one.purl, one.sha256)),
    )
    referrers.append(_attach(index, provenance(index, architectures, every), given.epoch, blobs))
    return oci.Layout(tag, index, images, referrers, blobs)


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
    layout = build(architectures, given, own, options.locks, options.cache, options.tag or version)
    if options.output:
        layout.write(options.output)
    if options.archive:
        options.archive.write_bytes(layout.archive(options.epoch))
    for architecture, image in layout.images.items():
        size = sum(len(blob.raw) for blob in layout.blobs if blob.digest in image.raw.decode())
        print(f"{image.digest}  {architecture}, {size / 1e6:.1f} MB compressed")
    print(f"{layout.index.digest}  {layout.tag}")


def _system(architecture: str, locks: Path, cache: Path) -> Tree:
    packages = lock.packages(locks, architecture)
    return debian_layer({one: debian.contents(one, cache) for one in packages})


def _layers(system: Tree, found: Sequence[Wheel], own: Wheel, compiler: Compiler, epoch: int) -> list[oci.Layer]:
    libraries = Tree()
    for wheel in found:
        libraries.add(wheels.install(wheel))
    parts = (
        (system, "Debian's packages: Python, OpenSSL, SQLite, certificates"),
        (libraries, "the wheels that dregutil needs"),
        (wheels.install(own, _PROGRAMS), f"dregutil {own.version}"),
    )
    layers = []
    for tree, made_by in parts:
        without_shells(tree)
        whole = Tree(tree.entries)
        whole.add(compiler.compile(tree))
        layers.append(oci.layer(whole, epoch, made_by))
    return layers


def _attach(subject: oci.Blob, said: oci.Blob, epoch: int, blobs: list[oci.Blob]) -> tuple[oci.Blob, oci.Blob]:
    manifest, needed = oci.referrer(subject, said, epoch, {})
    blobs += needed
    return manifest, subject


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
