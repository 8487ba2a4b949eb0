"""Makes a release of a git tag: `python tools/release.py v3.0.0`, into dist/3.0.0. docs/releasing.md explains it.

Everything is made from the tag, never from the files that lie in the checkout, and with the tag's own tools: the wheel,
the sdist, the container image, the Helm chart, bills of materials, notes from CHANGELOG.md, checksums. The same tag
gives the same bytes. Nothing is uploaded without `--push`, and never to PyPI: the command for that is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image.push import push as push_image

from dregutil.errors import DregutilError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.connect import ConnectOptions, connect_writable

__all__ = ["ReleaseError", "Tagged", "main", "notes"]

PROJECT = Path(__file__).resolve().parents[1]
SBOM = "application/vnd.cyclonedx+json"
IMAGE, CHART = "dregutil", "charts/dregutil"
_REVISION = "org.opencontainers.image.revision"
_SECONDS = 600.0  # for an answer: a layer is uploaded in one request


class ReleaseError(Exception):
    """Why there is no release; its text is for people."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A tag: its version, its commit, and when that was made, in seconds since 1970 UTC."""

    version: str
    commit: str
    epoch: int

    @classmethod
    def read(cls, name: str, repository: Path) -> Tagged:
        """Raises ReleaseError if there is no such tag, or it names no version."""
        commit = _output(["git", "rev-parse", "--verify", "--quiet", f"refs/tags/{name}^{{commit}}"], repository)
        if not commit:
            raise ReleaseError(f"there is no tag {name}")
        if not re.fullmatch(r"v?\d+\.\d+\.\d+((a|b|rc)\d+)?", name):
            raise ReleaseError(f"the tag {name} is no version, such as v3.0.0")
        epoch = _output(["git", "log", "-1", "--format=%ct", commit], repository)
        return cls(name.removeprefix("v"), commit, int(epoch))


@dataclass(frozen=True, slots=True)
class Layouts:
    """What can be pushed: OCI layouts of the image and of the chart, tagged with the version."""

    image: Path
    chart: Path


