"""What an older version left on disk, and the registry that its files describe, under a fixed name.

Records contain the name of their registry, so it has its own name, `registry.test`, for which a proxy on the loopback
answers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images import IMAGE, Pusher

__all__ = ["LAST_POLICY", "NAME", "POLICY", "Left", "push_all"]

NAME = "registry.test"
FOLDER = Path(__file__).with_name("upgrade")
LAST_POLICY = "last.yml"  # with a run that removed nothing
POLICY = "version: 1\npolicies:\n  - name: all\n    repositories: ['**']\n    keep: {last: 3}\n    min_age: 0s\n"


def push_all(pusher: Pusher) -> None:
    """The registry before anything was removed; its digests are always the same."""
    for number in range(6):
        pusher.push_image("app", f"1.{number}", seed=f"app {number}", layers=[b"base", b"app %d" % number])
    children = [pusher.push_image("app", seed=f"platform {number}") for number in range(2)]
    index = pusher.push_index("app", "2.0", "2.0.0", children=children)
    pusher.push_image("app", f"sha256-{index['digest'][7:]}.sig", seed="signature")
    pusher.push_image("app", "keep", seed="keep")
    pusher.push_image("tool", "1.0", "stable", seed="tool")


@dataclass(frozen=True)
class Left:
    """The files of one version, copied to `folder`; commands run there."""

    folder: Path
    url: str  # of the real server

    @classmethod
    def by(cls, version: str, folder: Path, url: str) -> Left:
        shutil.copytree(FOLDER / version, folder, dirs_exist_ok=True)
        # The last run of a policy lies under a sum of the policy's path, as 2.0.0 made it.
        (last,) = (folder / "state" / "cleanups").glob("*.json")
        name = hashlib.sha256(f"{NAME}\n{folder / LAST_POLICY}".encode()).hexdigest()[:24]
        last.rename(last.with_name(f"{name}.json"))
        return cls(folder, url)

    @property
    def registry(self) -> dict[str, Any]:
        """The content of the registry at the end: `tags` and `manifests` by repository, `placeholder`, `config`."""
        found: dict[str, Any] = json.loads((self.folder / "registry.json").read_text())
        return found

    def run_of(self, what: str) -> str:
        return str(json.loads((self.folder / "runs.json").read_text())[what])

    def rebuild(self, pusher: Pusher) -> Mapping[str, Mapping[str, str]]:
        """Rebuild the registry as it was at the end; return the tags from before anything was removed."""
        push_all(pusher)
        before = {name: pusher.tags(name) for name in ("app", "tool")}
        end = self.registry
        for name, tags in before.items():
            digests = {*tags.values(), *self._children(pusher, name, tags)}
            for digest in sorted(digests - set(end["manifests"][name])):
                assert pusher.request("DELETE", f"/v2/{name}/manifests/{digest}")[0] == 202
        pusher.push_blob("tool", end["config"].encode())
        for name, tags in end["tags"].items():
            for tag, digest in tags.items():
                if digest not in before[name].values():
                    assert pusher.push_manifest(name, tag, end["placeholder"].encode(), IMAGE) == digest
        assert {name: pusher.tags(name) for name in before} == end["tags"]
        return before

    @staticmethod
    def _children(pusher: Pusher, name: str, tags: Mapping[str, str]) -> set[str]:
        bodies = (json.loads(pusher.raw(name, digest)) for digest in set(tags.values()))
        return {child["digest"] for body in bodies for child in body.get("manifests", ())}

    def run(
        self, program: list[str], proxy: str, *arguments: str, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of `program`, through the proxy that answers for the name of the registry."""
        return self.run_command(self.command(program, *arguments), self.environment(proxy, environment))

    def run_command(self, command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def command(self, program: list[str], *arguments: str) -> list[str]:
        return [*program, "-reg", f"http://{NAME}", "-c", "cache.json", "--state-dir", "state", *arguments]

    def environment(self, proxy: str, environment: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in environment.items() if not name.upper().endswith("_PROXY")}
        kept = {name: value for name, value in kept.items() if not name.startswith(("REGISTRY", "DREGUTIL"))}
        return {**kept, "HTTP_PROXY": proxy, "http_proxy": proxy, "XDG_CACHE_HOME": str(self.folder / "contents")}
