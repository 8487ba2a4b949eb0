"""The containers of a local Docker or podman, asked through its socket → a list of images in use.

https://docs.docker.com/reference/api/engine/ ; podman serves the same paths. Only GET requests are sent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import aiohttp

from dregutil.errors import RefusedError
from dregutil.retention.asked import Engine
from dregutil.retention.in_use import ListFile

__all__ = ["read_engine"]

_LONGEST = 64 << 20  # bytes of an answer
_LIMITS = aiohttp.ClientTimeout(total=60.0)
_ABSENT = 404
_SCHEME = "unix://"


async def read_engine(entry: Engine, env: Mapping[str, str] = os.environ) -> ListFile:
    """The images of all containers, running or not, by name, ID and digest. Raises RefusedError if the engine does not
    answer completely."""
    path = _socket(entry, env)
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path), timeout=_LIMITS) as session:
        containers = await _get(entry, session, path, "/containers/json?all=1")
        if not isinstance(containers, list) or not all(isinstance(one, dict) for one in containers):
            raise _refused(entry, path, "the answer is not a list of containers")
        ids = dict.fromkeys(str(one.get("ImageID", "")) for one in containers)
        images = [await _get(entry, session, path, f"/images/{one}/json") for one in ids if one]
        if not all(isinstance(one, dict) for one in images):
            raise _refused(entry, path, "the answer is not an image")
    digests = [name for image in images for name in image.get("RepoDigests") or ()]
    text = json.dumps(containers) + json.dumps([{"Image": name} for name in digests])
    return ListFile(entry, text, timedelta(0), entry.name)


def _socket(entry: Engine, env: Mapping[str, str]) -> str:
    variable = "DOCKER_HOST" if entry.name == "docker" else "CONTAINER_HOST"
    named = env.get(variable, "")
    if named and not named.startswith(_SCHEME):
        raise RefusedError(
            f"{entry.name}: {variable} is not the address of a local socket (unix://…)",
            advice="write a list on that machine with `docker ps -a --format json`; nothing was removed",
        )
    if named:
        return named.removeprefix(_SCHEME)
    if entry.name == "docker":
        return "/var/run/docker.sock"
    own = env.get("XDG_RUNTIME_DIR", "")
    return f"{own}/podman/podman.sock" if own else "/run/podman/podman.sock"


async def _get(entry: Engine, session: aiohttp.ClientSession, path: str, target: str) -> Any:
    try:
        async with session.get(f"http://localhost{target}", allow_redirects=False) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > _LONGEST:
                    raise _refused(entry, path, f"the answer is longer than {_LONGEST:,} bytes")
    except TimeoutError:
        raise _refused(entry, path, "no answer in time") from None
    except (aiohttp.ClientError, OSError) as error:
        raise _refused(
            entry, path, f"no whole answer ({getattr(error, 'strerror', None) or type(error).__name__})"
        ) from error
    if answer.status == _ABSENT and target.startswith("/images/"):
        return {}  # removed by force, under a container that is still there
    if answer.status != 200:
        raise _refused(entry, path, f"HTTP {answer.status} to {target.partition('?')[0]}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _refused(entry, path, "the answer is not JSON") from None


def _refused(entry: Engine, path: str, why: str) -> RefusedError:
    return RefusedError(
        f"{entry.name}: its containers cannot be read from {path}: {why}",
        advice="nothing was removed: what is running might go. Where nothing runs in it, name other lists in in_use",
    )