def checkout(tag: Tagged, repository: Path, folder: Path) -> None:
    """Write the files of a tag, as git has them."""
    command = ["git", "-c", "tar.umask=0022", "archive", "--format=tar", tag.commit]
    raw = subprocess.run(command, cwd=repository, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        archive.extractall(folder, filter="tar")


def check_versions(tag: Tagged, source: Path) -> None:
    """Raises ReleaseError if a file of the tag names another version."""
    chart = (source / "charts" / "dregutil" / "Chart.yaml").read_text()
    found = {
        "pyproject.toml": tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"],
        "dregutil --version": _matched(r'^__version__ = "(.+)"$', (source / "src/dregutil/__init__.py").read_text()),
        "charts/dregutil/Chart.yaml, version": _matched(r"^version: (\S+)$", chart),
        "charts/dregutil/Chart.yaml, appVersion": _matched(r"^appVersion: (\S+)$", chart),
    }
    for where, version in found.items():
        if version != tag.version:
            raise ReleaseError(f"the tag is {tag.version}, and {where} says {version or 'nothing'}")


def notes(version: str, changelog: str) -> str:
    """What the changelog says of a version. Raises ReleaseError if that is nothing."""
    section = re.search(rf"^## {re.escape(version)}\n(.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE)
    if section is None or not section[1].strip():
        raise ReleaseError(f"CHANGELOG.md says nothing of {version}")
    return section[1].strip() + "\n"


def build(tag: Tagged, source: Path, folder: Path, work: Path, options: argparse.Namespace) -> Layouts:
    """Make every file of the release in `folder`; what can be pushed is in `work`. Raises ReleaseError."""
    text = notes(tag.version, (source / "CHANGELOG.md").read_text())
    wheel = _packages(tag, source, folder)
    layouts = _chart(tag, source, work)
    archive = folder / f"dregutil-{tag.version}-image.tar"
    command = ["tools/image/build.py", "-o", str(layouts.image), "--archive", str(archive), "--wheel", str(wheel)]
    command += ["--version", tag.version, "--tag", tag.version, "--epoch", str(tag.epoch), "--revision", tag.commit]
    command += ["--cache", str(options.cache), *(f"--arch={one}" for one in options.arch or ())]
    _tool(command, tag, source)
    for chart in layouts.chart.parent.glob("*.tgz"):
        shutil.copyfile(chart, folder / chart.name)
    for name, raw in bills(layouts.image).items():
        (folder / f"dregutil-{tag.version}-image-{name}.cdx.json").write_bytes(raw)
    digests = {name: _tagged(layout)["digest"] for name, layout in (("image", layouts.image), ("chart", layouts.chart))}
    text += "".join(f"\n- {name}: `{digest}`" for name, digest in digests.items()) + "\n"
    (folder / "NOTES.md").write_text(text)
    (folder / "SHA256SUMS").write_text(checksums(folder))
    return layouts


def made_before(tag: Tagged, source: Path, folder: Path, work: Path) -> Layouts:
    """What can be pushed of a release that is there. Raises ReleaseError if it is damaged, or not of this tag."""
    sums = folder / "SHA256SUMS"
    if not sums.exists() or checksums(folder) != sums.read_text():
        raise ReleaseError(f"the files in {folder} are not those of its SHA256SUMS")
    layouts = _chart(tag, source, work)
    (chart,) = layouts.chart.parent.glob("*.tgz")
    with tarfile.open(folder / f"dregutil-{tag.version}-image.tar") as archive:
        archive.extractall(layouts.image, filter="data")
    revision = _blob(layouts.image, _tagged(layouts.image)["digest"])["annotations"].get(_REVISION)
    if revision != tag.commit or (folder / chart.name).read_bytes() != chart.read_bytes():
        raise ReleaseError(f"{folder} was not made of {tag.commit}")
    return layouts


def _chart(tag: Tagged, source: Path, work: Path) -> Layouts:
    """Package the chart; returns where it and the image belong."""
    layouts = Layouts(work / "image", work / "chart" / "oci")
    _tool(["tools/chart.py", "package", str(layouts.chart.parent)], tag, source)
    return layouts


def _packages(tag: Tagged, source: Path, folder: Path) -> Path:
    """Make the wheel and the sdist; returns the wheel. The version of what builds them decides on their bytes."""
    groups = tomllib.loads((source / "pyproject.toml").read_text())["dependency-groups"]
    (wanted,) = (one.partition("==")[2] for one in groups["release"] if one.startswith("hatchling=="))
    found = _output([sys.executable, "-c", "import importlib.metadata as a; print(a.version('hatchling'))"], source)
    if found != wanted:
        raise ReleaseError(f"hatchling {wanted} is needed ({found or 'none'} is here): pip install hatchling=={wanted}")
    _tool(["-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(folder)], tag, source)
    return next(folder.glob("*.whl"))


def bills(layout: Path) -> dict[str, bytes]:
    """The image's bills of materials (CycloneDX), by architecture."""
    index = _blob(layout, _tagged(layout)["digest"])
    platforms = {one["digest"]: one["platform"]["architecture"] for one in index["manifests"]}
    found = {}
    for one in json.loads((layout / "index.json").read_bytes())["manifests"]:
        if one.get("artifactType") == SBOM:
            manifest = _blob(layout, one["digest"])
            (content,) = manifest["layers"]
            found[platforms[manifest["subject"]["digest"]]] = _path(layout, content["digest"]).read_bytes()
    return found


def checksums(folder: Path) -> str:
    """A line for each file, as `sha256sum -c` reads them."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


async def push(tag: Tagged, layouts: Layouts, target: str, options: ConnectOptions) -> list[str]:
    """Upload the image and the chart; returns where they are, by digest.

    A version is never replaced: raises ReleaseError before anything is sent if its tag has another digest. Raises
    DregutilError.
    """
    host, _, prefix = target.partition("/")
    wanted = {
        f"{prefix}/{name}".lstrip("/"): layout for name, layout in ((IMAGE, layouts.image), (CHART, layouts.chart))
    }
    async with connect_writable(host, options) as registry:
        for name, layout in wanted.items():
            there = await registry.manifest(Repository(name), Tag(tag.version))
            if there is not None and there.digest != _tagged(layout)["digest"]:
                raise ReleaseError(f"{host}/{name}:{tag.version} is there already, and is another: {there.digest}")
        image, chart = wanted
        await push_image(layouts.image, host, image, tag.version, options)
        top = _tagged(layouts.chart)
        manifest = _blob(layouts.chart, top["digest"])
        for blob in (manifest["config"], *manifest["layers"]):
            await registry.put_blob(Repository(chart), _path(layouts.chart, blob["digest"]).read_bytes())
        raw = _path(layouts.chart, top["digest"]).read_bytes()
        await registry.put_manifest(Repository(chart), Tag(tag.version), raw, top["mediaType"])
    return [f"{host}/{name}@{_tagged(layout)['digest']}" for name, layout in wanted.items()]


def _tagged(layout: Path) -> dict[str, Any]:
    listed: list[dict[str, Any]] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return next(one for one in listed if "org.opencontainers.image.ref.name" in one.get("annotations", {}))


def _path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / Digest(digest).replace(":", "/")


def _blob(layout: Path, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_path(layout, digest).read_bytes())
    return found


def _matched(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def _output(command: Sequence[str], folder: Path) -> str:
    """What a command prints; empty if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _tool(command: Sequence[str], tag: Tagged, source: Path) -> None:
    """Run a tool of the tag. Raises ReleaseError with what it says."""
    environment: Mapping[str, str] = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON"))},
        "SOURCE_DATE_EPOCH": str(tag.epoch),
        "PYTHONPATH": os.pathsep.join((str(source / "src"), str(source / "tools"))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReleaseError(f"{' '.join(command[:2])} failed:\n{(done.stderr or done.stdout).strip()}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _release(options)
    except (ReleaseError, DregutilError, OSError) as error:
        sys.stderr.write(f"release.py: {error}\n")
        return 1
    return 0


def _release(options: argparse.Namespace) -> None:
    tag = Tagged.read(options.tag, options.repository)
    folder: Path = options.output or options.repository / "dist" / tag.version
    if folder.exists() and not options.push:
        raise ReleaseError(f"{folder} is there already; --push uploads it")
    with tempfile.TemporaryDirectory(prefix="dregutil-release-") as temporary:
        work = Path(temporary)
        source = work / "source"
        checkout(tag, options.repository, source)
        check_versions(tag, source)
        if folder.exists():
            layouts = made_before(tag, source, folder, work)
        else:
            layouts = _made(tag, source, folder, work, options)
        print((folder / "SHA256SUMS").read_text(), end="")
        if options.push:
            login = {name: os.environ.get(f"REGISTRY_{name.upper()}") for name in ("user", "password")}
            chosen: dict[str, Any] = {**login, "credential_source": "environment"} if login["user"] else {}
            warnings.filterwarnings("ignore", "Sending a large body", ResourceWarning)  # nothing waits for the loop
            connected = ConnectOptions(insecure=options.insecure, timeout=_SECONDS, **chosen)
            print(*asyncio.run(push(tag, layouts, options.push, connected)), sep="\n")
    print(f"to PyPI, which nobody can take back: twine upload {folder}/*.whl {folder}/docker_registry_util-*.tar.gz")


def _made(tag: Tagged, source: Path, folder: Path, work: Path, options: argparse.Namespace) -> Layouts:
    new = work / "made"
    new.mkdir()
    layouts = build(tag, source, new, work, options)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(new, folder)  # as a whole: there is no release with a part of its files
    return layouts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make a release of a git tag.")
    add = parser.add_argument
    add("tag", help="such as v3.0.0")
    add("-o", "--output", type=Path, metavar="DIR", help="a new folder [dist/VERSION]")
    add("--push", metavar="REGISTRY[/PREFIX]", help="upload the image (dregutil) and the chart (charts/dregutil) there")
    add("--insecure", action="store_true", help="plain HTTP, or a certificate that is not trusted")
    add("--repository", type=Path, default=PROJECT, metavar="DIR", help="the git repository [that of this file]")
    add("--arch", action="append", help="of the image, for a trial; may be repeated [all]")
    add("--cache", type=Path, default=PROJECT / ".cache" / "image", metavar="DIR", help="downloads [.cache/image]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
