"""A disk that can be full: a small tmpfs, or, if none can be mounted, a limit on the length of every file."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

__all__ = ["PAGE", "SmallDisk"]

PAGE = 4096
_SIZE = 1 << 20


class SmallDisk:
    """`is_mounted`: it is a real disk; otherwise the writing program is limited, see `longest_file` and `bound`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dregutil-disk-"))
        self.is_mounted = False

    def __enter__(self) -> Self:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=700", "tmpfs", str(self.folder)]
        try:
            self.is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            self.is_mounted = False
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def longest_file(self, pages: int) -> int | None:
        """The limit on the file length that replaces a disk with so many pages left."""
        return None if self.is_mounted else pages * PAGE

    def fill(self, *, left: int = 0, process: subprocess.Popen[str] | None = None) -> None:
        """Leave `left` pages free; `process`: the process that can write no more, if this is not a real disk."""
        if self.is_mounted:
            with (self.folder / "ballast").open("ab", buffering=0) as ballast:
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(PAGE)):
                        pass
                ballast.truncate(max(0, ballast.tell() - left * PAGE))
        elif process is not None:
            grown = max(path.stat().st_size for path in self.state.rglob("*.jsonl"))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (grown, grown))

    def make_room(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)
