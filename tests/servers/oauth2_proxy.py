"""oauth2-proxy, the real one, before a server of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers import Process, find_program

__all__ = ["Oauth2Proxy"]


class Oauth2Proxy(Process):
    """Started with `arguments`, which name the address where it listens."""

    def __init__(self, folder: Path, port: int, arguments: list[str]) -> None:
        """Skips the test where it was not built."""
        super().__init__(folder, port)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            program = find_program("oauth2-proxy")
        except FileNotFoundError:
            pytest.skip("oauth2-proxy was not built: ./test says why")
        self._command = [program, *arguments]

    def command(self) -> list[str]:
        return self._command
