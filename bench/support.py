"""Shared by the benchmarks: a filled registry, a proxy that adds latency, the older tool, the CPU time of a child."""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dregutil.oci.names import Digest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from servers import Process, find_program, free_port  # noqa: E402 - the path is set above

CACHE = ROOT / ".cache"
OURS = Path(sys.executable).with_name("dregutil")
# With a delay, the benchmark measures how round trips are used, and three processes share two cores. So the server's
# memory management runs less often, for every client.
UNHURRIED = {"GOGC": os.environ.get("GOGC", "800")}


@dataclass(frozen=True)
class Timed:
    """The wall clock and CPU time (user and system) of a command, in seconds."""

    wall: float
    cpu: float
    output: str


def timed(command: Sequence[str | Path], folder: Path, **env: str) -> Timed:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr}")
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Timed(wall, cpu, done.stdout + done.stderr)


def older_tool() -> Path:
    """The older tool, in its own venv."""
    program = CACHE / "older" / "bin" / "dregutil"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "older")], check=True)
        pip = [str(CACHE / "older" / "bin" / "pip"), "install", "-q"]
        subprocess.run([*pip, "docker-registry-util==1.0.3", "setuptools<80"], check=True)
    return program


def fill(storage: Path, repositories: int, tags: int) -> None:
    """Write images directly to a registry's storage (distribution's layout), one manifest per tag."""
    base = storage / "docker" / "registry" / "v2"
    config = _blob(base, b"{}")
    for number in range(repositories):
        place = base / "repositories" / f"team{number % 10}" / f"app{number}"
        _link(place / "_layers" / "sha256" / config, config)
        for tag in range(tags):
            value = _blob(base, _manifest(config, f"{number}.{tag}"))
            _link(place / "_manifests" / "revisions" / "sha256" / value, value)
            _link(place / "_manifests" / "tags" / f"1.{tag}" / "current", value)
            _link(place / "_manifests" / "tags" / f"1.{tag}" / "index" / "sha256" / value, value)


def fill_sharing(storage: Path, repositories: int, tags: int, common: int = 9) -> None:
    """As `fill`, for millions of tags: tag 1.0 of each repository has a manifest of its own, all others are on a few
    that all repositories have. Files that are never written again are one file, and the index of a tag is left out,
    which distribution reads to delete a tag by its name alone."""
    base = storage / "docker" / "registry" / "v2"
    config = _blob(base, b"{}")
    shared = [_blob(base, _manifest(config, f"common {number}")) for number in range(common)]
    for number in range(repositories):
        place = base / "repositories" / f"team{number % 10}" / f"app{number}"
        own = _blob(base, _manifest(config, f"own {number}"))
        links = {}
        for kind, one in (("_layers", config), *(("_manifests/revisions", one) for one in (own, *shared))):
            _link(place / kind / "sha256" / one, one)
            links[one] = place / kind / "sha256" / one / "link"
        (place / "_manifests" / "tags").mkdir()
        for tag in range(tags):
            folder = place / "_manifests" / "tags" / f"1.{tag}"
            folder.mkdir()
            (folder / "current").mkdir()
            (folder / "current" / "link").hardlink_to(links[shared[tag % common] if tag else own])


def own_of(repository: int) -> Digest:
    """The digest of tag 1.0 of a repository that `fill_sharing` wrote."""
    return Digest.of(_manifest(hashlib.sha256(b"{}").hexdigest(), f"own {repository}"))


def _blob(base: Path, raw: bytes) -> str:
    value = hashlib.sha256(raw).hexdigest()
    folder = base / "blobs" / "sha256" / value[:2] / value
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").write_bytes(raw)
    return value


def _manifest(config: str, what: str) -> bytes:
    """An image without layers."""
    kind = "application/vnd.docker.container.image.v1+json"
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": kind, "digest": f"sha256:{config}", "size": 2},
            "layers": [],
            "annotations": {"n": what},
        }
    ).encode()


def _link(folder: Path, value: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link").write_text(f"sha256:{value}")


class DelayProxy(Process):
    """A TCP proxy in a separate process that delays each chunk: `delay` seconds per round trip."""

    def __init__(self, folder: Path, upstream: int, delay: float) -> None:
        super().__init__(folder, free_port())
        self.upstream = upstream
        self.delay = delay
        folder.mkdir(parents=True, exist_ok=True)

    def command(self) -> list[str]:
        return [str(_compiled("delay_proxy")), str(self.port), str(self.upstream), str(self.delay)]


def _compiled(name: str) -> Path:
    program, source = CACHE / name, Path(__file__).with_name(f"{name}.c")
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([find_program("cc"), "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    return program


def replayed(port: int, connections: int, phases: Sequence[Sequence[str]], folder: Path) -> float:
    """Seconds that a program that does nothing else needs to send requests ("GET /v2/…"), phase after phase."""
    listed = folder / "requests.txt"
    listed.write_text("".join("\n".join((*phase, "-")) + "\n" for phase in phases))
    command = [str(_compiled("replay")), str(port), str(connections), str(listed)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compile_ours() -> None:
    """Compile our bytecode, as an installed package has it; otherwise Python may compile it again at each start."""
    compileall.compile_dir(ROOT / "src", quiet=1)


def wrk_rate(url: str, paths: Sequence[str], connections: int, folder: Path, seconds: int = 5) -> float:
    """Requests per second that wrk reaches with `paths`, one after the other."""
    script = folder / "paths.lua"
    listed = ",".join(f'"{path}"' for path in paths)
    accept = "application/vnd.docker.distribution.manifest.v2+json"
    script.write_text(
        f"local paths={{{listed}}}\nlocal i=0\n"
        f'request=function() i=i%#paths+1; return wrk.format("GET", paths[i], {{["Accept"]="{accept}"}}) end\n'
    )
    command = [find_program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    return float(found[1])
