"""The real servers on which the tests run: Debian's, and those that `tools/build_servers.py` builds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers import DistributionServer, Process, find_program, free_port
from servers.http import Answer, Proxy, Request

__all__ = ["KINDS", "CraneServer", "Distribution3Server", "Kind", "OlaregServer", "OlaregWithCatalog", "ZotServer"]


class Distribution3Server(DistributionServer):
    """distribution 3 on a folder."""

    program = ("registry-3",)


class OlaregServer(Process):
    """olareg on a folder: OCI 1.1 with referrers; no catalog."""

    def __init__(self, folder: Path, *, delete: bool = True, collects: bool = False) -> None:
        """`collects`: its collector runs each second, and keeps nothing without a tag."""
        super().__init__(folder, free_port())
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = folder / "storage"
        self.storage.mkdir(exist_ok=True)
        self.delete = delete

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def command(self) -> list[str]:
        delete = [f"--api-delete={str(self.delete).lower()}", f"--api-blob-delete={str(self.delete).lower()}"]
        where = ["--addr", "127.0.0.1", "--port", str(self.port), "--dir", str(self.storage)]
        return [find_program("olareg"), "serve", *where, *delete, "--gc-frequency", "-1s"]


class OlaregWithCatalog(OlaregServer):
    """olareg behind a proxy that adds the catalog, from olareg's own folder: nearly all tests begin with a catalog."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._behind = self.port
        self._proxy = Proxy(self._behind, before=self._catalog)

    def start(self) -> None:
        self.port = self._behind
        super().start()
        self._proxy.start()
        self.port = self._proxy.port

    def stop(self) -> None:
        self._proxy.stop()
        self.port = self._behind
        super().stop()

    def _catalog(self, request: Request) -> Answer | None:
        if request.path != "/v2/_catalog":
            return None
        names = sorted(str(found.parent.relative_to(self.storage)) for found in self.storage.rglob("index.json"))
        number, last = int(request.query.get("n", "100")), request.query.get("last", "")
        page = [name for name in names if name > last][:number]
        return Answer(200, json.dumps({"repositories": page}).encode(), {"Content-Type": "application/json"})


class CraneServer(Process):
    """go-containerregistry's registry: manifests in memory, no collector."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port())
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def command(self) -> list[str]:
        return [find_program("crane"), "registry", "serve", "--address", self.host]


class ZotServer(Process):
    """zot on a folder, without its extensions."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port())
        folder.mkdir(parents=True, exist_ok=True)
        self.configuration = folder / "config.json"
        self.configuration.write_text(
            json.dumps(
                {
                    "distSpecVersion": "1.0.1",
                    "storage": {"rootDirectory": str(folder / "storage"), "gc": False, "dedupe": False},
                    "http": {"address": "127.0.0.1", "port": str(self.port)},
                    "log": {"level": "error"},
                }
            )
        )

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def command(self) -> list[str]:
        return [find_program("zot"), "serve", str(self.configuration)]

    def environment(self) -> Mapping[str, str]:
        return os.environ


@dataclass(frozen=True)
class Kind:
    """A real server. `program` is what it needs."""

    name: str
    server: type[DistributionServer | OlaregServer | CraneServer | ZotServer]
    program: str

    def require(self) -> None:
        """Skip the test where the server was not built; in CI a skipped test has failed."""
        try:
            find_program(self.program)
        except FileNotFoundError:
            pytest.skip(f"{self.name} was not built: ./test says why")

    def start(self, folder: Path) -> DistributionServer | OlaregServer | CraneServer | ZotServer:
        """Not started yet. Skips the test where the server was not built."""
        self.require()
        return self.server(folder)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("distribution-2.8", DistributionServer, "docker-registry"),
        Kind("distribution-3", Distribution3Server, "registry-3"),
        Kind("olareg", OlaregWithCatalog, "olareg"),
        Kind("crane", CraneServer, "crane"),
        Kind("zot", ZotServer, "zot"),
    )
}
