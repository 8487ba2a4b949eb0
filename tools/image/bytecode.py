"""Compiles the modules of an image with the image's own Python, so that none is compiled at each start.

The compiled files do not name a time: they are never checked against the source, and have the same bytes each time.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

from image.debian import BuildError
from image.tree import Tree, file
from image.wheels import PYTHON

__all__ = ["HOST", "Compiler"]

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
HOST = _MACHINES.get(platform.machine(), "")  # the architecture whose programs run here; "" if neither does
_LOADERS = {"amd64": "usr/lib64/ld-linux-x86-64.so.2", "arm64": "usr/lib/ld-linux-aarch64.so.1"}
_SCRIPT = """
import pathlib, py_compile, sys
for line in sys.stdin:
    place, path = line.rstrip("\\n").split("\\t")
    try:
        py_compile.compile(place, place + "c", "/" + path, doraise=True, optimize=0,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except py_compile.PyCompileError:
        pathlib.Path(place + "c").unlink(missing_ok=True)
"""


class Compiler:
    """Python of the image that runs here, unpacked into a folder. What was compiled once is not compiled again."""

    def __init__(self, system: Tree, folder: Path) -> None:
        """`system`: Debian's files for this machine's architecture; `folder` does not exist yet."""
        folder.mkdir(parents=True)
        system.write(folder)
        self._folder = folder
        self._done: dict[tuple[str, str], bytes | None] = {}

    def compile(self, tree: Tree) -> Tree:
        """The compiled files of the modules in a tree. A module that is no Python of this version has none.

        Raises BuildError.
        """
        sources = [(path, raw) for path, raw in tree.files() if path.endswith(".py")]
        keys = {path: (path, hashlib.sha256(raw).hexdigest()) for path, raw in sources}
        self._compile([(path, raw) for path, raw in sources if keys[path] not in self._done], keys)
        compiled = Tree()
        for path, _ in sources:
            raw = self._done[keys[path]]
            if raw is not None:
                source = PurePosixPath(path)
                compiled[
                    str(source.parent / "__pycache__" / f"{source.stem}.cpython-{PYTHON.replace('.', '')}.pyc")
                ] = file(raw)
        return compiled

    def _compile(self, sources: list[tuple[str, bytes]], keys: dict[str, tuple[str, str]]) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            places = {path: Path(name) / f"{number}.py" for number, (path, _) in enumerate(sources)}
            for path, raw in sources:
                places[path].write_bytes(raw)
            self._run("".join(f"{place}\t{path}\n" for path, place in places.items()))
            for path, place in places.items():
                result = place.with_name(place.name + "c")
                self._done[keys[path]] = result.read_bytes() if result.exists() else None

    def _run(self, lines: str) -> None:
        library = next((self._folder / "usr" / "lib").glob("*-linux-gnu"))
        command: list[str | Path] = [
            self._folder / _LOADERS[HOST],
            "--library-path",
            library,
            self._folder / "usr/bin/python3.11",
        ]
        # Not -I, which ignores PYTHONHOME; -S and -P keep the machine's modules out.
        environment = {"PYTHONHOME": str(self._folder / "usr"), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*command, "-S", "-P", "-c", _SCRIPT],
            input=lines,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BuildError(f"the image's own Python does not compile its modules:\n{done.stderr.strip()}")
