"""A Docker daemon on a Unix socket, with one image and the containers of it.

The answers have the form of https://docs.docker.com/reference/api/engine/ (ContainerList, ImageInspect).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from servers.http import Answer, Endpoint, Request

__all__ = ["Engine"]


class Engine(Endpoint):
    """The image has the ID `id` and the names `digests`. A container of each name in `images` runs, and one of each in
    `ended` has ended. `failing`: answers by path."""

    def __init__(self, folder: Path, image: str, *, digests: Sequence[str] = ()) -> None:
        super().__init__()
        self.socket = str(folder / "docker.sock")
        self.id = image
        self.digests = digests
        self.images: list[str] = []
        self.ended: list[str] = []
        self.failing: dict[str, Answer] = {}

    def answer(self, request: Request) -> Answer:
        if request.path in self.failing:
            return self.failing[request.path]
        found: Any
        if request.path == "/containers/json":
            found = [self._container(name, "running") for name in self.images]
            if request.query.get("all") == "1":
                found += [self._container(name, "exited") for name in self.ended]
        elif request.path == f"/images/{self.id}/json":
            found = {"Id": self.id, "RepoTags": [], "RepoDigests": self.digests}
        else:
            return Answer(404, b'{"message": "page not found"}')
        return Answer(200, json.dumps(found).encode())

    def _container(self, name: str, state: str) -> dict[str, str]:
        own = hashlib.sha256(name.encode()).hexdigest()
        return {"Id": own, "Image": name, "ImageID": self.id, "State": state}
