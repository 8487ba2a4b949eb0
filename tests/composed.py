"""A stand-in for `docker`: it runs the services of a Compose file as processes of this machine.

What a service has in its container is found here instead: its mounts are the folders and files of the host, names of
services with their ports are loopback addresses with free ports, and the programs of the images are the real ones. Only
what the examples use is known; anything else is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from program import PROGRAM
from servers import DistributionServer, find_program, free_port

__all__ = ["Composed", "interpolated"]

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")
_LONGEST_START = 30.0
_SERVICE = {
    "image",
    "pull_policy",
    "user",
    "working_dir",
    "environment",
    "command",
    "entrypoint",
    "ports",
    "volumes",
    "secrets",
    "healthcheck",
    "restart",
    "profiles",
    "group_add",
}
_PORTS = {"registry": 5000, "listen": 5099}


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """`value` with `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` replaced in every text."""

    def replaced(found: re.Match[str]) -> str:
        dollar, name, operator, rest = found.groups()
        if dollar:
            return "$"
        if given := variables.get(name):
            return given
        if operator == "-":
            return rest
        raise SystemExit(f"required variable {name} is missing a value: {rest or ''}")

    if isinstance(value, str):
        return _VARIABLE.sub(replaced, value)
    if isinstance(value, dict):
        return {key: interpolated(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [interpolated(one, variables) for one in value]
    return value


@dataclass(frozen=True)
class Composed:
    """A Compose file in `project`; what the stand-in needs is in `folder`: the ports, what runs, copies of files with
    their addresses, and a folder with the program `docker`."""

    project: Path
    folder: Path

    @classmethod
    def make(cls, project: Path, folder: Path, server: type[DistributionServer]) -> Self:
        """`server`: the kind of registry that the image `registry` has."""
        (folder / "bin").mkdir(parents=True)
        ports = {name: free_port() for name in _PORTS}
        registry = find_program(*server.program)
        (folder / "setting.json").write_text(json.dumps({"ports": ports, "registry": registry}))
        (folder / "bin" / "registry").symlink_to(registry)
        (folder / "bin" / "dregutil").symlink_to(PROGRAM)
        (folder / "bin" / "python").symlink_to(sys.executable)
        docker = folder / "bin" / "docker"
        docker.write_text(
            f"#!/bin/sh\nCOMPOSED={shlex.quote(str(folder))} PYTHONPATH={shlex.quote(os.pathsep.join(sys.path))}"
            f' exec {shlex.quote(sys.executable)} -m composed "$@"\n'
        )
        docker.chmod(0o755)
        return cls(project, folder)

    @property
    def ports(self) -> Mapping[str, int]:
        found: dict[str, int] = json.loads((self.folder / "setting.json").read_text())["ports"]
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['registry']}"

    @property
    def path(self) -> str:
        """A PATH on which `docker` is the stand-in."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def services(self) -> dict[str, Service]:
        """Raises SystemExit for what is not known, or is not defined."""
        document = yaml.safe_load((self.project / "compose.yml").read_text())
        lines = (self.project / ".env").read_text().splitlines() if (self.project / ".env").exists() else []
        variables = {**dict(line.split("=", 1) for line in lines if line), **os.environ}
        found: dict[str, dict[str, Any]] = interpolated(document["services"], variables)
        secrets = document.get("secrets", {})
        for name, service in found.items():
            if unknown := service.keys() - _SERVICE:
                raise SystemExit(f"service {name}: {', '.join(unknown)} is not known to the tests")
            mounts = [tuple(one.split(":")[:2]) for one in service.get("volumes", ())]
            mounts += [(secrets[one]["file"], f"/run/secrets/{one}") for one in service.get("secrets", ())]
            service["mounts"] = [((self.project / source).resolve(), Path(target)) for source, target in mounts]
        return {name: Service(self, name, service) for name, service in found.items()}

    # What runs: process ids and what they were started with, by service.

    def running(self) -> dict[str, tuple[int, str]]:
        file = self.folder / "running.json"
        found = json.loads(file.read_text()) if file.exists() else {}
        return {name: (pid, started) for name, (pid, started) in found.items() if _is_alive(pid)}

    def note(self, running: Mapping[str, tuple[int, str]]) -> None:
        (self.folder / "running.json").write_text(json.dumps(running))

    def stop(self, *names: str) -> None:
        """Stop services; all of them without names."""
        running = self.running()
        for name in names or tuple(running):
            if name in running:
                _end(running.pop(name)[0])
        self.note(running)

    def up(self, names: Sequence[str]) -> None:
        """Start services, anew where what they are started with has changed, and wait until they are healthy."""
        services = self.services()
        chosen = [services[name] for name in names or [one for one in services if not services[one].has_profile]]
        for service in chosen:
            running = self.running()
            if service.name in running:
                if running[service.name][1] == service.sum:
                    continue
                self.stop(service.name)
                running = self.running()
            with (self.folder / f"{service.name}.log").open("ab") as log:
                started = subprocess.Popen(
                    service.words(),
                    cwd=service.working_folder,
                    env=service.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.note({**running, service.name: (started.pid, service.sum)})
        for service in chosen:
            service.wait()

    def run(self, name: str, arguments: Sequence[str]) -> int:
        service = self.services()[name]
        words = service.words(arguments)
        return subprocess.run(words, cwd=service.working_folder, env=service.environment(), check=False).returncode


@dataclass(frozen=True)
class Service:
    """A service, interpolated. `mounts`: paths of the host, and where the container has them."""

    composed: Composed
    name: str
    definition: Mapping[str, Any]

    @property
    def has_profile(self) -> bool:
        return bool(self.definition.get("profiles"))

    @property
    def sum(self) -> str:
        """Changes where Compose would create the container anew."""
        return hashlib.sha256(json.dumps(self.definition, default=str, sort_keys=True).encode()).hexdigest()

    @property
    def working_folder(self) -> Path:
        return Path(self.here(self.definition.get("working_dir", str(self.composed.folder))))

    def words(self, arguments: Sequence[str] = ()) -> list[str]:
        """The command line, with `arguments` in place of the command."""
        if self.definition["user"] != f"{os.getuid()}:{os.getgid()}":
            raise SystemExit(f"service {self.name} has the user {self.definition['user']}")
        of_image = ["registry"] if self.definition["image"].startswith("registry:") else []
        entry = self.definition.get("entrypoint", of_image)
        return [self.here(word) for word in (*entry, *(arguments or self.definition.get("command", ())))]

    def environment(self) -> dict[str, str]:
        """What the service has of its own, and the programs of its image."""
        given = {name: self.here(value) for name, value in self.definition.get("environment", {}).items()}
        sockets = [source for source, target in self.definition["mounts"] if str(target) == "/var/run/docker.sock"]
        docker = {"DOCKER_HOST": f"unix://{sockets[0]}"} if sockets else {}
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        return {"PATH": self.composed.path, "OTEL_TRACES_EXPORTER": "none", **kept, **docker, **given}

    def here(self, text: str) -> str:
        """A text of the container, with the paths and addresses that it has here."""
        for source, target in self.definition["mounts"]:
            place = self._with_addresses(source) if source.suffix in (".yml", ".yaml") else source
            text = re.sub(rf"(?<![\w./]){re.escape(str(target))}(?![\w.])", str(place), text)
        ports = self.composed.ports
        for name, port in _PORTS.items():
            text = text.replace(f"{name}:{port}", f"127.0.0.1:{ports[name]}")
        if self.name in ports:
            own = _PORTS[self.name]
            text = re.sub(rf"(?:0\.0\.0\.0|127\.0\.0\.1|(?<=[ \"'])):{own}\b", f"127.0.0.1:{ports[self.name]}", text)
        return text

    def _with_addresses(self, source: Path) -> Path:
        """A copy of a mounted file."""
        copy = self.composed.folder / f"{self.name}-{source.name}"
        others = [one for one in self.definition["mounts"] if one[0] != source]
        inner = Service(self.composed, self.name, {**self.definition, "mounts": others})
        text = inner.here(source.read_text())
        if not copy.exists() or copy.read_text() != text:
            copy.write_text(text)
        return copy

    def wait(self) -> None:
        """Until the health check succeeds; `wget` is asked for a URL, anything else is run."""
        _, *words = self.definition["healthcheck"]["test"]
        end = time.monotonic() + _LONGEST_START
        while time.monotonic() < end and self.name in self.composed.running():
            if self._is_healthy([self.here(word) for word in words]):
                return
            time.sleep(0.05)
        raise SystemExit(f"{self.name} is not healthy: {(self.composed.folder / f'{self.name}.log').read_text()}")

    def _is_healthy(self, words: Sequence[str]) -> bool:
        if words[0] != "wget":
            return subprocess.run(words, env=self.environment(), capture_output=True, check=False).returncode == 0
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(words[-1], timeout=5) as answer:
            return bool(answer.status == 200)
        return False


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while _is_alive(pid) and time.monotonic() < end:
            time.sleep(0.01)
        if _is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def _options(words: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    """The words that are no options; only options that are known may come before them."""
    rest = list(words)
    while rest and rest[0].startswith("-"):
        if rest[0] not in known:
            raise SystemExit(f"docker: {rest[0]} is not known to the tests")
        rest.pop(0)
    yield from rest


def _check_build(words: Sequence[str]) -> int:
    """Nothing is built: what would be has to be there."""
    tag, name, file, dockerfile, context = words
    found = Path(context, dockerfile).is_file() and Path(context, "pyproject.toml").is_file()
    return 0 if (tag, name, file) == ("-t", "dregutil", "-f") and found else 1


def main(words: Sequence[str]) -> int:
    if words[0] == "build":
        return _check_build(words[1:])
    if words[0] != "compose":
        raise SystemExit(f"docker {words[0]} is not known to the tests")
    composed = Composed(Path.cwd(), Path(os.environ["COMPOSED"]))
    command, *rest = words[1:]
    if command == "up":
        composed.up(list(_options(rest, ("-d", "--wait"))))
    elif command == "run":
        name, *arguments = _options(rest, ("--rm", "-T"))
        return composed.run(name, arguments)
    else:
        raise SystemExit(f"docker compose {command} is not known to the tests")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
